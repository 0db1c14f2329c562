//! Experiments that begin near their fault: a *walker* runs the program once, past all moments, and leaves a checkpoint at each, from which
//! experiments begin ([`Session::experiment_from`](super::session::Session::experiment_from)).
//!
//! - `walk`: the walker's job, in its worker.
//! - `files`: what the program has written so far, written down, and made again.
//!
//! The design is in `docs/design/checkpoints.md`.

pub(crate) mod files;
pub(crate) mod walk;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fits_tracer::engine::{Found, Limits, Moment};
use serde::{Deserialize, Serialize};

use super::client::{ClientError, Worker};
use super::job::{EngineName, Job, Report, Run};
use super::session::{Manner, SessionError};
use super::worker::{Answer, Setup};

/// What there is for an experiment to begin from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Near {
    /// A checkpoint, until it is released.
    Checkpoint(PathBuf),
    /// None: the experiment begins afresh. Why: one clause (`it makes threads or processes`).
    Fresh(String),
}

/// What the walker says while it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// There is a checkpoint at this index.
    Checkpoint(u64),
    /// There is none.
    Fresh(u64, String),
    /// There will be none at any that has not been named.
    Rest(String),
}

/// What comes from the walker's worker.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Said(Said),
    Ended(Answer<Report>),
}

/// A process that goes through the fault-free run once and leaves a checkpoint at each moment that is asked for. Dropping it ends it.
#[derive(Debug)]
pub struct Walker {
    /// None: nothing can be taken from a checkpoint.
    worker: Option<Worker>,
    folder: PathBuf,
    ahead: usize,
    /// How many experiments want each moment still.
    wanted: HashMap<Moment, usize>,
    /// What was said of each index; none: there is a checkpoint.
    said: HashMap<u64, Option<String>>,
    /// What was said of all others.
    rest: Option<String>,
    /// Checkpoints that are not released.
    waiting: usize,
}

impl Walker {
    /// Starts it: `executable` is fits, `setup` that of the sessions whose experiments are to begin from its checkpoints, `moments` has one for each
    /// such experiment. Checkpoints lie in `folder`, which exists and is empty (in memory, if there is room), at most `ahead` of them at a time.
    ///
    /// # Errors
    /// When the worker cannot be started.
    pub fn start(
        executable: &Path,
        setup: Setup,
        manner: &Manner,
        moments: Vec<Found>,
        folder: &Path,
        ahead: usize,
    ) -> Result<Self, SessionError> {
        let mut wanted: HashMap<Moment, usize> = HashMap::new();
        for found in &moments {
            *wanted.entry(found.moment).or_default() += 1;
        }
        let first = |moment: &&Moment| moment.thread == 0;
        let mut indices: Vec<u64> = wanted.keys().filter(first).map(|one| one.index).collect();
        indices.sort_unstable();
        let why_not = if !setup.isolate {
            Some("without namespaces two runs of the program cannot be alike at the same time")
        } else if manner.raw {
            Some("--raw-environment makes every run another one")
        } else {
            None
        };
        let mut walker = Self {
            worker: None,
            folder: folder.to_owned(),
            ahead: ahead.max(1),
            wanted,
            said: HashMap::new(),
            rest: why_not.map(str::to_owned),
            waiting: 0,
        };
        if why_not.is_some() || indices.is_empty() {
            walker.rest.get_or_insert_with(|| NOT_FIRST.to_owned());
            return Ok(walker);
        }
        let setup = Setup {
            store: folder.into(),
            ..setup
        };
        let mut worker = Worker::start(executable, &setup)?;
        worker.send(&Job::Walk {
            run: Run {
                raw: false,
                limits: Limits::default(),
            },
            engine: EngineName::Dbt,
            moments: indices,
            ahead: walker.ahead,
        })?;
        walker.worker = Some(worker);
        Ok(walker)
    }

    /// Number of its worker's process.
    #[must_use]
    pub fn process(&self) -> Option<u32> {
        self.worker.as_ref().map(Worker::process)
    }

    /// Waits until it is known what an experiment at `moment` can begin from. Moments are to be asked for in rising order, more or less: one that lies
    /// behind as many unreleased checkpoints as there may be is an error.
    ///
    /// # Errors
    /// When the walker is lost, or has failed: one sentence.
    pub fn wait(&mut self, moment: Moment) -> Result<Near, SessionError> {
        if moment.thread != 0 {
            return Ok(Near::Fresh(NOT_FIRST.to_owned()));
        }
        loop {
            if let Some(said) = self.said.get(&moment.index) {
                return Ok(match said {
                    None => Near::Checkpoint(self.place(moment.index)),
                    Some(sentence) => Near::Fresh(sentence.clone()),
                });
            }
            if let Some(rest) = &self.rest {
                return Ok(Near::Fresh(rest.clone()));
            }
            if self.waiting >= self.ahead {
                return Err(SessionError::Failed(format!(
                    "the checkpoint at {} cannot be waited for: {} others are to be released first",
                    moment.index, self.waiting
                )));
            }
            self.listen()?;
        }
    }

    /// One experiment at `moment` needs its checkpoint no more. It goes with the last one.
    pub fn release(&mut self, moment: Moment) {
        let Some(left) = self.wanted.get_mut(&moment) else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return;
        }
        self.wanted.remove(&moment);
        if moment.thread == 0 && self.said.get(&moment.index) == Some(&None) {
            // It takes room until the folder goes; no more than that.
            let _ = std::fs::remove_dir_all(self.place(moment.index));
            self.said.insert(
                moment.index,
                Some("its checkpoint has been released".to_owned()),
            );
            self.waiting -= 1;
            if let Some(worker) = &mut self.worker {
                // A walker that is gone is noticed when it is asked.
                let _ = worker.nudge();
            }
        }
    }

    fn place(&self, index: u64) -> PathBuf {
        self.folder.join(index.to_string())
    }

    fn listen(&mut self) -> Result<(), SessionError> {
        let Some(worker) = &mut self.worker else {
            self.rest = Some("the walk is over".to_owned());
            return Ok(());
        };
        let line = worker.line()?;
        let line = serde_json::from_str(&line).map_err(|error| ClientError::Lost(error.into()))?;
        match line {
            Line::Said(Said::Checkpoint(index)) => {
                self.said.insert(index, None);
                self.waiting += 1;
            }
            Line::Said(Said::Fresh(index, sentence)) => {
                self.said.insert(index, Some(sentence));
            }
            Line::Said(Said::Rest(sentence)) => self.rest = Some(sentence),
            Line::Ended(Answer::Failed(sentence)) => return Err(SessionError::Failed(sentence)),
            Line::Ended(Answer::Done(_)) => self.rest = Some("the walk is over".to_owned()),
        }
        Ok(())
    }
}

const NOT_FIRST: &str = "only the first thread is taken from checkpoints";
