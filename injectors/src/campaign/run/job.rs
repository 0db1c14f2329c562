//! The thread of one worker: takes experiments from the queue until there are no more.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use fits_tracer::engine::Found;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::conditions::Conditions;
use super::nearby::Nearby;
use super::queue::{Queue, Task};
use super::unchanged::Unchanged;
use crate::campaign::point::Point;
use crate::drive::EARLY_STOP;
use crate::experiment::client::ClientError;
use crate::experiment::outcome::Outcome;
use crate::experiment::record::Record;
use crate::experiment::session::{Session, SessionError, blank};

/// How an experiment began, as it is kept.
const FRESH: &str = "fresh";
const CHECKPOINT: &str = "checkpoint";

/// What a worker's thread says.
#[derive(Debug)]
pub(super) enum Said {
    /// An experiment has ended.
    Ended {
        /// What was to be done.
        task: Box<Task>,
        /// What came of it.
        record: Box<Record>,
        /// How it began.
        start: &'static str,
    },
    /// The campaign cannot go on: one sentence.
    Failed(String),
}

/// A worker as others see it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// The worker's process, while there is one.
    process: Mutex<Option<u32>>,
    /// What it is doing: since when, and until when it must have answered.
    busy: Mutex<Option<(Instant, Instant)>>,
    /// It was given up because it did not answer.
    given_up: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Slot {
    /// Ends the worker's process, and all that it runs.
    pub(super) fn end(&self) {
        // It is not waited for while this is locked, so the number is still its own.
        if let Some(process) = *lock(&self.process) {
            let _ = kill(Pid::from_raw(process.cast_signed()), Signal::SIGKILL);
        }
    }

    /// Ends the worker if it should have answered by now.
    pub(super) fn end_if_silent(&self) {
        let overdue = lock(&self.busy).is_some_and(|(_, until)| Instant::now() > until);
        if overdue {
            self.given_up.store(true, Ordering::SeqCst);
            self.end();
        }
    }

    fn begin(&self, allowed: Duration) {
        let now = Instant::now();
        *lock(&self.busy) = Some((now, now + allowed));
    }

    /// How long it has taken.
    fn rest(&self) -> Duration {
        let busy = lock(&self.busy).take();
        busy.map_or(Duration::ZERO, |(since, _)| since.elapsed())
    }
}

/// What all workers' threads share.
pub(super) struct Shared<'a> {
    pub(super) conditions: &'a Conditions<'a>,
    pub(super) unchanged: &'a Unchanged,
    pub(super) queue: Queue,
    pub(super) nearby: Nearby,
    /// The campaign is being stopped: what is lost now is carried out another time.
    pub(super) stopping: AtomicBool,
    /// Whoever runs the campaign was told to stop.
    pub(super) told: &'a AtomicBool,
    pub(super) slots: Vec<Slot>,
}

/// The thread of the worker at `place`.
pub(super) fn work(shared: &Shared, place: usize, said: &Sender<Said>) {
    let mut job = Job {
        shared,
        slot: &shared.slots[place],
        place,
        session: None,
    };
    while let Some(task) = shared.queue.take() {
        let told = match job.carry_out(&task) {
            Ok(None) => break,
            Ok(Some((record, start))) => match shared.unchanged.changed() {
                Some(sentence) => Said::Failed(sentence),
                None => Said::Ended {
                    task: Box::new(task),
                    record: Box::new(record),
                    start,
                },
            },
            // The cause of the failure, if a file that was touched is it.
            Err(error) => Said::Failed(shared.unchanged.changed().unwrap_or(error.to_string())),
        };
        let over = matches!(told, Said::Failed(_));
        // Nobody listens once the campaign is being stopped.
        if said.send(told).is_err() || over {
            break;
        }
    }
    job.let_go();
}

/// What came of an experiment, and how it began.
type Began = (Record, &'static str);

struct Job<'a> {
    shared: &'a Shared<'a>,
    slot: &'a Slot,
    place: usize,
    session: Option<Session>,
}

