//! What a golden folder records about a run beside its statistics: the program, its input, its outputs.
//!
//! Outputs are hashed only where that costs nothing during the run: a standard output or error that is a regular file is read back
//! afterwards, from where it stood at the start. A pipe or terminal is left alone, because fits does not stand between the program and its
//! streams.

use std::fs::File;
use std::io::{IsTerminal, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use fits_injectors::experiment::outputs::hash;
use fits_stats::model::{OutputHash, StandardInput};

/// The hash of a file, or nothing if it can't be read.
pub(crate) fn hash_file(path: &Path) -> String {
    File::open(path)
        .and_then(hash)
        .map(|hashed| hashed.0)
        .unwrap_or_default()
}

/// What standard input is.
pub(crate) fn standard_input() -> StandardInput {
    let stdin = std::io::stdin();
    let place = Path::new("/proc/self/fd/0");
    let kind = match place.metadata() {
        _ if stdin.is_terminal() => "terminal",
        Err(_) => "closed",
        Ok(data) if data.is_file() => "file",
        Ok(data) if data.file_type().is_fifo() => "pipe",
        Ok(data) if data.file_type().is_socket() => "socket",
        Ok(data) if data.rdev() == nix::sys::stat::makedev(1, 3) => "null",
        Ok(_) => "other",
    };
    let path = (kind == "file")
        .then(|| std::fs::read_link(place).ok())
        .flatten();
    StandardInput {
        kind: kind.to_owned(),
        sha256: path.as_deref().map(hash_file),
        path: path.map(|path| path.to_string_lossy().into_owned()),
    }
}

/// Where a standard stream that is a regular file stood before the run.
#[derive(Debug)]
pub(crate) struct OutputMark {
    name: &'static str,
    place: PathBuf,
    start: u64,
}

impl OutputMark {
    /// Marks standard output and error, where they are regular files.
    pub(crate) fn both() -> Vec<Self> {
        let marks = [
            Self::new("stdout", 1, std::io::stdout().as_fd().try_clone_to_owned()),
            Self::new("stderr", 2, std::io::stderr().as_fd().try_clone_to_owned()),
        ];
        marks.into_iter().flatten().collect()
    }

    fn new(
        name: &'static str,
        number: i32,
        fd: std::io::Result<std::os::fd::OwnedFd>,
    ) -> Option<Self> {
        let mut file = File::from(fd.ok()?);
        let metadata = file.metadata().ok()?;
        let appending = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_GETFL).ok()?
            & nix::fcntl::OFlag::O_APPEND.bits()
            != 0;
        let start = if appending {
            metadata.len()
        } else {
            file.stream_position().ok()?
        };
        let place = PathBuf::from(format!("/proc/self/fd/{number}"));
        metadata.is_file().then_some(Self { name, place, start })
    }

    /// The hash of what was written since; nothing if it can't be read back.
    pub(crate) fn finish(&self) -> Option<OutputHash> {
        let mut file = File::open(&self.place).ok()?;
        file.seek(SeekFrom::Start(self.start)).ok()?;
        let (sha256, bytes) = hash(file).ok()?;
        Some(OutputHash {
            name: self.name.to_owned(),
            bytes,
            sha256,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha_256() {
        let (text, length) = hash(&b"abc"[..]).expect("a slice can be read");
        assert_eq!(length, 3);
        assert!(text.starts_with("ba7816bf8f01cfea") && text.len() == 64);
    }
}
