//! The folder where things are kept while experiments run.
//!
//! It is locked as long as its process lives. One that nobody holds any more was left behind by a process that was killed, and is removed
//! by the next one that makes its own at the same place.

use std::fs::{File, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fits_injectors::experiment::record::{FILE, Results};

use crate::cli::CliError;

/// What begins the names of folders that are not wanted in the end.
const PREFIX: &str = "fits-inject-";

/// One that is younger may not be locked yet.
const YOUNG: Duration = Duration::from_secs(60);

/// A folder beside the wanted one, which it becomes in the end; in the folder for temporary files if none is wanted.
pub(super) struct Store {
    folder: tempfile::TempDir,
    out: Option<PathBuf>,
    /// Held until the end.
    _lock: Option<File>,
}

impl Store {
    pub(super) fn new(out: Option<&Path>) -> Result<Self, CliError> {
        let Some(out) = out else {
            return Self::at(&std::env::temp_dir(), PREFIX, None);
        };
        fits_stats::write::check_destination(out, fits_stats::write::Existing::Refuse)?;
        let out = std::path::absolute(out).map_err(CliError::file("find", out))?;
        let parent = out.parent().unwrap_or(Path::new("/")).to_owned();
        std::fs::create_dir_all(&parent).map_err(CliError::file("make", &parent))?;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let prefix = format!("{name}.partial-");
        Self::at(&parent, &prefix, Some(out))
    }

    fn at(parent: &Path, prefix: &str, out: Option<PathBuf>) -> Result<Self, CliError> {
        remove_stale(parent, prefix, YOUNG);
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        let folder = folder.map_err(CliError::file("make a folder in", parent))?;
        // On a file system without locks, folders are left to the user.
        let lock = File::open(folder.path()).ok();
        let lock = lock.filter(|lock| lock.try_lock().is_ok());
        Ok(Self {
            folder,
            out,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name, or lets it go.
    pub(super) fn finish(self, results: &Results) -> Result<(), CliError> {
        let Some(out) = self.out else { return Ok(()) };
        let folder = self.folder.path();
        for left in ["work", "captured", "faulty"] {
            // Only private copies leave them.
            let _ = std::fs::remove_dir_all(folder.join(left));
        }
        let file = folder.join(FILE);
        std::fs::write(&file, results.to_json()).map_err(CliError::file("write", &file))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, mode).map_err(CliError::file("open up", folder))?;
        // An empty folder of that name gives way.
        let _ = std::fs::remove_dir(&out);
        std::fs::rename(folder, &out).map_err(CliError::file("write", &out))?;
        // It has another name now.
        let _ = self.folder.keep();
        Ok(())
    }
}

/// Removes folders of ours that nobody holds. What cannot be looked at or removed stays.
fn remove_stale(parent: &Path, prefix: &str, young: Duration) {
    let own = nix::unistd::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(prefix);
        if !named {
            continue;
        }
        let ours = |data: &std::fs::Metadata| data.is_dir() && data.uid() == own;
        let old = |data: &std::fs::Metadata| {
            let age = data.modified().ok().and_then(|time| time.elapsed().ok());
            age.is_some_and(|age| age >= young)
        };
        // A link is not followed.
        let data = std::fs::symlink_metadata(entry.path()).ok();
        if data.filter(ours).filter(old).is_none() {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else {
            continue;
        };
        match folder.try_lock() {
            Ok(()) => drop(std::fs::remove_dir_all(entry.path())),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_that_nobody_holds_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        let held = Store::at(parent.path(), "x.partial-", None).unwrap();
        std::fs::create_dir_all(path("x.partial-dead/golden")).unwrap();
        std::fs::create_dir(path("x")).unwrap();
        std::fs::create_dir(path("y.partial-dead")).unwrap();
        std::fs::write(path("x.partial-file"), "").unwrap();
        std::os::unix::fs::symlink(path("y.partial-dead"), path("x.partial-link")).unwrap();
        remove_stale(parent.path(), "x.partial-", YOUNG);
        assert!(path("x.partial-dead").exists(), "it is young");
        remove_stale(parent.path(), "x.partial-", Duration::ZERO);
        assert!(!path("x.partial-dead").exists());
        assert!(held.path().exists());
        for other in ["x", "y.partial-dead", "x.partial-file", "x.partial-link"] {
            assert!(path(other).exists(), "{other}");
        }
    }
}
