//! What a run left behind: standard output and error, and the files that it made, changed or deleted.
//!
//! - `changes`: which files those are.
//! - `differ`: where the outputs of two runs differ.
//! - `keep`: outputs copied to where they stay.

mod changes;
mod differ;
mod keep;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub(crate) use changes::{copy_tree, of_copy, of_layer};
pub use differ::{Difference, What, differences};
pub use keep::{keep, read_kept};

/// Something that a run left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `stdout`, `stderr`, or the path of a file: relative to the working directory if it lies in it.
    pub name: String,
    /// What it is now.
    pub kind: Kind,
    /// Where its content can be read.
    #[serde(skip)]
    pub(crate) place: PathBuf,
}

/// What an output is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Kind {
    /// A regular file, or a standard stream.
    File {
        /// Its size.
        bytes: u64,
        /// SHA-256 of its content, in hexadecimal.
        sha256: String,
        /// Its permissions.
        mode: u32,
    },
    /// A new folder.
    Folder {
        /// Its permissions.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: String,
    },
    /// A socket, a named pipe and the like.
    Special {
        /// `S_IFMT` part of its mode.
        format: u32,
    },
    /// It was there before the run and is not any more.
    Deleted,
}

/// Names of the standard streams.
pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// Whether it is a standard stream.
pub(crate) fn is_stream(output: &Output) -> bool {
    STREAMS.contains(&output.name.as_str())
}

/// Captured standard output and error.
///
/// # Errors
/// When they can't be read.
pub(crate) fn streams(captured: &Path) -> io::Result<Vec<Output>> {
    let stream = |name: &&str| {
        let place = captured.join(name);
        let kind = file(&place, 0o600)?;
        Ok(Output {
            name: (*name).to_owned(),
            kind,
            place,
        })
    };
    STREAMS.iter().map(stream).collect()
}

fn file(path: &Path, mode: u32) -> io::Result<Kind> {
    let (sha256, bytes) = hash(File::open(path)?)?;
    Ok(Kind::File {
        bytes,
        sha256,
        mode,
    })
}

/// SHA-256 of everything that can be read, in hexadecimal, and its length.
///
/// # Errors
/// Those of reading.
pub fn hash(mut from: impl Read) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut length = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        length += read as u64;
    }
    let digest = hasher.finalize();
    let hexadecimal = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((hexadecimal, length))
}
