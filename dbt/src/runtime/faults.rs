//! Faults in translated code: the end of a chunk of the stream, or what the guest's instruction would have done natively.

use fits_stats::client::StatsProcess;
use fits_stats::protocol::Event;
use fits_stats::template::UnitId;
use fits_tracer::ptrace::{Registers, Resume, SigInfo, Stopped, general};

use super::area::{cursor_address, cursor_at};
use super::error::{Result, RuntimeError};
use super::guest::{R15, state};
use super::supervisor::Supervisor;
use super::thread::Thread;
use crate::cache::Place;
use crate::layout::STREAM;
use crate::mode::Mode;

impl Supervisor<'_> {
    /// An instruction in the cache has faulted.
    pub(super) fn on_fault(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        host: Registers,
        info: SigInfo,
    ) -> Result<()> {
        stopped.swallow();
        if self.next_chunk(thread, &mut stopped, host, &info)? {
            return Ok(stopped.resume(Resume::Continue, 0)?);
        }
        let guest = self.precise(thread, &host)?;
        if self.spent(thread, &info) {
            return self.proceed(thread, stopped, guest);
        }
        // Executed by itself, the guest's instruction faults with everything that the guest may look at.
        self.proceed_slowly(thread, stopped, guest)
    }

    /// If the fault says that the thread's chunk is full: publishes it, and gives the thread the next one.
    pub(super) fn next_chunk(
        &mut self,
        thread: &mut Thread,
        stopped: &mut Stopped,
        mut host: Registers,
        info: &SigInfo,
    ) -> Result<bool> {
        let Some(layout) = self.stats.rows().map(StatsProcess::layout) else {
            return Ok(false);
        };
        let stream = thread.area.base + STREAM as u64;
        let in_stream = (stream..stream + layout.slot_bytes()).contains(&info.address());
        if !in_stream {
            return Ok(false);
        }
        let number = self.cursor_register(&host);
        let address = *general(&mut host, number);
        let Some(filled) = cursor_at(layout, &thread.area, address) else {
            return Ok(false);
        };
        self.look_at_rows(filled)?;
        // What the unit has written of its row already goes along.
        let mut end = filled;
        end.at = layout.chunk_bytes;
        let Some(stats) = self.stats.rows_mut() else {
            return Ok(false);
        };
        let begun = stats.written(end)[filled.at as usize..].to_vec();
        let next = stats.publish(filled)?;
        let place = cursor_address(layout, &thread.area, next);
        if next != filled {
            self.code.memory.write(place, &begun)?;
        }
        *general(&mut host, number) = place;
        // Should the thread be killed before it is seen again, its rows end here.
        thread.cursor = Some(next);
        stopped.set_registers(&host)?;
        self.options
            .progress
            .add(u64::from(filled.at) / ROW_BYTES_PER_INSTRUCTION);
        Ok(true)
    }

    /// The host register that the row cursor is in.
    fn cursor_register(&self, host: &Registers) -> u8 {
        match self.cache.at(host.rip) {
            Some(Place::Unit { id, offset }) => self
                .cache
                .unit(id)
                .and_then(|unit| unit.point_at(offset))
                .map_or(R15, |point| point.cursor),
            _ => R15,
        }
    }

    /// The precise guest state of a thread in the middle of a unit. What retired of the unit is reported.
    pub(super) fn precise(&mut self, thread: &mut Thread, host: &Registers) -> Result<Registers> {
        let lost = || RuntimeError::Unsupported {
            what: "a fault between two instructions".to_owned(),
            pc: host.rip,
        };
        let Some(Place::Unit { id, offset }) = self.cache.at(host.rip) else {
            return Err(lost());
        };
        let unit = self.cache.unit(id).ok_or_else(lost)?;
        let point = unit.point_at(offset).ok_or_else(lost)?;
        let executed = unit.executed_before(point.instruction);
        let pc = unit.instructions.get(usize::from(point.instruction));
        let pc = *pc.ok_or_else(lost)?;
        let guest = state(thread, host, &point.moved, pc);
        let mut machine = *host;
        let cursor = *general(&mut machine, point.cursor);
        let prefix = unit.prefix;
        let counted = offset >= unit.counted_from;
        self.leave_rows(thread, cursor)?;
        thread.prefix = prefix;
        self.interrupted(thread, id, executed, counted)?;
        Ok(guest)
    }

    /// Reports that only `executed` instructions of a unit retired.
    pub(super) fn interrupted(
        &mut self,
        thread: &mut Thread,
        id: UnitId,
        executed: u32,
        counted: bool,
    ) -> Result<()> {
        let has_counter = match self.mode {
            Mode::Counts => true,
            Mode::Full => false,
            Mode::Budget => self
                .cache
                .unit(id)
                .is_some_and(|unit| unit.starts.is_empty()),
        };
        if has_counter && counted {
            thread.area.uncount(id);
        }
        thread.budget.retired += u64::from(executed);
        if executed == 0 {
            // The block so far stays as it is: whoever comes next continues or ends it.
            return Ok(());
        }
        if let Some(pc) = self.cache.unit(id).map(|unit| unit.pc) {
            self.note_executed(thread, pc);
        }
        thread.prefix = None;
        let row = self.unfinished_row(thread, id);
        let event = Event::Partial {
            unit: id,
            executed,
            row,
        };
        self.event(thread, event)
    }

    /// What the unit has written of its row.
    fn unfinished_row(&self, thread: &Thread, id: UnitId) -> Vec<u8> {
        let (Some(cursor), Some(unit)) = (thread.cursor, self.cache.unit(id)) else {
            return Vec::new();
        };
        let Some(stats) = self.stats.rows() else {
            return Vec::new();
        };
        let mut end = cursor;
        end.at = (cursor.at + unit.row_bytes).min(stats.layout().chunk_bytes);
        let mut row = stats.written(end)[cursor.at as usize..].to_vec();
        // The rest would have gone to the next chunk.
        row.resize(unit.row_bytes as usize, 0);
        row
    }
}

/// Roughly; for the progress line.
const ROW_BYTES_PER_INSTRUCTION: u64 = 8;
