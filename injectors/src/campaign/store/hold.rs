//! One process at a time works on a campaign.
//!
//! A lock of the kernel (`flock`) on a file beside the database: it goes when its holder ends, however that comes about, so nothing has to be cleaned
//! up after a SIGKILL. The file tells who the holder is; what it says counts only while the lock is held.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::StoreError;

/// Name of the file in the folder of a campaign.
pub const LOCK: &str = "campaign.lock";

/// The right to work on a campaign. Ends when it is dropped.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Hold {
    /// Takes it for the campaign in `folder`; `holder` is how a second process is told who has it.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another process has it.
    pub fn take(folder: &Path, holder: &str) -> Result<Self, StoreError> {
        let path = folder.join(LOCK);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StoreError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who it is helps, but is not needed to refuse.
                let _ = file.read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => "another process".to_owned(),
                    told => told.to_owned(),
                };
                return Err(StoreError::Held {
                    path: folder.to_owned(),
                    holder,
                });
            }
            Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", &path)(error)),
        }
        let told = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{holder}")
        };
        told(&mut file).map_err(StoreError::io("write", &path))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Hold::take(folder.path(), "process 7 on here").expect("it is free");
        let second = Hold::take(folder.path(), "process 8 on here");
        let told = second.expect_err("it is held").to_string();
        assert!(told.contains("in use by process 7 on here"), "{told}");
        drop(first);
        Hold::take(folder.path(), "process 9 on here").expect("it is free again");
    }
}
