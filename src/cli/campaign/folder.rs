//! The folder of a campaign.

use std::path::{Path, PathBuf};

use fits_injectors::campaign::store::{FILE, LOCK, StoreError};

use crate::cli::CliError;

/// What was asked for.
pub(super) const CAMPAIGN: &str = "campaign.toml";
/// The golden run.
pub(super) const GOLDEN: &str = "golden";
/// What workers keep while they work.
const SCRATCH: &str = "scratch";
/// What came in on standard input.
pub(super) const STDIN: &str = "stdin";

/// A new folder for a campaign, or an empty one, or one whose planning was cut short.
pub(super) fn prepare(out: &Path) -> Result<PathBuf, CliError> {
    let out = std::path::absolute(out).map_err(CliError::file("find", out))?;
    std::fs::create_dir_all(&out).map_err(CliError::file("make", &out))?;
    if out.join(FILE).exists() {
        return Err(StoreError::Exists(out).into());
    }
    let entries = std::fs::read_dir(&out).map_err(CliError::file("read", &out))?;
    for entry in entries {
        let entry = entry.map_err(CliError::file("read", &out))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = [CAMPAIGN, GOLDEN, SCRATCH, STDIN, LOCK].contains(&name.as_str())
            || name.starts_with(&format!("{FILE}.partial-"));
        if !ours {
            return Err(CliError::Usage(format!(
                "{} holds something else ({name}): a campaign needs a folder of its own",
                out.display()
            )));
        }
    }
    Ok(out)
}

/// A fresh folder for what workers keep; goes with the value.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(SCRATCH);
        // What was left when an earlier process was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(CliError::file("make", &path))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next one.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a second process is told who works on a campaign.
pub(super) fn holder() -> String {
    let host = super::provenance::host().name;
    format!("process {} on {host}", std::process::id())
}
