//! The MC146818 clock with its CMOS memory. Its time is virtual: it begins at a fixed date and follows the machine's nanoseconds.
//!
//! | offset | register |
//! |---|---|
//! | 0 | index |
//! | 1 | data |

use serde::{Deserialize, Serialize};

use crate::devices::device::{Context, Device, read_bytes, write_bytes};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// 2024-01-01 00:00:00 UTC.
pub const START: u64 = 1_704_067_200;
const NANOS: u64 = 1_000_000_000;

/// The clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rtc {
    index: u8,
    #[serde(with = "crate::snapshot::array")]
    memory: [u8; 128],
    /// Seconds between virtual time and the date.
    offset: u64,
}

impl State for Rtc {}

impl Default for Rtc {
    fn default() -> Self {
        let mut memory = [0; 128];
        memory[0xa] = 0x26;
        memory[0xb] = 0x02;
        memory[0xd] = 0x80;
        Rtc {
            index: 0,
            memory,
            offset: START,
        }
    }
}

/// Year, month, day of days since 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

impl Rtc {
    /// Writes the index port.
    pub fn select(&mut self, value: u8) {
        self.index = value & 0x7f;
    }

    /// Reads the data port.
    #[must_use]
    pub fn data(&self, now: u64) -> u8 {
        let seconds = self.offset + now / NANOS;
        let (year, month, day) = civil(seconds / 86_400);
        let hour = seconds / 3600 % 24;
        let value = match self.index {
            0 => seconds % 60,
            2 => seconds / 60 % 60,
            4 if self.memory[0xb] & 2 == 0 => {
                let half = self.encode((hour + 11) % 12 + 1);
                return half | if hour >= 12 { 0x80 } else { 0 };
            }
            4 => hour,
            6 => (seconds / 86_400 + 4) % 7 + 1,
            7 => day,
            8 => month,
            9 => year % 100,
            0x32 => year / 100,
            0xa => {
                // Update in progress: the last 244 microseconds of a second.
                let updating = now % NANOS >= NANOS - 244_000;
                return self.memory[0xa] & 0x7f | u8::from(updating) << 7;
            }
            0xc => return 0,
            other => return self.memory[usize::from(other)],
        };
        self.encode(value)
    }

    fn encode(&self, value: u64) -> u8 {
        let value = value as u8;
        if self.memory[0xb] & 4 != 0 {
            value
        } else {
            value / 10 << 4 | value % 10
        }
    }

    /// Writes the data port. Time and date keep running: setting them is ignored.
    pub fn set_data(&mut self, value: u8) {
        match self.index {
            0..=9 | 0xc | 0xd | 0x32 => {}
            0xa => self.memory[0xa] = value & 0x7f,
            other => self.memory[usize::from(other)] = value,
        }
    }
}

impl Registers for Rtc {
    const KIND: &'static str = "mc146818rtc";
}

impl Device for Rtc {
    fn read(&mut self, context: &mut Context, offset: u64, data: &mut [u8]) {
        read_bytes(offset, data, |at| match at {
            0 => 0xff,
            _ => self.data(context.now),
        });
    }

    fn write(&mut self, _: &mut Context, offset: u64, data: &[u8]) {
        write_bytes(offset, data, |at, value| match at {
            0 => self.select(value),
            _ => self.set_data(value),
        });
    }

    /// Battery-backed: only interrupts are switched off.
    fn reset(&mut self, _: &mut Context) {
        self.index = 0;
        self.memory[0xb] &= 0x87;
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(START / 86_400), (2024, 1, 1));
        assert_eq!(civil(START / 86_400 + 59), (2024, 2, 29));
        assert_eq!(civil(START / 86_400 + 60), (2024, 3, 1));
        assert_eq!(civil(START / 86_400 + 366), (2025, 1, 1));
    }

    #[test]
    fn time_follows_the_machine() {
        let mut rtc = Rtc::default();
        let mut at = |index, now| {
            rtc.select(index);
            rtc.data(now)
        };
        assert_eq!(at(0, 59 * NANOS), 0x59);
        assert_eq!(at(2, 61 * NANOS), 0x01);
        assert_eq!(at(4, 13 * 3600 * NANOS), 0x13);
        assert_eq!(at(9, 0), 0x24);
        assert_eq!(at(0x32, 0), 0x20);
    }
}
