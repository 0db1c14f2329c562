//! Snapshots of a machine: everything that decides how it goes on, and nothing else.
//!
//! A [`Snapshot`] is the image of RAM and one record for each component. In memory it is the base of any number of machines, whose RAM is a copy on
//! write of the image; in a [file](mod@file) it survives. Caches of the processor are not part of it.

pub mod array;
mod component;
mod error;
pub mod file;
mod plugin;

pub use component::{Component, Loader, Record, Records, State, decode, encode};
pub use error::SnapshotError;
pub use plugin::{Plugin, Plugins, Refusal};

use serde::{Deserialize, Serialize};

use crate::memory::RamImage;

/// What kind of machine it is: the first record of every snapshot, called `machine`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The version of fits that took the snapshot, for people.
    pub fits: String,
    /// The board.
    pub board: String,
    /// Bytes of RAM.
    pub memory: u64,
    /// Instructions that had retired.
    pub retired: u64,
    /// Virtual nanoseconds since power-on.
    pub now: u64,
}

impl State for Description {}

pub(crate) const MACHINE: &str = "machine";

/// A machine at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) records: Records,
    pub(crate) ram: RamImage,
}

impl Snapshot {
    /// What kind of machine it is of.
    ///
    /// # Errors
    /// When the snapshot does not say so in the form of this version.
    pub fn description(&self) -> Result<Description, SnapshotError> {
        description(&self.records)
    }

    /// The records, without RAM.
    #[must_use]
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The records, to be changed: for tools and tests.
    pub fn records_mut(&mut self) -> &mut Records {
        &mut self.records
    }

    /// The image of RAM.
    #[must_use]
    pub fn ram(&self) -> &RamImage {
        &self.ram
    }
}

fn description(records: &Records) -> Result<Description, SnapshotError> {
    let bytes = records.loader().take(MACHINE, Description::VERSION)?;
    decode(bytes).map_err(|reason| SnapshotError::Malformed {
        tag: MACHINE.into(),
        reason,
    })
}
