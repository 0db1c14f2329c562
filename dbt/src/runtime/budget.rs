//! Counting instructions so that a thread can be stopped after any number of them.
//!
//! Translated code uses up a budget (see `translate::budget`); the supervisor grants it, in parts that never reach beyond the next
//! moment that somebody waits for. The last few instructions before that are stepped.

use fits_stats::template::UnitId;
use fits_tracer::engine::Moment;
use fits_tracer::ptrace::{Registers, SigInfo};

use super::area::Area;
use super::pages::GuestPages;
use super::search::Search;
use super::supervisor::Supervisor;
use super::thread::Thread;
use crate::layout::{BUDGET, BUDGET_BYTES, BUDGET_GUARD};
use crate::unit::GuestCode;

/// What a thread has retired, and what it may.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Budget {
    /// Outside translated code: instructions that the thread has retired.
    pub(super) retired: u64,
    /// The index at which what was granted last is spent.
    origin: u64,
}

impl Budget {
    /// The thread has left translated code with this in its budget register.
    pub(super) fn left_at(&mut self, area: &Area, address: u64) {
        let left = address.wrapping_sub(bottom(area));
        self.retired = self.origin.wrapping_sub(left);
    }

    /// What the budget register must be for so many more instructions.
    fn grant(&mut self, area: &Area, instructions: u64) -> u64 {
        self.origin = self.retired + instructions;
        bottom(area) + instructions
    }
}

/// Where a budget of nothing points to.
fn bottom(area: &Area) -> u64 {
    area.base + BUDGET as u64
}

/// The guest's code as the translator may see it.
pub(super) struct Marked<'a> {
    code: &'a GuestPages,
    search: &'a Search,
}

impl GuestCode for Marked<'_> {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let length = self.code.read(pc, buffer);
        let end = pc.saturating_add(length as u64);
        let near = self.search.first_near(pc..end);
        near.map_or(length, |near| (near - pc) as usize)
    }

    fn is_marked(&self, pc: u64) -> bool {
        self.search.marks.contains_key(&pc)
    }
}

impl Supervisor<'_> {
    /// The guest's code as the translator may see it.
    pub(super) fn translatable(&self) -> Marked<'_> {
        Marked {
            code: &self.code,
            search: &self.search,
        }
    }

    /// Whether a unit must begin at `pc` and stay by itself.
    pub(super) fn is_marked(&self, pc: u64) -> bool {
        self.search.marks.contains_key(&pc)
    }

    /// A unit was made.
    pub(super) fn note_unit(&mut self, id: UnitId) {
        let Some(unit) = self.cache.unit(id) else {
            return;
        };
        if let Some(units) = self.search.marks.get_mut(&unit.pc) {
            units.push(id);
        }
    }

    /// An instruction was executed that no counter counts.
    pub(super) fn note_executed(&mut self, thread: &mut Thread, pc: u64) {
        if self.is_marked(pc) {
            *thread.stepped.entry(pc).or_default() += 1;
        }
    }

    /// Whether a fault says that a thread's budget is spent.
    pub(super) fn spent(&self, thread: &Thread, info: &SigInfo) -> bool {
        let bottom = bottom(&thread.area);
        let guard = bottom - BUDGET_GUARD..bottom;
        self.mode.has_budget() && info.signal() == libc::SIGSEGV && guard.contains(&info.address())
    }

    /// Whether a unit may be entered: it must not be able to run past a moment that is waited for.
    pub(super) fn may_enter(&mut self, thread: &Thread, id: UnitId) -> bool {
        if !self.mode.has_budget() {
            return true;
        }
        let room = self.search.room(thread.number, thread.budget.retired);
        let unit = self.cache.unit(id);
        unit.is_some_and(|unit| unit.instructions.len() as u64 <= room)
    }

    /// What a thread's budget register must be when it enters translated code.
    pub(super) fn budget_register(&mut self, thread: &mut Thread) -> u64 {
        let room = self.search.room(thread.number, thread.budget.retired);
        thread.budget.grant(&thread.area, room.min(BUDGET_BYTES))
    }

    /// A thread stands in its guest state. Whether the run is to stop there.
    pub(super) fn is_over(&mut self, thread: &Thread, guest: &Registers) -> bool {
        if !self.mode.has_budget() || self.halting {
            return self.halting;
        }
        let moment = Moment {
            thread: thread.number,
            index: thread.budget.retired,
        };
        self.miss_moments(thread);
        let before = executed(&self.search, thread, guest.rip);
        self.search.at(moment, guest.rip, before);
        let count = |search: &Search, pc| executed(search, thread, pc);
        let changed = self
            .search
            .approach(thread.number, moment.index, guest.rip, count);
        for pc in changed {
            self.cache.invalidate(pc..pc + 1);
        }
        self.search.stop == Some(moment) || self.search.is_complete()
    }
}

/// How often a thread outside translated code has executed a marked instruction.
fn executed(search: &Search, thread: &Thread, pc: u64) -> Option<u64> {
    let units = search.marks.get(&pc)?;
    let counted = units.iter().map(|&id| thread.area.executions(id));
    let stepped = thread.stepped.get(&pc).copied().unwrap_or(0);
    Some(counted.sum::<u64>() + stepped)
}
