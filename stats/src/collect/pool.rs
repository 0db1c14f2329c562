//! Several workers: each counts whole chunks, and what they found is put together in the order of the chunks.
//!
//! Bits, memory and executions may be added up in any order; lifetimes are joined in order, see
//! [`super::lifetime`]. A chunk goes to the worker that has least to do.
//!
//! A *deputy* is a worker on the CPU of the program that is counted, which runs only when nobody else wants that CPU: while the program waits for
//! chunks to be counted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, unbounded};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use super::error::CollectError;
use super::lifetime::Window;
use super::scan::Rows;
use super::unit::Unit;
use super::worker::{Part, Worker};
use crate::protocol::ThreadNumber;

/// How long to wait for a result before looking after the workers.
const PATIENCE: Duration = Duration::from_millis(100);

/// A chunk to be counted.
pub struct Task {
    /// The thread whose rows these are.
    pub thread: ThreadNumber,
    /// Its fs base at the beginning.
    pub fs: u64,
    /// Bytes of rows.
    pub end: usize,
    /// Where they are.
    pub source: Box<dyn Source>,
    /// The distributions are counted as well.
    pub detailed: bool,
}

/// Holds a chunk's bytes while they are needed.
pub trait Source: Send {
    /// The rows, and [`crate::ring::consumer::READABLE_BEHIND`] bytes more.
    fn rows(&self) -> &[u8];
    /// They are counted.
    fn done(self: Box<Self>);
}

impl Task {
    /// Counts it; its lifetimes are the result.
    pub fn count(self, worker: &mut Worker) -> Result<Window, CollectError> {
        let window = worker.part(Part {
            thread: self.thread,
            rows: Rows {
                bytes: self.source.rows(),
                end: self.end,
                fs: self.fs,
            },
            detailed: self.detailed,
        });
        self.source.done();
        window
    }
}

enum Work {
    Units(Vec<Arc<Unit>>),
    Chunk(u64, Task),
}

struct Done {
    number: u64,
    worker: usize,
    counted: Counted,
}

struct Counted {
    thread: ThreadNumber,
    window: Result<Window, CollectError>,
}

/// The workers.
pub struct Pool {
    workers: Vec<(Sender<Work>, JoinHandle<Worker>)>,
    /// Chunks that each worker still has.
    loads: Vec<usize>,
    /// Units that each worker is to know before its next chunk: sent together, since each message wakes it.
    units: Vec<Vec<Arc<Unit>>>,
    results: Receiver<Done>,
    /// Results whose predecessors are not there yet.
    early: BTreeMap<u64, Counted>,
    submitted: u64,
    joined: u64,
}

impl Pool {
    /// Starts workers.
    pub fn start(workers: Vec<Worker>) -> Self {
        Self::start_with(workers, || {})
    }

    /// Starts a deputy on this CPU.
    pub fn deputy(worker: Worker, cpu: usize) -> Self {
        Self::start_with(vec![worker], move || idle_on(cpu))
    }

    /// Starts workers, each of which does this first.
    fn start_with(workers: Vec<Worker>, first: impl Fn() + Clone + Send + 'static) -> Self {
        let (done, results) = unbounded();
        let loads = vec![0; workers.len()];
        let units = vec![Vec::new(); workers.len()];
        let start = |(number, worker)| {
            let (sender, work) = unbounded();
            let (done, first) = (done.clone(), first.clone());
            let run = move || {
                first();
                run(number, worker, &work, &done)
            };
            (sender, std::thread::spawn(run))
        };
        Pool {
            workers: workers.into_iter().enumerate().map(start).collect(),
            loads,
            units,
            results,
            early: BTreeMap::new(),
            submitted: 0,
            joined: 0,
        }
    }

    /// Makes a unit known to all.
    pub fn add_unit(&mut self, unit: &Arc<Unit>) {
        for units in &mut self.units {
            units.push(Arc::clone(unit));
        }
    }

    /// Gives a chunk to a worker.
    pub fn submit(&mut self, task: Task) -> Result<(), CollectError> {
        let least = (0..self.loads.len()).min_by_key(|worker| self.loads[*worker]);
        let worker = least.ok_or(CollectError::Worker)?;
        let units = std::mem::take(&mut self.units[worker]);
        let sender = &self.workers[worker].0;
        for work in [Work::Units(units), Work::Chunk(self.submitted, task)] {
            sender.send(work).map_err(|_| CollectError::Worker)?;
        }
        self.loads[worker] += 1;
        self.submitted += 1;
        Ok(())
    }

    /// Whether some worker has nothing to do.
    pub fn has_idle(&self) -> bool {
        self.loads.contains(&0)
    }

    /// Takes what somebody else has counted of a thread, all of whose earlier chunks were submitted, into the order.
    pub fn put(&mut self, thread: ThreadNumber, window: Window) {
        let counted = Counted {
            thread,
            window: Ok(window),
        };
        self.early.insert(self.submitted, counted);
        self.submitted += 1;
    }

    /// The next chunk's thread and lifetimes, in the order of submission, if it is counted.
    pub fn try_next(&mut self) -> Result<Option<(ThreadNumber, Window)>, CollectError> {
        while let Ok(done) = self.results.try_recv() {
            self.arrived(done);
        }
        self.take_next()
    }

    /// As [`Pool::try_next`], but waits; nothing when all chunks are counted.
    pub fn wait_next(&mut self) -> Result<Option<(ThreadNumber, Window)>, CollectError> {
        while self.joined < self.submitted && !self.early.contains_key(&self.joined) {
            match self.results.recv_timeout(PATIENCE) {
                Ok(done) => self.arrived(done),
                // A worker ends early only by a panic, which it has reported.
                Err(_) if self.workers.iter().any(|(_, handle)| handle.is_finished()) => {
                    return Err(CollectError::Worker);
                }
                Err(_) => {}
            }
        }
        self.take_next()
    }

    /// Ends the workers, which have counted everything.
    pub fn finish(self) -> Result<Vec<Worker>, CollectError> {
        let end = |(sender, handle): (Sender<Work>, JoinHandle<Worker>)| {
            drop(sender);
            handle.join().map_err(|_| CollectError::Worker)
        };
        self.workers.into_iter().map(end).collect()
    }

    fn arrived(&mut self, done: Done) {
        self.loads[done.worker] -= 1;
        self.early.insert(done.number, done.counted);
    }

    fn take_next(&mut self) -> Result<Option<(ThreadNumber, Window)>, CollectError> {
        let Some(Counted { thread, window }) = self.early.remove(&self.joined) else {
            return Ok(None);
        };
        self.joined += 1;
        window.map(|window| Some((thread, window)))
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Pool({} workers, {} chunks)",
            self.workers.len(),
            self.submitted
        )
    }
}

/// Puts the calling thread on a CPU, for when it has nothing else to do.
fn idle_on(cpu: usize) {
    let mut set = CpuSet::new();
    // Should either be refused, chunks are counted all the same.
    let _ = set
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let _ = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, policy);
}

fn run(number: usize, mut worker: Worker, work: &Receiver<Work>, results: &Sender<Done>) -> Worker {
    for work in work {
        match work {
            Work::Units(units) => units.into_iter().for_each(|unit| worker.add_unit(unit)),
            Work::Chunk(chunk, task) => {
                let thread = task.thread;
                let window = task.count(&mut worker);
                // Nobody to tell: then nobody wants to know.
                let _ = results.send(Done {
                    number: chunk,
                    worker: number,
                    counted: Counted { thread, window },
                });
            }
        }
    }
    worker
}
