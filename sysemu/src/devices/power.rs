//! ACPI power management: PM1a event and control registers, and the PM timer.
//!
//! | offset | register |
//! |---|---|
//! | 0, 2 | PM1a status, enable |
//! | 4 | PM1a control |
//! | 8 | timer |

use serde::{Deserialize, Serialize};

use crate::cpu::Stop;
use crate::devices::device::{Context, Device, number, put};
use crate::devices::lines::Line;
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// Frequency of the PM timer.
const HZ: u128 = 3_579_545;
/// PM1 status and enable: the power button was pressed.
const POWER_BUTTON: u16 = 1 << 8;
/// Events that raise the SCI: timer, global lock, power and sleep button, clock.
const EVENTS: u16 = 0x721;
const SLEEP_ENABLE: u16 = 1 << 13;
const SCI_ENABLE: u16 = 1;
/// The sleep type that the DSDT names for the state S5.
pub const OFF: u8 = 5;

/// The registers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Power {
    status: u16,
    enable: u16,
    control: u16,
    line: Line,
}

impl State for Power {}

impl Power {
    /// The registers after power-on; events raise the line, which is the SCI.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Power {
            status: 0,
            enable: 0,
            control: SCI_ENABLE,
            line,
        }
    }

    fn interrupt(&self, context: &mut Context) {
        context
            .lines
            .set(self.line, self.status & self.enable & EVENTS != 0);
    }

    fn register(&self, now: u64, offset: u64) -> u32 {
        match offset & !3 {
            0 => u32::from(self.status) | u32::from(self.enable) << 16,
            4 => self.control.into(),
            8 => (u128::from(now) * HZ / 1_000_000_000) as u32 & 0xff_ffff,
            _ => 0,
        }
    }
}

impl Registers for Power {
    const KIND: &'static str = "acpi-pm";
    const INPUTS: &'static [(&'static str, usize)] = &[("power-button", 1)];

    fn drive(&mut self, context: &mut Context, _: &str, _: usize, level: bool) {
        if level {
            self.status |= POWER_BUTTON;
            self.interrupt(context);
        }
    }
}

impl Device for Power {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        let register = self.register(context.now, offset);
        put(data, u64::from(register) >> (8 * (offset & 3)));
    }

    fn write(&mut self, context: &mut Context, offset: u64, data: &[u8]) {
        let value = number(data);
        match offset {
            0 => {
                self.status &= !(value as u16);
                if data.len() >= 4 {
                    self.enable = (value >> 16) as u16;
                }
            }
            2 => self.enable = value as u16,
            4 if data.len() >= 2 => {
                let value = value as u16;
                self.control = value & !SLEEP_ENABLE | SCI_ENABLE;
                if value & SLEEP_ENABLE != 0 && value >> 10 & 7 == u16::from(OFF) {
                    context.stop = Some(Stop::PowerOff);
                }
            }
            _ => {}
        }
        self.interrupt(context);
    }

    fn reset(&mut self, context: &mut Context) {
        *self = Power::new(self.line);
        self.interrupt(context);
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::device::tests::{bench, read, write};

    #[test]
    fn the_timer_follows_the_clock_with_24_bits() {
        let (_ram, mut context) = bench();
        let mut power = Power::new(context.lines.connect(9));
        context.now = 1_000_000_000;
        assert_eq!(read(&mut power, &mut context, 8, 4), 3_579_545);
        context.now = 10_000_000_000;
        assert_eq!(read(&mut power, &mut context, 8, 4), 35_795_450 & 0xff_ffff);
    }

    #[test]
    fn only_the_sleep_type_of_s5_switches_off() {
        let (_ram, mut context) = bench();
        let mut power = Power::new(context.lines.connect(9));
        write(&mut power, &mut context, 4, 2, 1 << 13 | 1 << 10);
        assert_eq!(context.stop, None);
        write(&mut power, &mut context, 4, 2, 1 << 13 | 5 << 10);
        assert_eq!(context.stop, Some(Stop::PowerOff));
        assert_eq!(read(&mut power, &mut context, 4, 2) & 1, 1, "ACPI is on");
    }

    #[test]
    fn the_power_button_raises_the_sci_until_its_status_is_cleared() {
        let (_ram, mut context) = bench();
        let mut power = Power::new(context.lines.connect(9));
        Registers::drive(&mut power, &mut context, "power-button", 0, true);
        assert!(!context.lines.level(9), "not enabled");
        write(&mut power, &mut context, 2, 2, POWER_BUTTON.into());
        assert!(context.lines.level(9));
        assert_eq!(
            read(&mut power, &mut context, 0, 2),
            u64::from(POWER_BUTTON)
        );
        write(&mut power, &mut context, 0, 2, POWER_BUTTON.into());
        assert!(!context.lines.level(9));
    }
}
