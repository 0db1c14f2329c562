//! Where devices are found on the board.

use std::ops::Range;

/// Which of the two address spaces of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// Ports.
    Ports,
    /// Physical memory that is no RAM.
    Memory,
}

/// A place of a device: its first byte is register `offset`.
#[derive(Clone, Debug)]
pub struct Place {
    /// In which space.
    pub space: Space,
    /// Which addresses.
    pub range: Range<u64>,
    /// The offset of the first one.
    pub offset: u64,
}

impl Place {
    /// Ports.
    #[must_use]
    pub fn ports(range: Range<u16>, offset: u64) -> Self {
        Place {
            space: Space::Ports,
            range: range.start.into()..range.end.into(),
            offset,
        }
    }

    /// Memory.
    #[must_use]
    pub fn memory(range: Range<u64>) -> Self {
        Place {
            space: Space::Memory,
            range,
            offset: 0,
        }
    }
}

/// Why a device cannot be attached.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AttachError {
    /// Names are unique.
    #[error("there is a device \"{0}\" already")]
    Name(String),
    /// Places are not shared.
    #[error("device \"{name}\" cannot have {range:#x?} of {space:?}: it is empty or in use")]
    Place {
        /// The device.
        name: String,
        /// The space.
        space: Space,
        /// What it wants.
        range: Range<u64>,
    },
}
