//! The file system of one experiment, and what has been written there.

use std::fs;
use std::io;
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

/// A directory that can be written, with what has been written there.
#[derive(Debug)]
pub(crate) struct Layer<'a> {
    /// Where it is.
    pub(crate) path: &'a Path,
    /// As it was before.
    pub(crate) before: PathBuf,
    /// What was made or changed, and marks for what was deleted.
    pub(crate) changes: &'a Path,
}

#[derive(Debug)]
enum Form {
    /// Everything is read-only, but for private layers.
    Layers(Mounted),
    /// Only the working directory is private.
    Copy {
        /// Where it is.
        copy: PathBuf,
        /// How large it may be.
        bytes: u64,
    },
}

/// Makes an empty folder, whatever was there.
fn empty(folder: &Path) -> Result<(), SandboxError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SandboxError::io("remove", folder)(error))
        }
        _ => fs::create_dir(folder).map_err(SandboxError::io("make", folder)),
    }
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
        empty(&captured)?;
        let place = Self {
            working: working.to_owned(),
            captured,
            form: Form::Copy { copy, bytes },
        };
        place.copy()?;
        Ok(place)
    }

    fn copy(&self) -> Result<(), SandboxError> {
        let Form::Copy { copy, bytes } = &self.form else {
            return Ok(());
        };
        empty(copy)?;
        let mut left = *bytes;
        outputs::copy_tree(&self.working, copy, &mut left)
            .map_err(SandboxError::io("make a private copy of", &self.working))?;
        std::env::set_current_dir(copy).map_err(SandboxError::io("change to", copy))
    }

    /// Makes everything as it was before a program ran, but for what has been captured. Nobody else may be using it.
    ///
    /// # Errors
    /// What is not allowed here.
    pub(crate) fn renew(&mut self) -> Result<(), SandboxError> {
        match &mut self.form {
            Form::Layers(mounted) => mounted.renew(&self.working),
            Form::Copy { .. } => self.copy(),
        }
    }

    /// The folder for captured streams.
    pub(crate) fn captured(&self) -> &Path {
        &self.captured
    }

    /// The directories that can be written; none where there is a copy instead.
    pub(crate) fn layers(&self) -> Vec<Layer<'_>> {
        let Form::Layers(mounted) = &self.form else {
            return Vec::new();
        };
        let layers = mounted.layered.iter().map(|layer| Layer {
            path: &layer.path,
            before: layer.before(),
            changes: &layer.changes,
        });
        layers.collect()
    }

    /// Standard output and error, and all changes of files.
    ///
    /// # Errors
    /// When they can't be read.
    pub(crate) fn outputs(&self) -> io::Result<Vec<Output>> {
        let mut found = outputs::streams(&self.captured)?;
        match &self.form {
            Form::Copy { copy, .. } => found.extend(outputs::of_copy(&self.working, copy)?),
            Form::Layers(mounted) => {
                for layer in &mounted.layered {
                    found.extend(outputs::of_layer(
                        &layer.path,
                        &layer.before(),
                        &layer.changes,
                        &self.working,
                    )?);
                }
            }
        }
        Ok(found)
    }
}
