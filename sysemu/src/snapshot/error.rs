//! Why a snapshot cannot be taken, kept or restored.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a snapshot, as a sentence.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file cannot be read or written.
    #[error("cannot {action} snapshot {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is none of ours.
    #[error("{} is not the snapshot of a machine", .0.display())]
    Foreign(PathBuf),
    /// It is in another form.
    #[error("snapshot {} has format {found}, and this fits reads format {known} only: take it again", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// It ends too early.
    #[error("snapshot {} is truncated: it ends {place}", path.display())]
    Truncated {
        /// Which file.
        path: PathBuf,
        /// Where it ends.
        place: String,
    },
    /// The checksum of a record is wrong.
    #[error("snapshot {} is damaged: the checksum of record \"{tag}\" is wrong", path.display())]
    Checksum {
        /// Which file.
        path: PathBuf,
        /// Which record.
        tag: String,
    },
    /// A record has another version.
    #[error(
        "the snapshot is of another version of fits: its record \"{tag}\" has version {found}, and this fits knows version {known}"
    )]
    Version {
        /// Which record.
        tag: String,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// A component has no record.
    #[error(
        "the snapshot is of another machine: it has no record \"{tag}\", and this machine has such a component"
    )]
    Missing {
        /// Which record.
        tag: String,
    },
    /// A record has no component.
    #[error(
        "the snapshot is of another machine: it has a record \"{tag}\", and this machine has no such component"
    )]
    Unexpected {
        /// Which record.
        tag: String,
    },
    /// A record is not what it should be.
    #[error("record \"{tag}\" of the snapshot cannot be used: {reason}")]
    Malformed {
        /// Which record.
        tag: String,
        /// What is wrong.
        reason: String,
    },
    /// The machine that was asked for is another one.
    #[error("the snapshot is of another machine: record \"{tag}\" says {found}, not {asked}")]
    Machine {
        /// Which record.
        tag: String,
        /// What the snapshot has.
        found: String,
        /// What was asked for.
        asked: String,
    },
    /// A plug-in does not want a checkpoint now.
    #[error("plug-in \"{plugin}\" refuses a checkpoint now: {reason}")]
    Vetoed {
        /// Which one.
        plugin: String,
        /// Why.
        reason: String,
    },
    /// A plug-in fails.
    #[error("plug-in \"{plugin}\" fails at event {event}: {reason}")]
    Plugin {
        /// Which one.
        plugin: String,
        /// At which event.
        event: &'static str,
        /// Why.
        reason: String,
    },
    /// The host refuses something.
    #[error("{0}")]
    Host(String),
}

impl SnapshotError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }
}
