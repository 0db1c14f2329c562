//! The collector: turns messages and streams into [`Statistics`].
//!
//! - [`shape`], [`unit`](mod@unit), [`access`]: what is the same for all executions of an instruction or unit.
//! - [`scan`]: the fast path for rows; [`bits`] counts operand bits, [`access`] memory, [`lifetime`] lifetimes;
//!   [`kernels`] has the vector arithmetic.
//! - [`steps`]: events. [`detail`]: distributions. [`mappings`]: regions and modules.
//! - [`worker`]: all counters of one worker. [`pool`]: several of them. [`fold`]: from counters to the result.
//!
//! Everything is exact, whatever the number of workers, except the two distributions of [`detail`], which
//! long runs sample; [`Collector::finish`] then says so.

pub mod access;
pub mod bits;
pub mod detail;
pub mod error;
pub mod fold;
#[expect(unsafe_code, reason = "vector instructions")]
pub mod kernels;
pub mod lifetime;
pub mod mappings;
pub mod memory;
pub mod pool;
pub mod scan;
pub mod shape;
pub mod steps;
pub mod unit;
pub mod worker;

use std::sync::{Arc, PoisonError};

use rustc_hash::FxHashMap;

pub use error::CollectError;

use crate::model::{Level, Statistics, ThreadKey};
use crate::protocol::{Event, Message, ThreadNumber};
use crate::template::UnitTemplate;
use detail::Detail;
use fold::RegisterTotals;
use kernels::Isa;
use lifetime::{Thread, Window};
use mappings::Mappings;
use pool::{Pool, Source, Task};
use shape::Shapes;
use unit::Unit;
use worker::{LongEvents, Worker};

/// So many chunks of streams are counted with distributions.
const DETAILED_FIRST: u64 = 4;

/// After them, one in so many.
const DETAILED_OF: u64 = 256;

/// Counts everything.
#[derive(Debug)]
pub struct Collector {
    level: Level,
    shapes: Shapes,
    /// Counts messages, and chunks that the pool is not to count.
    worker: Worker,
    pool: Option<Pool>,
    crew: Crew,
    long_events: LongEvents,
    threads: FxHashMap<ThreadNumber, Thread>,
    details: FxHashMap<ThreadNumber, Detail>,
    totals: RegisterTotals,
    mappings: Mappings,
    chunks: u64,
}

/// Who counts chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crew {
    /// Who brings them.
    Alone,
    /// Who brings them, and a deputy on this CPU (see [`pool`]).
    WithDeputy(usize),
    /// So many threads.
    Workers(usize),
}

impl Crew {
    /// Whether the next chunk is for the pool, when `more` chunks wait behind it or not.
    fn leaves(self, pool: &Pool, more: bool) -> bool {
        match self {
            Crew::Alone => false,
            // A deputy comes late: it is given what would have to wait anyway.
            Crew::WithDeputy(_) => more && pool.has_idle(),
            Crew::Workers(_) => true,
        }
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new(Isa::detect(), Crew::Alone)
    }
}

impl Collector {
    /// One that has counted nothing, and counts with this instruction set.
    pub fn new(isa: Isa, crew: Crew) -> Self {
        let long_events = LongEvents::default();
        let worker = || Worker::new(isa, Arc::clone(&long_events));
        let pool = match crew {
            Crew::Alone => None,
            Crew::WithDeputy(cpu) => Some(Pool::deputy(worker(), cpu)),
            Crew::Workers(workers) => Some(Pool::start((0..workers).map(|_| worker()).collect())),
        };
        Collector {
            level: Level::Full,
            shapes: Shapes::default(),
            worker: worker(),
            pool,
            crew,
            long_events,
            threads: FxHashMap::default(),
            details: FxHashMap::default(),
            totals: RegisterTotals::default(),
            mappings: Mappings::default(),
            chunks: 0,
        }
    }

    /// Counts what a message says. [`Message::Finish`] says nothing to count.
    pub fn message(&mut self, message: Message) -> Result<(), CollectError> {
        match message {
            Message::Start { level } => self.level = level,
            Message::Unit(template) => self.unit(*template)?,
            Message::Event(thread, event) => self.events(thread, vec![event])?,
            Message::Events(thread, events) => self.events(thread, events)?,
            Message::Long(number, event) => {
                let mut events = self
                    .long_events
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                events.insert(number, event);
            }
            Message::Executions(thread, counts) => self.executions(thread, &counts)?,
            Message::Mappings(mappings) => self.mappings.add(mappings),
            Message::Exec | Message::Finish(_) => {}
        }
        Ok(())
    }

