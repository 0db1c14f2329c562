//! Experiments that begin near their fault: one walker for all workers.

use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fits_tracer::engine::Found;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::conditions::Conditions;
use crate::campaign::file::Start;
use crate::experiment::session::SessionError;
use crate::experiment::{Near, Walker};

/// Checkpoints that may wait beyond one for each worker.
const SPARE: usize = 2;

/// See the module.
#[derive(Debug)]
pub(super) struct Nearby {
    mode: Start,
    walker: Mutex<Option<Walker>>,
    /// The walker's process; 0 while there is none.
    process: AtomicU32,
}

impl Nearby {
    pub(super) fn new(mode: Start) -> Self {
        Self {
            mode,
            walker: Mutex::new(None),
            process: AtomicU32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Walker>> {
        self.walker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anything begins near its fault.
    pub(super) fn is_wanted(&self) -> bool {
        self.mode != Start::Fresh
    }

    /// Begins a walk to these moments. The one before is over: nobody waits for it.
    ///
    /// # Errors
    /// When it cannot begin, and nothing else will do.
    pub(super) fn walk(
        &self,
        conditions: &Conditions,
        jobs: usize,
        moments: Vec<Found>,
    ) -> Result<(), SessionError> {
        self.end();
        let started = self.start(conditions, jobs, moments);
        match (started, self.mode) {
            (Ok(walker), _) => {
                let process = walker.process().unwrap_or_default();
                self.process.store(process, Ordering::SeqCst);
                *self.lock() = Some(walker);
                Ok(())
            }
            (Err(error), Start::Checkpoint) => Err(error),
            // All begin afresh.
            (Err(_), _) => Ok(()),
        }
    }

    fn start(
        &self,
        conditions: &Conditions,
        jobs: usize,
        moments: Vec<Found>,
    ) -> Result<Walker, SessionError> {
        let folder = &conditions.checkpoints;
        // What an earlier walk has left.
        let _ = std::fs::remove_dir_all(folder);
        // Not one that somebody else has put there.
        let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
        made.map_err(|error| {
            SessionError::Failed(format!("cannot make {}: {error}", folder.display()))
        })?;
        let mut setup = conditions.setup.clone();
        setup.isolate = conditions.isolated;
        setup.place = jobs;
        Walker::start(
            &conditions.executable,
            setup,
            &conditions.manner,
            moments,
            folder,
            jobs + SPARE,
        )
    }

    /// The checkpoint that an experiment at this moment begins from; `None` if it begins at the beginning.
    ///
    /// # Errors
    /// When the walker is lost, or there is no checkpoint where nothing else will do.
    pub(super) fn wait(&self, found: &Found) -> Result<Option<PathBuf>, SessionError> {
        let mut walker = self.lock();
        let Some(walking) = walker.as_mut() else {
            return Ok(None);
        };
        let near = walking.wait(found.moment);
        match (near, self.mode) {
            (Ok(Near::Checkpoint(path)), _) => Ok(Some(path)),
            (Ok(Near::Fresh(why)), Start::Checkpoint) => Err(SessionError::Wrong(format!(
                "an experiment at index {} of thread {} cannot begin near its fault, because {why}; --start auto lets it begin at the beginning",
                found.moment.index, found.moment.thread
            ))),
            (Ok(Near::Fresh(_)), _) => Ok(None),
            (Err(error), Start::Checkpoint) => Err(error),
            (Err(_), _) => {
                // The others begin afresh too.
                self.process.store(0, Ordering::SeqCst);
                *walker = None;
                Ok(None)
            }
        }
    }

    /// An experiment at this moment needs its checkpoint no more.
    pub(super) fn release(&self, found: &Found) {
        if let Some(walker) = self.lock().as_mut() {
            walker.release(found.moment);
        }
    }

    /// Ends the walker's process: whoever waits for it goes on.
    pub(super) fn end_process(&self) {
        let process = self.process.swap(0, Ordering::SeqCst);
        if process != 0 {
            let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
    }

    /// Ends the walk.
    pub(super) fn end(&self) {
        self.end_process();
        *self.lock() = None;
    }
}
