//! Interrupt lines between devices and interrupt controllers. Several devices may share a line: it is active while any of them drives it.

use serde::{Deserialize, Serialize};

use crate::snapshot::State;

/// One device's connection to a line: a plain number pair, to be kept by the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    number: u8,
    source: u8,
}

/// Lines: 0 to 15 are those of the ISA bus, 16 to 19 the four of the PCI bus.
pub const LINES: usize = 20;
/// The first line of the PCI bus.
pub const PCI_LINE: u8 = 16;

/// All lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lines {
    /// Who drives each line: a bit for each connection.
    active: [u64; LINES],
    connections: [u8; LINES],
    /// What controllers have not yet seen: line and level, in order.
    changes: Vec<(u8, bool)>,
    /// Lines that are broken: no state of a machine, but what somebody does to it.
    #[serde(skip)]
    broken: [LineFault; LINES],
}

/// How a line is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFault {
    /// It is not.
    #[default]
    None,
    /// So many activations do not reach the controllers; none is all.
    Lost(Option<u64>),
    /// It is stuck at a level.
    Stuck(bool),
}

impl State for Lines {}

impl Lines {
    /// A new connection to line `number`.
    ///
    /// # Panics
    /// When there is no such line, or it has 64 connections.
    pub fn connect(&mut self, number: u8) -> Line {
        let source = self.connections[usize::from(number)];
        assert!(source < 64, "interrupt line {number} has 64 devices");
        self.connections[usize::from(number)] += 1;
        Line { number, source }
    }

    /// Drives a line.
    pub fn set(&mut self, line: Line, active: bool) {
        let drivers = &mut self.active[usize::from(line.number)];
        let before = *drivers != 0;
        let bit = 1 << line.source;
        *drivers = if active {
            *drivers | bit
        } else {
            *drivers & !bit
        };
        if (*drivers != 0) != before {
            self.change(line.number, active);
        }
    }

    /// Passes a change on, as far as the line is sound.
    fn change(&mut self, number: u8, active: bool) {
        match &mut self.broken[usize::from(number)] {
            LineFault::Stuck(_) | LineFault::Lost(None) => {}
            LineFault::Lost(Some(left)) if *left > 0 => {
                if !active {
                    *left -= 1;
                }
            }
            LineFault::None | LineFault::Lost(Some(_)) => self.changes.push((number, active)),
        }
    }

    /// Breaks a line, or mends it.
    pub fn break_line(&mut self, number: u8, fault: LineFault) {
        let before = self.level(number);
        self.broken[usize::from(number)] = fault;
        let after = self.level(number);
        if before != after {
            self.changes.push((number, after));
        }
    }

    /// A pulse that no device has sent.
    pub fn spurious(&mut self, number: u8) {
        if !self.level(number) {
            self.changes.push((number, true));
            self.changes.push((number, false));
        }
    }

    /// An edge: active, and no longer.
    pub fn pulse(&mut self, line: Line) {
        self.set(line, true);
        self.set(line, false);
    }

    /// Whether a line is active.
    #[must_use]
    pub fn level(&self, number: u8) -> bool {
        match self.broken[usize::from(number)] {
            LineFault::Stuck(level) => level,
            _ => self.active[usize::from(number)] != 0,
        }
    }

    /// Changes of level since the last time, in order.
    pub fn take_changes(&mut self) -> Vec<(u8, bool)> {
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_line_loses_sticks_and_is_mended() {
        let mut lines = Lines::default();
        let line = lines.connect(4);
        lines.break_line(4, LineFault::Lost(Some(2)));
        for _ in 0..3 {
            lines.pulse(line);
        }
        assert_eq!(lines.take_changes(), [(4, true), (4, false)]);
        lines.break_line(4, LineFault::Stuck(true));
        lines.pulse(line);
        assert_eq!(
            (lines.level(4), lines.take_changes()),
            (true, vec![(4, true)])
        );
        lines.break_line(4, LineFault::None);
        assert_eq!(
            (lines.level(4), lines.take_changes()),
            (false, vec![(4, false)])
        );
        lines.spurious(4);
        assert_eq!(lines.take_changes(), [(4, true), (4, false)]);
    }

    #[test]
    fn a_shared_line_is_active_while_anybody_drives_it() {
        let mut lines = Lines::default();
        let (one, two) = (lines.connect(16), lines.connect(16));
        lines.set(one, true);
        lines.set(two, true);
        lines.set(one, false);
        assert!(lines.level(16));
        assert_eq!(lines.take_changes(), [(16, true)]);
        lines.set(two, false);
        assert_eq!(lines.take_changes(), [(16, false)]);
        lines.pulse(two);
        assert_eq!(lines.take_changes(), [(16, true), (16, false)]);
    }
}
