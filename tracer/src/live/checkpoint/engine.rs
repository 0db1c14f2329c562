//! An engine that begins where a checkpoint was taken.

use std::fmt;
use std::path::PathBuf;

use fits_stats::client::StatsProcess;

use super::store;
use crate::backend::BackendError;
use crate::engine::{Collected, End, Engine, EngineOptions, Found, Landmark, Moment, Reached};
use crate::live::Live;
use crate::live::numbers::FileNumbers;
use crate::process::Command;

/// Makes the files as they were when the checkpoint was taken. It gives their numbers; a sentence if that is not possible.
pub type Surroundings = Box<dyn FnMut() -> Result<FileNumbers, String>>;

/// Comes to the moment that a checkpoint was taken at by restoring it; everything else, and what can't be restored, another engine does.
pub struct CheckpointEngine {
    file: PathBuf,
    surroundings: Surroundings,
    otherwise: Box<dyn Engine>,
    failed: Option<String>,
}

impl fmt::Debug for CheckpointEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointEngine")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl CheckpointEngine {
    /// An engine for the checkpoint in `file`.
    #[must_use]
    pub fn new(file: PathBuf, surroundings: Surroundings, otherwise: Box<dyn Engine>) -> Self {
        Self {
            file,
            surroundings,
            otherwise,
            failed: None,
        }
    }

    /// Why the checkpoint could not be restored, if so: the run has begun afresh then.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }
}

impl Engine for CheckpointEngine {
    fn name(&self) -> &'static str {
        self.otherwise.name()
    }

    fn count(&mut self, command: &Command, options: &EngineOptions) -> Result<End, BackendError> {
        self.otherwise.count(command, options)
    }

    fn locate(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        landmarks: &[Landmark],
    ) -> Result<Vec<Option<Found>>, BackendError> {
        self.otherwise.locate(command, options, landmarks)
    }

    fn reach(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moment: Moment,
    ) -> Result<Reached, BackendError> {
        self.otherwise.reach(command, options, moment)
    }

    fn reach_found(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        found: &Found,
    ) -> Result<Reached, BackendError> {
        let restored = match store::read(&self.file) {
            Err(error) => Err(format!("it can't be read: {error}")),
            Ok(checkpoint) if checkpoint.pc() != found.pc => {
                Err("it was taken at another moment".to_owned())
            }
            Ok(checkpoint) => checkpoint.restore(command, options, &mut self.surroundings)?,
        };
        match restored {
            Ok(live) => Ok(Reached::At(Box::new(live))),
            Err(sentence) => {
                self.failed = Some(sentence);
                self.otherwise.reach_found(command, options, found)
            }
        }
    }

    fn collect(
        &mut self,
        live: Live,
        executed: &[u64],
        options: &EngineOptions,
        stats: &mut StatsProcess,
    ) -> Result<Collected, BackendError> {
        self.otherwise.collect(live, executed, options, stats)
    }
}
