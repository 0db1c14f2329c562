//! ACPI power management: PM1a event and control registers, and the PM timer.

/// Frequency of the PM timer.
const HZ: u128 = 3_579_545;
const SLEEP_ENABLE: u16 = 1 << 13;
const SCI_ENABLE: u16 = 1;
/// The sleep type that the DSDT names for the state S5.
pub const OFF: u8 = 5;

/// The registers.
#[derive(Clone, Debug)]
pub struct Power {
    status: u16,
    enable: u16,
    control: u16,
}

impl Default for Power {
    fn default() -> Self {
        Power {
            status: 0,
            enable: 0,
            control: SCI_ENABLE,
        }
    }
}

impl Power {
    /// Reads `size` bytes at an offset: 0 status, 2 enable, 4 control, 8 timer.
    #[must_use]
    pub fn read(&self, now: u64, offset: u16, size: u8) -> u32 {
        match (offset, size) {
            (0, 4) => u32::from(self.status) | u32::from(self.enable) << 16,
            (0, _) => self.status.into(),
            (2, _) => self.enable.into(),
            (4, _) => self.control.into(),
            (8, _) => (u128::from(now) * HZ / 1_000_000_000) as u32 & 0xff_ffff,
            _ => 0,
        }
    }

    /// Writes; true where the machine is switched off.
    pub fn write(&mut self, offset: u16, size: u8, value: u32) -> bool {
        let value16 = value as u16;
        match offset {
            0 => {
                self.status &= !value16;
                if size == 4 {
                    self.enable = (value >> 16) as u16;
                }
            }
            2 => self.enable = value16,
            4 => {
                self.control = value16 & !SLEEP_ENABLE | SCI_ENABLE;
                return value16 & SLEEP_ENABLE != 0 && value16 >> 10 & 7 == u16::from(OFF);
            }
            _ => {}
        }
        false
    }
}
