//! A worker: counts chunks of streams, each on its own, and events.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use super::detail::{Detail, Histograms};
use super::error::CollectError;
use super::kernels::Isa;
use super::lifetime::Window;
use super::scan::{Counts, Rows, Stop};
use super::steps::Steps;
use super::unit::Unit;
use crate::model::BlockKey;
use crate::protocol::{Event, ThreadNumber};
use crate::ring::event::{Inline, decode};
use crate::template::{Prefix, ROW_ALIGN, ROW_HEADER};

/// Events that were too long for a row, by number.
pub type LongEvents = Arc<Mutex<FxHashMap<u64, Event>>>;

/// A part of a thread's stream.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// The thread.
    pub thread: ThreadNumber,
    /// Its rows.
    pub rows: Rows<'a>,
    /// The distributions are counted in it as well.
    pub detailed: bool,
}

/// Everything that one worker counts.
#[derive(Debug)]
pub struct Worker {
    isa: Isa,
    /// From rows.
    pub counts: Counts,
    /// From events.
    pub steps: Steps,
    /// Distributions.
    pub histograms: Histograms,
    long_events: LongEvents,
}

impl Worker {
    /// One that has counted nothing.
    pub fn new(isa: Isa, long_events: LongEvents) -> Self {
        Worker {
            isa,
            counts: Counts::default(),
            steps: Steps::default(),
            histograms: Histograms::default(),
            long_events,
        }
    }

    /// Makes a unit known.
    pub fn add_unit(&mut self, unit: Arc<Unit>) {
        self.counts.add_unit(unit);
    }

    /// Counts a part of a stream; its lifetimes are the result.
    pub fn part(&mut self, part: Part<'_>) -> Result<Window, CollectError> {
        let Part {
            thread,
            mut rows,
            detailed,
        } = part;
        if detailed {
            self.detail(rows);
        }
        let mut window = Window::default();
        let mut at = 0;
        loop {
            match self.counts.scan(self.isa, &mut window, rows, at) {
                Stop::End => break,
                Stop::Damage { at } => return Err(CollectError::Row { thread, offset: at }),
                Stop::Event { at: offset, bytes } => {
                    let event = self.inline_event(&rows.bytes[offset..offset + bytes]);
                    let event = event.ok_or(CollectError::Row { thread, offset })?;
                    if let Event::FsBase(base) = event {
                        self.counts.flush(self.isa, rows);
                        rows.fs = base;
                    }
                    self.event(event, rows.fs, &mut window)?;
                    at = offset + bytes;
                }
            }
        }
        self.counts.flush(self.isa, rows);
        Ok(window)
    }

    /// Counts an event.
    pub fn event(
        &mut self,
        event: Event,
        fs: u64,
        window: &mut Window,
    ) -> Result<(), CollectError> {
        let Worker { counts, steps, .. } = self;
        match event {
            Event::FsBase(_) => {}
            Event::Step(step) => steps.step(&step, window, counts.pages())?,
            Event::Partial {
                unit,
                executed,
                row,
            } => {
                let unit = counts
                    .unit(unit)
                    .cloned()
                    .ok_or(CollectError::UnknownUnit(unit))?;
                steps.partial(&unit, executed, &row, fs, window, counts.pages())?;
            }
            Event::Block(Prefix { pc, instructions }) => {
                steps.block(BlockKey { pc, instructions }, 1);
            }
            Event::Syscall { number, error } => steps.syscall(number, error),
        }
        Ok(())
    }

    /// The distributions of a part. What is damaged is left to the scan.
    fn detail(&mut self, mut rows: Rows<'_>) {
        let mut detail = Detail::default();
        let mut at = 0;
        while let Some(header) = rows.bytes[..rows.end].get(at..at + ROW_HEADER) {
            let header = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let bytes = (header & 1023) as usize * ROW_ALIGN;
            let Some(row) = rows.bytes[..rows.end]
                .get(at..at + bytes)
                .filter(|_| bytes != 0)
            else {
                return;
            };
            match self.counts.unit(header >> 10) {
                Some(unit) if unit.row_bytes == bytes => {
                    detail.unit(unit, usize::MAX, row, rows.fs, &mut self.histograms);
                }
                _ => {
                    if let Some(Inline::Event(event)) = decode(row) {
                        self.detail_event(&event, &mut rows.fs, &mut detail);
                    }
                }
            }
            at += bytes;
        }
    }

    /// The distributions of an event, which [`Worker::event`] counts otherwise.
    pub fn detail_event(&mut self, event: &Event, fs: &mut u64, detail: &mut Detail) {
        match event {
            Event::FsBase(base) => *fs = *base,
            Event::Step(step) => {
                for memory in &step.memory {
                    detail.access(memory.address, &mut self.histograms);
                }
                let shape = self.steps.shape(&step.bytes);
                detail.instruction(shape.reads, shape.kills, &mut self.histograms);
            }
            Event::Partial {
                unit,
                executed,
                row,
            } => {
                if let Some(unit) = self.counts.unit(*unit)
                    && row.len() == unit.row_bytes
                {
                    let executed = *executed as usize;
                    detail.unit(unit, executed, row, *fs, &mut self.histograms);
                }
            }
            Event::Block(_) | Event::Syscall { .. } => {}
        }
    }

    fn inline_event(&self, row: &[u8]) -> Option<Event> {
        match decode(row)? {
            Inline::Event(event) => Some(event),
            Inline::Long(number) => {
                let mut events = self
                    .long_events
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                events.remove(&number)
            }
        }
    }
}
