//! A watchdog at two ports. Port 0: a write of N lets it bark in N milliseconds, 0 switches it off. Port 1 reads how often it was fed. When it
//! barks, it pulls the machine's reset line.

use fits_sysemu::user::{Board, Fault, UserDevice};

const BARK: u32 = 0;
const MILLISECOND: u64 = 1_000_000;

/// The watchdog.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchdog {
    fed: u8,
    armed: bool,
    asleep: bool,
    nervous: bool,
}

impl UserDevice for Watchdog {
    fn kind(&self) -> String {
        "watchdog".into()
    }

    fn port_in(&mut self, _: &mut dyn Board, offset: u64, _: u8) -> u64 {
        if offset == 1 { self.fed.into() } else { 0 }
    }

    fn port_out(&mut self, board: &mut dyn Board, offset: u64, _: u8, value: u64) {
        if offset == 0 {
            self.fed = self.fed.wrapping_add(1);
            self.armed = value != 0;
            let time = value * MILLISECOND;
            board.waitfor(BARK, if self.nervous { time / 2 } else { time });
        }
    }

    fn wake(&mut self, board: &mut dyn Board, _: u32) {
        if self.armed && !self.asleep {
            board.reset_machine();
        }
    }

    fn reset(&mut self, _: &mut dyn Board) {
        self.armed = false;
    }

    fn faults(&self) -> Vec<Fault> {
        [
            ("asleep", "it never barks"),
            ("nervous", "it barks after half of the time"),
        ]
        .map(|(name, text)| Fault {
            name: name.into(),
            text: text.into(),
        })
        .into()
    }

    fn inject(&mut self, _: &mut dyn Board, fault: &str, value: u64) -> Result<(), String> {
        let switch = match fault {
            "asleep" => &mut self.asleep,
            _ => &mut self.nervous,
        };
        *switch = value != 0;
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        let flags = [self.armed, self.asleep, self.nervous];
        std::iter::once(self.fed)
            .chain(flags.map(u8::from))
            .collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let &[fed, armed, asleep, nervous] = bytes else {
            return Err(format!("{} bytes are no state of a watchdog", bytes.len()));
        };
        *self = Watchdog {
            fed,
            armed: armed != 0,
            asleep: asleep != 0,
            nervous: nervous != 0,
        };
        Ok(())
    }
}
