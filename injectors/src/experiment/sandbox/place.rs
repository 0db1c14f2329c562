//! The file system of one experiment, and what has been written there.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use super::error::SandboxError;
use super::mounts::{self, Mounted};
use crate::experiment::outputs::{self, Output};

/// Where an experiment works and writes.
#[derive(Debug)]
pub(crate) struct Place {
    working: PathBuf,
    captured: PathBuf,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// Everything is read-only, but for private layers.
    Layers(Mounted),
    /// Only the working directory is private.
    Copy(PathBuf),
}

impl Place {
    /// In namespaces of its own; see [`mounts::build`].
    pub(crate) fn layered(
        working: &Path,
        writable: &[PathBuf],
        bytes: u64,
    ) -> Result<Self, SandboxError> {
        let usual = ["/tmp", "/var/tmp", "/dev/shm"].map(PathBuf::from);
        let all = usual
            .into_iter()
            .chain([working.to_owned()])
            .chain(writable.iter().cloned());
        let mounted = mounts::build(&mounts::distinct(all), working, bytes)?;
        Ok(Self {
            working: working.to_owned(),
            captured: mounted.captured.clone(),
            form: Form::Layers(mounted),
        })
    }

    /// Copies the working directory to below `base`, where whatever an earlier experiment left is removed, and changes to it.
    pub(crate) fn copied(working: &Path, base: &Path, bytes: u64) -> Result<Self, SandboxError> {
        let (copy, captured) = (base.join("work"), base.join("captured"));
        for folder in [&copy, &captured] {
            match fs::remove_dir_all(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(SandboxError::io("remove", folder)(error));
                }
                _ => fs::create_dir(folder).map_err(SandboxError::io("make", folder))?,
            }
        }
        let mut left = bytes;
        outputs::copy_tree(working, &copy, &mut left)
            .map_err(SandboxError::io("make a private copy of", working))?;
        std::env::set_current_dir(&copy).map_err(SandboxError::io("change to", &copy))?;
        Ok(Self {
            working: working.to_owned(),
            captured,
            form: Form::Copy(copy),
        })
    }

    /// The folder for captured streams.
    pub(crate) fn captured(&self) -> &Path {
        &self.captured
    }

    /// Standard output and error, and all changes of files.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn outputs(&self) -> io::Result<Vec<Output>> {
        let mut found = outputs::streams(&self.captured)?;
        match &self.form {
            Form::Copy(copy) => found.extend(outputs::of_copy(&self.working, copy)?),
            Form::Layers(mounted) => {
                for layer in &mounted.layered {
                    let before = format!("/proc/self/fd/{}", layer.before.as_raw_fd());
                    found.extend(outputs::of_layer(
                        &layer.path,
                        Path::new(&before),
                        &layer.changes,
                        &self.working,
                    )?);
                }
            }
        }
        Ok(found)
    }
}
