//! From the plan to kept results: feeds the workers in the order of moments, and writes what they say as it comes.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::conditions::Conditions;
use super::job::{Said, Shared, Slot, work};
use super::nearby::Nearby;
use super::queue::{Queue, Task};
use super::sites::Sites;
use super::unchanged::Unchanged;
use crate::campaign::point::Point;
use crate::campaign::store::{Part, StoreError, Work};
use crate::experiment::outcome::Outcome;
use crate::experiment::record::Record;

/// How many experiments are read from the plan at once, and wait for a worker at most twice.
const CHUNK: usize = 512;

/// How often workers are looked after.
const LOOK: Duration = Duration::from_millis(100);

/// So many experiments that the tool could not carry out, one after the other, end a campaign.
const HOPELESS: usize = 10;

/// What of a plan is carried out, and by how many.
pub struct Order<'a> {
    /// How many workers.
    pub jobs: NonZeroUsize,
    /// The part of the plan.
    pub part: Part,
    /// How many points count at most.
    pub size: u64,
    /// When that is enough, if that is not only at the end.
    pub until: Option<Until<'a>>,
    /// How many of the points whose outcome is known without running them are run all the same.
    pub validate: u64,
}

/// A campaign that ends when it has seen enough.
pub struct Until<'a> {
    /// The sizes at which that is decided, ascending.
    pub sizes: Vec<u64>,
    /// Whether these counts of outcomes, in the order of [`Outcome::ALL`], are enough.
    pub enough: &'a dyn Fn(&[u64; Outcome::ALL.len()]) -> bool,
}

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// So many experiments are to be made before the next decision, of which so many have been made.
    Stage {
        /// To be made.
        experiments: u64,
        /// Made.
        done: u64,
    },
    /// An experiment is kept.
    Kept(&'a Record),
    /// A point was validated.
    Validated(&'a Record),
}

/// How carrying out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Everything is done.
    Whole,
    /// Told to stop before that; everything that was done is kept.
    Stopped,
}

/// Why a campaign cannot go on. What was done is kept.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workers: one sentence.
    #[error("{0}")]
    Failed(String),
    /// A point whose outcome was known without running it has another one.
    #[error(
        "pruning is wrong: point {number} ({fault}) must be {expected} without running it, and is {found}; {replay} repeats it; no figure of this campaign holds"
    )]
    Pruning {
        /// The point.
        number: u64,
        /// Its fault.
        fault: String,
        /// The outcome that was known.
        expected: Outcome,
        /// The outcome that it has.
        found: Outcome,
        /// Repeats it.
        replay: String,
    },
}

/// Carries out what is left of a plan. `stop` is looked at many times a second.
///
/// # Errors
/// See [`RunError`].
pub fn carry_out(
    store: &mut Work,
    order: &Order,
    conditions: &Conditions,
    unchanged: &Unchanged,
    sites: &mut Sites,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Event),
) -> Result<Finished, RunError> {
    let shared = Shared {
        conditions,
        unchanged,
        queue: Queue::default(),
        nearby: Nearby::new(conditions.start),
        stopping: AtomicBool::new(false),
        told: stop,
        slots: (0..order.jobs.get()).map(|_| Slot::default()).collect(),
    };
    std::thread::scope(|scope| {
        let (say, said) = channel();
        for place in 0..order.jobs.get() {
            let (shared, say) = (&shared, say.clone());
            scope.spawn(move || work(shared, place, &say));
        }
        drop(say);
        let mut carrier = Carrier {
            store,
            sites,
            shared: &shared,
            said,
            tell,
            failures: 0,
        };
        let result = carrier.all(order, stop);
        carrier.wind_up(result)
    })
}

struct Carrier<'a> {
    store: &'a mut Work,
    sites: &'a mut Sites,
    shared: &'a Shared<'a>,
    said: Receiver<Said>,
    tell: &'a mut dyn FnMut(&Event),
    /// Experiments that the tool could not carry out, one after the other.
    failures: usize,
}

