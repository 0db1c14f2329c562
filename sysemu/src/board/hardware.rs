//! What is put into a machine: the parts that differ from one to the next.

use crate::board::console::Console;
use crate::devices::medium::Medium;
use crate::devices::network::{Mac, Network};

/// Most virtio devices of a machine: places on the PCI bus that the board leaves free.
pub const VIRTIO_MAX: usize = 29;

/// The parts.
#[derive(Debug)]
pub struct Hardware {
    /// The first serial port.
    pub console: Console,
    /// Disks on the IDE channels: master and slave of the first, then of the second.
    pub ide: [Option<Box<dyn Medium>>; 4],
    /// Disks by virtio; with `cards`, at most [`VIRTIO_MAX`].
    pub virtio_disks: Vec<Box<dyn Medium>>,
    /// Network cards, by virtio.
    pub cards: Vec<Card>,
}

/// A network card.
#[derive(Debug)]
pub struct Card {
    /// Its address.
    pub mac: Mac,
    /// What it is connected to.
    pub network: Box<dyn Network>,
}

impl From<Console> for Hardware {
    fn from(console: Console) -> Self {
        Hardware {
            console,
            ide: [None, None, None, None],
            virtio_disks: Vec::new(),
            cards: Vec::new(),
        }
    }
}
