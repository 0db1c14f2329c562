//! The folder in the making, which becomes the result at the end or goes away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{FILES, WriteError};

/// What the report adds to a golden folder; it may be replaced with it.
const ADDED: &str = "report.html";

/// What to do with a destination that is not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse to write.
    Refuse,
    /// Replace it, if it holds nothing but an earlier golden run.
    Replace,
}

/// Checks, without writing anything, that results can go to `dir`.
pub fn check_destination(dir: &Path, existing: Existing) -> Result<(), WriteError> {
    let metadata = match fs::metadata(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|error| WriteError::io(dir, error))?,
    };
    let path = dir.to_owned();
    if !metadata.is_dir() {
        return Err(WriteError::NotAFolder { path });
    }
    for entry in fs::read_dir(dir).map_err(|error| WriteError::io(dir, error))? {
        let name = entry
            .map_err(|error| WriteError::io(dir, error))?
            .file_name();
        let name = name.to_string_lossy().into_owned();
        if existing == Existing::Refuse {
            return Err(WriteError::NotEmpty { path });
        }
        if name != ADDED && !FILES.contains(&&*name) {
            return Err(WriteError::Foreign { path, name });
        }
    }
    Ok(())
}

/// Where process `pid` writes while the folder is not yet whole.
pub fn partial_folder(dir: &Path, pid: u32) -> PathBuf {
    let destination = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    beside(&destination, "partial", pid)
}

/// `DIR.partial-PID`; dropping it removes it.
pub(super) struct PartialFolder {
    path: PathBuf,
    destination: PathBuf,
    existing: Existing,
}

impl PartialFolder {
    /// Makes the folder beside its destination.
    pub(super) fn create(dir: &Path, existing: Existing) -> Result<Self, WriteError> {
        check_destination(dir, existing)?;
        // A link to a folder stays one: what it leads to is replaced.
        let destination = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
        let path = beside(&destination, "partial", std::process::id());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| WriteError::io(parent, error))?;
        }
        fs::create_dir(&path).map_err(|error| WriteError::io(&path, error))?;
        Ok(PartialFolder {
            path,
            destination,
            existing,
        })
    }

    /// Where to write to.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the folder its name.
    pub(super) fn finish(self) -> Result<(), WriteError> {
        check_destination(&self.destination, self.existing)?;
        let failed = |error| WriteError::io(&self.destination, error);
        let old = beside(&self.destination, "old", std::process::id());
        let replaced = self.existing == Existing::Replace && self.destination.exists();
        if replaced {
            fs::rename(&self.destination, &old).map_err(failed)?;
        }
        fs::rename(&self.path, &self.destination).map_err(failed)?;
        if replaced {
            fs::remove_dir_all(&old).map_err(|error| WriteError::io(&old, error))?;
        }
        Ok(())
    }
}

impl Drop for PartialFolder {
    fn drop(&mut self) {
        // After `finish` there is nothing of this name; before, the error that brought us here
        // is the one to report.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn beside(dir: &Path, what: &str, pid: u32) -> PathBuf {
    let mut name = dir.as_os_str().to_owned();
    name.push(format!(".{what}-{pid}"));
    name.into()
}