impl Carrier<'_> {
    fn all(&mut self, order: &Order, stop: &AtomicBool) -> Result<Finished, RunError> {
        let mut sizes = vec![order.size];
        if let Some(until) = &order.until {
            let before = until.sizes.iter().copied();
            sizes = before.filter(|size| *size < order.size).collect();
            sizes.push(order.size);
        }
        for size in sizes {
            if self.stage(order.part, size, stop)? == Finished::Stopped {
                return Ok(Finished::Stopped);
            }
            if let Some(until) = &order.until
                && (until.enough)(&self.store.counts(size)?)
            {
                self.store.end_at(size)?;
                break;
            }
        }
        self.validate(order.validate, stop)
    }

    /// Carries out the points below `size`.
    fn stage(&mut self, part: Part, size: u64, stop: &AtomicBool) -> Result<Finished, RunError> {
        let (experiments, done) = self.store.progress(part, size)?;
        (self.tell)(&Event::Stage { experiments, done });
        if self.shared.nearby.is_wanted() {
            let moments = self.store.moments(part, size)?;
            let jobs = self.shared.slots.len();
            let walking = self
                .shared
                .nearby
                .walk(self.shared.conditions, jobs, moments);
            walking.map_err(|error| RunError::Failed(error.to_string()))?;
        }
        let mut last: Option<Point> = None;
        let mut more = true;
        let mut open = 0;
        loop {
            while more && self.shared.queue.len() < CHUNK {
                let points = self.store.pending(part, size, last.as_ref(), CHUNK)?;
                more = !points.is_empty();
                open += points.len();
                last = points.last().cloned().or(last);
                self.shared.queue.add(points.into_iter().map(|point| Task {
                    point,
                    near: self.shared.nearby.is_wanted(),
                    expected: None,
                }));
            }
            if open == 0 {
                return Ok(Finished::Whole);
            }
            if stop.load(Ordering::SeqCst) {
                return Ok(Finished::Stopped);
            }
            open -= self.listen()?;
        }
    }

    /// Runs points whose outcome is known.
    fn validate(&mut self, number: u64, stop: &AtomicBool) -> Result<Finished, RunError> {
        let points = self.store.to_validate(number)?;
        let mut open = points.len();
        self.shared
            .queue
            .add(points.into_iter().map(|(point, outcome)| Task {
                point,
                near: false,
                expected: Some(outcome),
            }));
        while open > 0 {
            if stop.load(Ordering::SeqCst) {
                return Ok(Finished::Stopped);
            }
            open -= self.listen()?;
        }
        Ok(Finished::Whole)
    }

    /// Waits a little for what workers say, and keeps it; how many experiments have ended.
    fn listen(&mut self) -> Result<usize, RunError> {
        for slot in &self.shared.slots {
            slot.end_if_silent();
        }
        let first = match self.said.recv_timeout(LOOK) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => return Ok(0),
            Err(RecvTimeoutError::Disconnected) => {
                let sentence = "all workers have ended before their work was done";
                return Err(RunError::Failed(sentence.to_owned()));
            }
        };
        // Together with all that has come in while the last ones were written: one wait for the disk.
        let all: Vec<Said> = std::iter::once(first).chain(self.said.try_iter()).collect();
        self.keep(all)
    }

    fn keep(&mut self, all: Vec<Said>) -> Result<usize, RunError> {
        let mut ended = Vec::new();
        let mut validated = Vec::new();
        let mut failure = None;
        for said in all {
            match said {
                Said::Failed(sentence) => failure = failure.or(Some(sentence)),
                Said::Ended {
                    task,
                    record,
                    start,
                } => match task.expected {
                    None => ended.push((*record, start)),
                    Some(expected) => validated.push((expected, *record)),
                },
            }
        }
        let records = ended.iter_mut().map(|(record, _)| record);
        let others = validated.iter_mut().map(|(_, record)| record);
        self.sites.fill(records.chain(others));
        if !ended.is_empty() {
            self.store.keep(&ended)?;
        }
        for (record, _) in &ended {
            (self.tell)(&Event::Kept(record));
            failure = failure.or(self.hopeless(record));
        }
        for (expected, record) in &validated {
            self.validated(*expected, record)?;
        }
        match failure {
            Some(sentence) => Err(RunError::Failed(sentence)),
            None => Ok(ended.len() + validated.len()),
        }
    }

    /// Whether so much goes wrong that it cannot be the experiments.
    fn hopeless(&mut self, record: &Record) -> Option<String> {
        if record.outcome != Outcome::Invalid || record.end.is_some() {
            self.failures = 0;
            return None;
        }
        self.failures += 1;
        (self.failures >= HOPELESS).then(|| {
            format!(
                "{HOPELESS} experiments one after the other could not be carried out, the last one because {}",
                record.reason
            )
        })
    }

    fn validated(&mut self, expected: Outcome, record: &Record) -> Result<(), RunError> {
        self.store.keep_validation(expected, record)?;
        (self.tell)(&Event::Validated(record));
        if record.outcome == expected {
            return Ok(());
        }
        Err(RunError::Pruning {
            number: record.number as u64,
            fault: record.faults.join(" "),
            expected,
            found: record.outcome,
            replay: record.replay.clone(),
        })
    }

    /// Ends the workers, and keeps what they have said until then.
    fn wind_up(&mut self, result: Result<Finished, RunError>) -> Result<Finished, RunError> {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.queue.close();
        self.shared.nearby.end_process();
        for slot in &self.shared.slots {
            slot.end();
        }
        let ended = |said: &Said| matches!(said, Said::Ended { .. });
        let left: Vec<Said> = self.said.iter().filter(ended).collect();
        let kept = match (&result, left.is_empty()) {
            // It would fail again.
            (Err(RunError::Store(_)), _) | (_, true) => Ok(0),
            _ => self.keep(left),
        };
        self.shared.nearby.end();
        let finished = result?;
        kept?;
        Ok(finished)
    }
}
