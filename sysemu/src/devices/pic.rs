//! The two 8259 interrupt controllers, cascaded as on every PC.
//!
//! | offset | register |
//! |---|---|
//! | 0, 1 | first controller: command, data |
//! | 2, 3 | second controller |
//! | 4, 5 | edge or level, of each |

use serde::{Deserialize, Serialize};

use crate::devices::device::{Context, Device, read_bytes, write_bytes};
use crate::devices::object::{Object, Registers};
use crate::snapshot::State;

/// One controller.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Chip {
    requests: u8,
    in_service: u8,
    mask: u8,
    lines: u8,
    /// Level-triggered lines.
    level: u8,
    base: u8,
    /// The next initialisation word, 0 when initialised.
    awaited: u8,
    needs_fourth: bool,
    auto_end: bool,
    read_service: bool,
    poll: bool,
    special_mask: bool,
    lowest: u8,
    rotate_auto: bool,
}

impl Chip {
    fn set_line(&mut self, line: u8, high: bool) {
        let bit = 1 << line;
        if high && (self.lines & bit == 0 || self.level & bit != 0) {
            self.requests |= bit;
        }
        if high {
            self.lines |= bit;
        } else {
            self.lines &= !bit;
            if self.level & bit != 0 {
                self.requests &= !bit;
            }
        }
    }

    /// The request to serve now.
    fn pending(&self, cascade: bool) -> Option<u8> {
        let requests = self.requests & !self.mask;
        for step in 1..=8 {
            let line = self.lowest.wrapping_add(step) & 7;
            let bit = 1 << line;
            // The slave may interrupt again while its line is in service: its own priorities decide.
            let blocks = self.in_service & bit != 0
                && !(self.special_mask && self.mask & bit != 0)
                && !(cascade && line == 2);
            if requests & bit != 0 && self.in_service & bit == 0
                || (cascade && line == 2 && requests & bit != 0)
            {
                return Some(line);
            }
            if blocks {
                return None;
            }
        }
        None
    }

    fn take(&mut self, line: u8) -> u8 {
        let bit = 1 << line;
        if self.level & bit == 0 {
            self.requests &= !bit;
        }
        if self.auto_end {
            if self.rotate_auto {
                self.lowest = line;
            }
        } else {
            self.in_service |= bit;
        }
        self.base | line
    }

    fn command(&mut self, value: u8) {
        if value & 0x10 != 0 {
            *self = Chip {
                lines: self.lines,
                level: self.level,
                awaited: 2,
                needs_fourth: value & 1 != 0,
                lowest: 7,
                ..Chip::default()
            };
        } else if value & 8 != 0 {
            self.poll = value & 4 != 0;
            if value & 2 != 0 {
                self.read_service = value & 1 != 0;
            }
            if value & 0x40 != 0 {
                self.special_mask = value & 0x20 != 0;
            }
        } else {
            self.end_command(value);
        }
    }

    fn end_command(&mut self, value: u8) {
        let highest = (1..=8)
            .map(|step| (self.lowest + step) & 7)
            .find(|line| self.in_service >> line & 1 != 0);
        match value >> 5 {
            0 | 4 => self.rotate_auto = value >> 5 == 4,
            1 | 5 => {
                if let Some(line) = highest {
                    self.in_service &= !(1 << line);
                    if value >> 5 == 5 {
                        self.lowest = line;
                    }
                }
            }
            3 | 7 => {
                self.in_service &= !(1 << (value & 7));
                if value >> 5 == 7 {
                    self.lowest = value & 7;
                }
            }
            6 => self.lowest = value & 7,
            _ => {}
        }
    }

    fn data(&mut self, value: u8) {
        match self.awaited {
            2 => {
                self.base = value & 0xf8;
                self.awaited = 3;
            }
            3 => self.awaited = if self.needs_fourth { 4 } else { 0 },
            4 => {
                self.auto_end = value & 2 != 0;
                self.awaited = 0;
            }
            _ => self.mask = value,
        }
    }

    fn read(&mut self, offset: u8) -> u8 {
        if offset == 1 {
            self.mask
        } else if self.read_service {
            self.in_service
        } else {
            self.requests
        }
    }
}

/// Both controllers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pics([Chip; 2]);

impl State for Pics {}

impl Default for Pics {
    fn default() -> Self {
        let mut pics = Pics([Chip::default(), Chip::default()]);
        for chip in &mut pics.0 {
            chip.lowest = 7;
            chip.mask = 0xff;
        }
        pics
    }
}

impl Pics {
    /// Drives one of the 16 lines.
    pub fn set_line(&mut self, line: u8, high: bool) {
        self.0[usize::from(line >> 3 & 1)].set_line(line & 7, high);
        self.cascade();
    }

    /// The level of one of the 16 lines.
    #[must_use]
    pub fn line(&self, line: u8) -> bool {
        self.0[usize::from(line >> 3 & 1)].lines >> (line & 7) & 1 != 0
    }

    fn cascade(&mut self) {
        let high = self.0[1].pending(false).is_some();
        self.0[0].set_line(2, false);
        self.0[0].requests &= !4;
        if high {
            self.0[0].set_line(2, true);
        }
    }

