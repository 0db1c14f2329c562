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
    /// Counts messages, and chunks if there is no pool.
    worker: Worker,
    pool: Option<Pool>,
    long_events: LongEvents,
    threads: FxHashMap<ThreadNumber, Thread>,
    details: FxHashMap<ThreadNumber, Detail>,
    totals: RegisterTotals,
    mappings: Mappings,
    chunks: u64,
}

impl Default for Collector {
    fn default() -> Self {
        Self::new(Isa::detect(), 1)
    }
}

impl Collector {
    /// One that has counted nothing, and counts with this instruction set. With one worker, chunks are counted
    /// by who brings them; with more, by as many threads.
    pub fn new(isa: Isa, workers: usize) -> Self {
        let long_events = LongEvents::default();
        let worker = || Worker::new(isa, Arc::clone(&long_events));
        let pool = (workers > 1).then(|| Pool::start((0..workers).map(|_| worker()).collect()));
        Collector {
            level: Level::Full,
            shapes: Shapes::default(),
            worker: worker(),
            pool,
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

    /// Counts a published chunk of a thread: `end` bytes of rows. `fs` is the thread's fs base at its beginning.
    pub fn chunk(
        &mut self,
        thread: ThreadNumber,
        source: Box<dyn Source>,
        end: usize,
        fs: u64,
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
        match &mut self.pool {
            None => {
                let window = task.count(&mut self.worker)?;
                self.append(thread, &window);
            }
            Some(pool) => {
                pool.submit(task)?;
                self.join_counted()?;
            }
        }
        Ok(())
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
        if let Some(pool) = &self.pool {
            pool.add_unit(&unit);
        }
        self.worker.add_unit(unit);
        Ok(())
    }

    fn join_counted(&mut self) -> Result<(), CollectError> {
        while let Some(pool) = &mut self.pool
            && let Some((thread, window)) = pool.try_next()?
        {
            self.append(thread, &window);
        }
        Ok(())
    }

    fn finish_pool(&mut self) -> Result<Vec<Worker>, CollectError> {
        while let Some(pool) = &mut self.pool
            && let Some((thread, window)) = pool.wait_next()?
        {
            self.append(thread, &window);
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
        self.append(thread, &window);
        Ok(())
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

    fn append(&mut self, thread: ThreadNumber, window: &Window) {
        let thread = self.threads.entry(thread).or_default();
        thread.append(window, &mut self.totals.points);
    }
}

#[cfg(test)]
mod tests;