impl Job<'_> {
    /// Makes an experiment, and says how it began; `None` if the campaign is being stopped. What the tool could not carry out is tried once more by a
    /// new worker, from the beginning.
    fn carry_out(&mut self, task: &Task) -> Result<Option<Began>, SessionError> {
        let point = &task.point;
        let Some(found) = point.found else {
            let sentence = format!("point {} has no moment", point.number);
            return Err(SessionError::Failed(sentence));
        };
        let whole = task.expected.is_some();
        let first = if task.near {
            let first = match self.shared.nearby.wait(&found) {
                Ok(checkpoint) => self.attempt(point, found, checkpoint.as_deref(), whole),
                Err(_) if self.is_stopping() => return Ok(None),
                Err(error) => return Err(error),
            };
            self.shared.nearby.release(&found);
            first?
        } else {
            self.attempt(point, found, None, whole)?
        };
        let again = first
            .as_ref()
            .is_some_and(|(record, _)| record.outcome == Outcome::Invalid && record.end.is_none());
        if !again {
            return Ok(first);
        }
        self.let_go();
        self.attempt(point, found, None, whole)
    }

    fn attempt(
        &mut self,
        point: &Point,
        found: Found,
        checkpoint: Option<&Path>,
        whole: bool,
    ) -> Result<Option<Began>, SessionError> {
        let Some(session) = self.session()? else {
            return Ok(None);
        };
        let number = usize::try_from(point.number).unwrap_or(usize::MAX);
        let faults = vec![(point.fault.clone(), found)];
        // A validation is a whole run.
        session.stop_early((!whole).then_some(EARLY_STOP));
        let result = match checkpoint {
            Some(checkpoint) => session.experiment_from(number, faults, checkpoint),
            None => session.experiment(number, faults),
        };
        let taken = self.slot.rest();
        let mut record = match result {
            Ok(record) => record,
            Err(SessionError::Worker(ClientError::Lost(error))) => {
                self.let_go();
                if self.is_stopping() {
                    return Ok(None);
                }
                let sentence = if self.slot.given_up.swap(false, Ordering::SeqCst) {
                    let seconds = taken.as_secs();
                    format!("the worker gave no answer for {seconds} seconds, and was ended")
                } else {
                    format!("the worker process is lost: {error}")
                };
                blank(number, Vec::new(), Outcome::Invalid, sentence)
            }
            Err(error) => return Err(error),
        };
        let typed = vec![point.fault.clone()];
        let concrete: Vec<String> = record
            .injections
            .iter()
            .map(|injection| injection.concrete.clone())
            .collect();
        let texts = if concrete.is_empty() {
            &typed
        } else {
            &concrete
        };
        record.replay = (self.shared.conditions.replay)(texts);
        record.faults = typed;
        let afresh = |warning: &String| warning.starts_with("the run began afresh");
        let start = match checkpoint {
            Some(_) if !record.warnings.iter().any(afresh) => CHECKPOINT,
            _ => FRESH,
        };
        Ok(Some((record, start)))
    }

    /// The worker, which is started if there is none, with the clock running; `None` if the campaign is being stopped.
    fn session(&mut self) -> Result<Option<&mut Session>, SessionError> {
        let Conditions { silence, .. } = self.shared.conditions;
        if self.session.is_none() {
            match self.shared.conditions.session(self.place) {
                Ok(session) => {
                    *lock(&self.slot.process) = Some(session.process());
                    self.session = Some(session);
                }
                // A signal to stop reaches new workers too.
                Err(SessionError::Worker(_)) if self.is_stopping() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if self.shared.stopping.load(Ordering::SeqCst) {
            return Ok(None);
        }
        if let Some(session) = &self.session {
            let usual = Duration::try_from_secs_f64(5.0 * session.allowance());
            self.slot.begin(
                usual
                    .unwrap_or(Duration::MAX / 4)
                    .min(Duration::from_secs(1 << 30))
                    + *silence,
            );
        }
        Ok(self.session.as_mut())
    }

    /// Whether the campaign is being stopped, or will be in a moment: a signal may have reached a worker before us.
    fn is_stopping(&self) -> bool {
        const MOMENT: Duration = Duration::from_millis(200);
        let stopping = || {
            self.shared.stopping.load(Ordering::SeqCst) || self.shared.told.load(Ordering::SeqCst)
        };
        stopping() || {
            std::thread::sleep(MOMENT);
            stopping()
        }
    }

    /// Ends the worker.
    fn let_go(&mut self) {
        let mut process = lock(&self.slot.process);
        // From here on the number may become another's.
        *process = None;
        self.session = None;
    }
}