    /// Whether the output is active.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.0[0].pending(true).is_some()
    }

    /// The processor's acknowledgement: the vector, a spurious one where the request is gone.
    pub fn acknowledge(&mut self) -> u8 {
        let Some(line) = self.0[0].pending(true) else {
            return self.0[0].base | 7;
        };
        let vector = self.0[0].take(line);
        if line != 2 {
            return vector;
        }
        let vector = match self.0[1].pending(false) {
            Some(line) => self.0[1].take(line),
            None => self.0[1].base | 7,
        };
        self.cascade();
        vector
    }

    /// Reads register `offset` of controller `chip`.
    pub fn read(&mut self, chip: usize, offset: u8) -> u8 {
        if std::mem::take(&mut self.0[chip].poll) {
            return match self.0[chip].pending(chip == 0) {
                Some(line) => {
                    self.0[chip].take(line);
                    self.cascade();
                    0x80 | line
                }
                None => 0,
            };
        }
        self.0[chip].read(offset)
    }

    /// Writes register `offset` of controller `chip`.
    pub fn write(&mut self, chip: usize, offset: u8, value: u8) {
        if offset == 0 {
            self.0[chip].command(value);
        } else {
            self.0[chip].data(value);
        }
        self.cascade();
    }

    /// Edge or level registers.
    #[must_use]
    pub fn levels(&self, chip: usize) -> u8 {
        self.0[chip].level
    }

    /// Sets them; timer, keyboard, cascade, clock and x87 stay edge-triggered.
    pub fn set_levels(&mut self, chip: usize, value: u8) {
        self.0[chip].level = value & if chip == 0 { 0xf8 } else { 0xde };
    }
}

impl Registers for Pics {
    const KIND: &'static str = "isa-i8259";

    const INPUTS: &'static [(&'static str, usize)] = &[("", 16)];

    fn drive(&mut self, _: &mut Context, _: &str, number: usize, level: bool) {
        self.set_line(number as u8, level);
    }
}

impl Device for Pics {
    fn read(&mut self, _: &mut Context, offset: u64, data: &mut [u8]) {
        read_bytes(offset, data, |at| {
            let (chip, register) = ((at >> 1) as usize, (at & 1) as u8);
            match at {
                0..4 => Pics::read(self, chip, register),
                _ => self.levels(usize::from(register)),
            }
        });
    }

    fn write(&mut self, _: &mut Context, offset: u64, data: &[u8]) {
        write_bytes(offset, data, |at, value| {
            let (chip, register) = ((at >> 1) as usize, (at & 1) as u8);
            match at {
                0..4 => Pics::write(self, chip, register, value),
                _ => self.set_levels(usize::from(register), value),
            }
        });
    }

    fn reset(&mut self, _: &mut Context) {
        *self = Pics::default();
    }

    fn object(&mut self) -> Option<&mut dyn Object> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux does: vectors from 0x30 and 0x38 on, nothing masked.
    fn initialised() -> Pics {
        let mut pics = Pics::default();
        for (chip, base, wiring) in [(0, 0x30, 4), (1, 0x38, 2)] {
            pics.write(chip, 0, 0x11);
            pics.write(chip, 1, base);
            pics.write(chip, 1, wiring);
            pics.write(chip, 1, 1);
            pics.write(chip, 1, 0);
        }
        pics
    }

    #[test]
    fn an_edge_is_remembered_and_served_once() {
        let mut pics = initialised();
        pics.set_line(4, true);
        pics.set_line(4, false);
        assert!(pics.pending());
        assert_eq!(pics.acknowledge(), 0x34);
        assert!(!pics.pending());
        pics.set_line(3, true);
        assert!(pics.pending(), "a higher priority interrupts");
        assert_eq!(pics.acknowledge(), 0x33);
        pics.write(0, 0, 0x20);
        pics.write(0, 0, 0x20);
        pics.set_line(3, true);
        assert!(!pics.pending(), "no new edge");
    }

    #[test]
    fn the_second_controller_comes_through_the_first() {
        let mut pics = initialised();
        pics.set_line(14, true);
        assert_eq!(pics.acknowledge(), 0x3e);
        pics.write(1, 0, 0x0b);
        assert_eq!(pics.read(1, 0), 0x40, "in service");
        pics.write(0, 0, 0x0b);
        assert_eq!(pics.read(0, 0), 4);
        pics.write(1, 0, 0x20);
        pics.write(0, 0, 0x20);
        assert!(!pics.pending());
    }

    #[test]
    fn a_level_asks_again_until_it_is_gone() {
        let mut pics = initialised();
        pics.set_levels(1, 0x08);
        pics.set_line(11, true);
        assert_eq!(pics.acknowledge(), 0x3b);
        pics.write(1, 0, 0x20);
        pics.write(0, 0, 0x20);
        assert!(pics.pending());
        pics.set_line(11, false);
        assert!(!pics.pending());
        assert_eq!(pics.acknowledge(), 0x37, "spurious");
    }
}
