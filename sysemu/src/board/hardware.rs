//! What is put into a machine: the parts that differ from one to the next.

use crate::board::console::Console;
use crate::devices::medium::Medium;

/// The parts.
#[derive(Debug)]
pub struct Hardware {
    /// The first serial port.
    pub console: Console,
    /// Disks on the IDE channels: master and slave of the first, then of the second.
    pub ide: [Option<Box<dyn Medium>>; 4],
}

impl From<Console> for Hardware {
    fn from(console: Console) -> Self {
        Hardware {
            console,
            ide: [None, None, None, None],
        }
    }
}