    /// Counts a published chunk of a thread: `end` bytes of rows. `fs` is the thread's fs base at its beginning. Whether `more` chunks wait already
    /// decides who counts it.
    pub fn chunk(
        &mut self,
        thread: ThreadNumber,
        source: Box<dyn Source>,
        end: usize,
        fs: u64,
        more: bool,
    ) -> Result<(), CollectError> {
        let detailed = self.chunks < DETAILED_FIRST || self.chunks.is_multiple_of(DETAILED_OF);
        self.chunks += 1;
        let task = Task {
            thread,
            fs,
            end,
            source,
            detailed,
        };
        self.join_counted()?;
        match &mut self.pool {
            Some(pool) if self.crew.leaves(pool, more) => pool.submit(task),
            _ => {
                let window = task.count(&mut self.worker)?;
                self.append(thread, window)
            }
        }
    }

    /// Instructions retired by all threads so far.
    pub fn instructions(&self) -> u64 {
        self.threads
            .values()
            .map(|thread| thread.instructions)
            .sum()
    }

    /// The result, and what its reader must know.
    pub fn finish(mut self) -> Result<(Statistics, Vec<String>), CollectError> {
        let mut statistics = Statistics::new(self.level);
        let mut workers = self.finish_pool()?;
        workers.push(self.worker);
        for worker in workers {
            fold::fold_worker(worker, &mut statistics, &mut self.totals);
        }
        let full = self.level == Level::Full;
        self.totals.store(&mut statistics, full);
        statistics.regions = self.mappings.regions();
        statistics.modules = self.mappings.modules();
        for (thread, state) in &self.threads {
            let key = ThreadKey {
                process: 0,
                thread: *thread,
            };
            statistics.threads.insert(key, state.instructions);
        }
        let mut notes = Vec::new();
        if full {
            fold::block_lengths(&mut statistics);
            if self.chunks > DETAILED_FIRST {
                notes.push(format!(
                    "the distributions register_lifetime and memory_reuse are samples: the first {DETAILED_FIRST} of \
                     {} parts of the record, then one in {DETAILED_OF}",
                    self.chunks
                ));
            }
        } else {
            statistics.pages.clear();
            statistics.histograms.clear();
        }
        Ok((statistics, notes))
    }

    fn unit(&mut self, template: UnitTemplate) -> Result<(), CollectError> {
        let unit = Unit::new(template, &mut self.shapes)?;
        let unit = Arc::new(unit);
        if let Some(pool) = &mut self.pool {
            pool.add_unit(&unit);
        }
        self.worker.add_unit(unit);
        Ok(())
    }

    fn join_counted(&mut self) -> Result<(), CollectError> {
        while let Some(pool) = &mut self.pool
            && let Some((thread, window)) = pool.try_next()?
        {
            self.join(thread, &window);
        }
        Ok(())
    }

    fn finish_pool(&mut self) -> Result<Vec<Worker>, CollectError> {
        while let Some(pool) = &mut self.pool
            && let Some((thread, window)) = pool.wait_next()?
        {
            self.join(thread, &window);
        }
        self.pool.take().map_or(Ok(Vec::new()), Pool::finish)
    }

    fn events(&mut self, thread: ThreadNumber, events: Vec<Event>) -> Result<(), CollectError> {
        let mut window = Window::default();
        let mut fs = 0;
        for event in events {
            if self.level == Level::Full {
                let detail = self.details.entry(thread).or_default();
                self.worker.detail_event(&event, &mut fs, detail);
            }
            self.worker.event(event, fs, &mut window)?;
        }
        self.append(thread, window)
    }

    fn executions(
        &mut self,
        thread: ThreadNumber,
        counts: &[(u32, u64)],
    ) -> Result<(), CollectError> {
        let thread = self.threads.entry(thread).or_default();
        for &(unit, executions) in counts {
            let tally = self
                .worker
                .counts
                .tally(unit)
                .ok_or(CollectError::UnknownUnit(unit))?;
            tally.without_row += executions;
            thread.instructions += executions * u64::from(tally.unit.length());
        }
        Ok(())
    }

    /// Joins what follows on everything that a thread has done so far.
    fn append(&mut self, thread: ThreadNumber, window: Window) -> Result<(), CollectError> {
        let Some(pool) = &mut self.pool else {
            self.join(thread, &window);
            return Ok(());
        };
        pool.put(thread, window);
        self.join_counted()
    }

    fn join(&mut self, thread: ThreadNumber, window: &Window) {
        let thread = self.threads.entry(thread).or_default();
        thread.append(window, &mut self.totals.points);
    }
}

#[cfg(test)]
mod tests;
