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
            self.changes.push((line.number, active));
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
        self.active[usize::from(number)] != 0
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
