//! What goes wrong with devices and interrupt lines.

use std::fmt;
use std::time::Duration;

use crate::fault::trigger::Seconds;

/// Registers of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Registers {
    /// The first port, or physical address.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// They are physical addresses.
    pub memory: bool,
    /// What of them fails.
    pub side: Side,
}

/// What of a register fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What is read.
    Reads,
    /// What is written.
    Writes,
    /// Nobody answers.
    Dead,
}

impl Side {
    pub(super) const ALL: [Self; 3] = [Self::Reads, Self::Writes, Self::Dead];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reads => "read",
            Self::Writes => "write",
            Self::Dead => "dead",
        }
    }
}

/// A failure of an interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interrupt {
    /// The line: 0 to 15 those of ISA, 16 to 19 those of PCI.
    pub line: u8,
    /// What.
    pub failure: InterruptFailure,
}

/// What goes wrong with an interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InterruptFailure {
    /// Activations do not reach the controllers.
    Lost,
    /// One comes that nobody has sent.
    Spurious,
    /// It is stuck inactive.
    Stuck0,
    /// It is stuck active.
    Stuck1,
}

impl InterruptFailure {
    pub(super) const ALL: [Self; 4] = [Self::Lost, Self::Spurious, Self::Stuck0, Self::Stuck1];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Spurious => "spurious",
            Self::Stuck0 => "stuck0",
            Self::Stuck1 => "stuck1",
        }
    }
}

impl fmt::Display for Registers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.memory { "mmio" } else { "port" };
        write!(f, "{kind}:{:#x}", self.first)?;
        if self.last != self.first {
            write!(f, "-{:#x}", self.last)?;
        }
        write!(f, ":{}", self.side.name())
    }
}

impl fmt::Display for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "irq:{}:{}", self.line, self.failure.name())
    }
}

/// A failure of a device as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartFault {
    /// Its name in the machine's tree of objects.
    pub device: String,
    /// What.
    pub failure: PartFailure,
}

/// What goes wrong with a device as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartFailure {
    /// It does nothing any more, reads give all ones.
    Dead,
    /// So much time passes for it in a second.
    Rate(Duration),
}

impl fmt::Display for PartFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device:{}:", self.device)?;
        match self.failure {
            PartFailure::Dead => f.write_str("dead"),
            PartFailure::Rate(rate) => write!(f, "rate={}", Seconds(rate)),
        }
    }
}
