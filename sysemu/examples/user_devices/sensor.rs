//! A sensor that measures once in a millisecond. Registers of 4 bytes: 0 the value, 4 how often it has measured, 8 control (1: interrupt at each
//! measurement; any write ends the interrupt).

use fits_sysemu::user::{Board, Fault, UserDevice};

/// Nanoseconds between measurements.
pub(crate) const PERIOD: u64 = 1_000_000;
const MEASURE: u32 = 0;

/// The sensor.
#[derive(Clone, Debug)]
pub(crate) struct Sensor {
    value: u32,
    measured: u32,
    control: u32,
    stuck: bool,
    offset: u32,
    silent: bool,
}

impl Default for Sensor {
    fn default() -> Self {
        Sensor {
            value: 20_000,
            measured: 0,
            control: 0,
            stuck: false,
            offset: 0,
            silent: false,
        }
    }
}

impl UserDevice for Sensor {
    fn kind(&self) -> String {
        "sensor".into()
    }

    fn start(&mut self, board: &mut dyn Board) {
        board.waitfor(MEASURE, PERIOD);
    }

    fn load(&mut self, _: &mut dyn Board, offset: u64, _: u8) -> u64 {
        u64::from(match offset {
            0 => self.value.wrapping_add(self.offset),
            4 => self.measured,
            8 => self.control,
            _ => 0,
        })
    }

    fn store(&mut self, board: &mut dyn Board, offset: u64, _: u8, value: u64) {
        if offset == 8 {
            self.control = value as u32;
            board.irq_assert(false);
        }
    }

    fn wake(&mut self, board: &mut dyn Board, behaviour: u32) {
        if behaviour != MEASURE {
            return;
        }
        self.measured += 1;
        if !self.stuck {
            let phase = self.measured % 200;
            self.value = 20_000 + phase.min(200 - phase);
        }
        if self.control & 1 != 0 && !self.silent {
            board.irq_assert(true);
        }
        board.waitfor(MEASURE, PERIOD);
    }

    fn faults(&self) -> Vec<Fault> {
        [
            ("stuck", "the value no longer changes"),
            ("offset", "this much is added to each value"),
            ("silent", "measurements raise no interrupt"),
        ]
        .map(|(name, text)| Fault {
            name: name.into(),
            text: text.into(),
        })
        .into()
    }

    fn inject(&mut self, _: &mut dyn Board, fault: &str, value: u64) -> Result<(), String> {
        match fault {
            "stuck" => self.stuck = value != 0,
            "offset" => {
                self.offset = u32::try_from(value).map_err(|_| "an offset has 32 bits")?;
            }
            _ => self.silent = value != 0,
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        let words = [
            self.value,
            self.measured,
            self.control,
            self.stuck.into(),
            self.offset,
            self.silent.into(),
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), String> {
        let words: Vec<u32> = bytes
            .chunks_exact(4)
            .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
            .collect();
        let &[value, measured, control, stuck, offset, silent] = words.as_slice() else {
            return Err(format!("{} bytes are no state of a sensor", bytes.len()));
        };
        *self = Sensor {
            value,
            measured,
            control,
            stuck: stuck != 0,
            offset,
            silent: silent != 0,
        };
        Ok(())
    }
}
