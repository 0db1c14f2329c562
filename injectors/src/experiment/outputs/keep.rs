//! Outputs copied to where they stay: those of the reference run, so that others can be compared with them, and those that a user's own
//! comparison looks at.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{Kind, Output};

/// Copies contents into `folder`, which must not exist: the streams under their names, files under `files/` and their paths.
///
/// # Errors
/// Those of the file system.
pub fn keep(outputs: &[Output], folder: &Path) -> io::Result<()> {
    fs::create_dir(folder)?;
    fs::create_dir(folder.join("files"))?;
    for output in outputs {
        let to = kept_at(folder, &output.name);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        match &output.kind {
            Kind::File { .. } => drop(fs::copy(&output.place, &to)?),
            Kind::Folder { .. } => fs::create_dir_all(&to)?,
            Kind::Link { target } => symlink(target, &to)?,
            Kind::Special { .. } | Kind::Deleted => {}
        }
    }
    Ok(())
}

/// Where the content of an output has been kept.
#[must_use]
pub fn read_kept(folder: &Path, name: &str) -> PathBuf {
    kept_at(folder, name)
}

fn kept_at(folder: &Path, name: &str) -> PathBuf {
    if super::STREAMS.contains(&name) {
        return folder.join(name);
    }
    folder.join("files").join(name.trim_start_matches('/'))
}
