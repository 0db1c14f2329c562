//! Why a result folder could not be written.

use std::io;
use std::path::{Path, PathBuf};

/// Why a result folder could not be written. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The disk is full.
    #[error("cannot write {}: no space left on the device; free some or choose another folder", path.display())]
    Full {
        /// The file that was being written.
        path: PathBuf,
    },
    /// Another error of the file system.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or folder that was being written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The destination holds something.
    #[error("{} exists and is not empty; choose another folder or replace it with --force", path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is not a folder.
    #[error("{} exists and is not a folder; choose another name", path.display())]
    NotAFolder {
        /// The destination.
        path: PathBuf,
    },
    /// The destination holds something that a golden run did not write.
    #[error(
        "{} holds {name:?}, which no golden run wrote, so it is not replaced; move it away or choose another folder",
        path.display()
    )]
    Foreign {
        /// The destination.
        path: PathBuf,
        /// The first such name.
        name: String,
    },
}

impl WriteError {
    /// The error of an operation on `path`.
    pub(super) fn io(path: &Path, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => WriteError::Full { path },
            _ => WriteError::Io { path, source },
        }
    }
}
