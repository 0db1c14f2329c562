//! Counting instructions so that a thread can be stopped after any number of them.
//!
//! Translated code uses up a budget (see `translate::budget`); the supervisor grants it, in parts that never reach beyond the next
//! moment that somebody waits for. The last few instructions before that are stepped.

use std::collections::{BTreeMap, BTreeSet};

use fits_stats::template::UnitId;
use fits_tracer::engine::{Found, Landmark, Moment};
use fits_tracer::ptrace::{Registers, SigInfo};

use super::area::Area;
use super::pages::GuestPages;
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

/// A landmark that is searched for.
#[derive(Debug)]
pub(super) struct Wanted {
    landmark: Landmark,
    /// System calls: how many were made.
    seen: u64,
    pub(super) found: Option<Found>,
}

/// What a run is made for.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Where the run stops.
    stop: Option<Moment>,
    /// What is to be found before it may stop.
    pub(super) wanted: Vec<Wanted>,
    /// Instructions that begin a unit: its counter tells how often they were executed.
    marks: BTreeMap<u64, Vec<UnitId>>,
    /// Marked instructions that are executed by themselves each time, since the arrival that is searched for is near.
    near: BTreeSet<u64>,
}

/// So many arrivals before the one that is searched for, each is looked at.
const NEAR: u64 = 256;

impl Search {
    /// A run to a moment.
    pub(super) fn to(moment: Moment) -> Self {
        Self {
            stop: Some(moment),
            ..Self::default()
        }
    }

    /// A run to the last of several landmarks. Executions of the instructions in `counted` are counted.
    pub(super) fn of(
        landmarks: impl Iterator<Item = Landmark>,
        counted: impl Iterator<Item = u64>,
    ) -> Self {
        let wanted: Vec<_> = landmarks
            .map(|landmark| Wanted {
                landmark,
                seen: 0,
                found: None,
            })
            .collect();
        let arrivals = wanted.iter().filter_map(|one| match one.landmark {
            Landmark::Arrival { address, .. } => Some(address),
            _ => None,
        });
        let marks = arrivals.chain(counted).map(|pc| (pc, Vec::new())).collect();
        Self {
            wanted,
            marks,
            ..Self::default()
        }
    }

    /// Everything was found.
    fn is_complete(&self) -> bool {
        !self.wanted.is_empty() && self.wanted.iter().all(|one| one.found.is_some())
    }

    /// What is not found yet.
    fn open(&self) -> impl Iterator<Item = Landmark> {
        let open = self.wanted.iter().filter(|one| one.found.is_none());
        open.map(|one| one.landmark)
    }

    /// The next index at which a thread must be looked at.
    fn next_index(&self, thread: u32, retired: u64) -> Option<u64> {
        let indices = self.open().filter_map(|landmark| match landmark {
            Landmark::Index(moment) => Some(moment),
            _ => None,
        });
        let ahead = |moment: &Moment| moment.thread == thread && moment.index > retired;
        let all = indices.chain(self.stop).filter(ahead);
        all.map(|moment| moment.index).min()
    }

    /// A thread stands at `moment`, before the instruction at `pc`, which it has executed so often before, if that is counted.
    fn at(&mut self, moment: Moment, pc: u64, executed: Option<u64>) {
        for one in self.wanted.iter_mut().filter(|one| one.found.is_none()) {
            let is_it = match one.landmark {
                Landmark::Index(wanted) => wanted == moment,
                Landmark::Arrival {
                    thread,
                    address,
                    count,
                } => {
                    let before = executed.map(|executed| executed + 1);
                    thread == moment.thread && address == pc && before == Some(count)
                }
                Landmark::Access { .. } | Landmark::Call { .. } => false,
            };
            if is_it {
                one.found = Some(Found {
                    moment,
                    pc,
                    arrivals: executed.map_or(0, |executed| executed + 1),
                });
            }
        }
    }

    /// A thread is about to make a system call.
    pub(super) fn calls(&mut self, moment: Moment, pc: u64, called: u64) {
        for one in self.wanted.iter_mut().filter(|one| one.found.is_none()) {
            if let Landmark::Call {
                thread,
                number,
                count,
            } = one.landmark
                && thread == moment.thread
                && number == called
            {
                one.seen += 1;
                if one.seen == count {
                    one.found = Some(Found {
                        moment,
                        pc,
                        arrivals: 0,
                    });
                }
            }
        }
    }
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
        let near = self.search.near.range(pc..end).next();
        near.map_or(length, |&near| (near - pc) as usize)
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

    /// How often a thread outside translated code has executed a marked instruction.
    fn executed(&self, thread: &Thread, pc: u64) -> Option<u64> {
        let units = self.search.marks.get(&pc)?;
        let counted = units.iter().map(|&id| thread.area.executions(id));
        let stepped = thread.stepped.get(&pc).copied().unwrap_or(0);
        Some(counted.sum::<u64>() + stepped)
    }

    /// Whether a fault says that a thread's budget is spent.
    pub(super) fn spent(&self, thread: &Thread, info: &SigInfo) -> bool {
        let bottom = bottom(&thread.area);
        let guard = bottom - BUDGET_GUARD..bottom;
        self.mode.has_budget() && info.signal() == libc::SIGSEGV && guard.contains(&info.address())
    }

    /// Whether a unit may be entered: it must not be able to run past a moment that is waited for.
    pub(super) fn may_enter(&self, thread: &Thread, id: UnitId) -> bool {
        let unit = self.cache.unit(id);
        !self.mode.has_budget()
            || unit.is_some_and(|unit| unit.instructions.len() as u64 <= self.room(thread))
    }

    /// How many instructions a thread may execute before it must be looked at.
    fn room(&self, thread: &Thread) -> u64 {
        let retired = thread.budget.retired;
        let next = self.search.next_index(thread.number, retired);
        let to_index = next.map_or(u64::MAX, |index| index - retired);
        self.arrivals_left(thread)
            .map(|(_, left)| left)
            .filter(|&left| left > NEAR)
            .fold(to_index, u64::min)
    }

    /// The arrivals that a thread is searched for, and how many are to come before.
    fn arrivals_left(&self, thread: &Thread) -> impl Iterator<Item = (u64, u64)> {
        self.search
            .open()
            .filter_map(move |landmark| match landmark {
                Landmark::Arrival {
                    thread: number,
                    address,
                    count,
                } if number == thread.number => {
                    let executed = self.executed(thread, address)?;
                    Some((address, count.saturating_sub(executed + 1)))
                }
                _ => None,
            })
    }

    /// What a thread's budget register must be when it enters translated code.
    pub(super) fn budget_register(&self, thread: &mut Thread) -> u64 {
        let instructions = self.room(thread).min(BUDGET_BYTES);
        thread.budget.grant(&thread.area, instructions)
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
        let executed = self.executed(thread, guest.rip);
        self.search.at(moment, guest.rip, executed);
        self.approach(thread);
        self.search.stop == Some(moment) || self.search.is_complete()
    }

    /// Has those marked instructions executed by themselves each time that the thread is about to arrive at as often as is searched for.
    fn approach(&mut self, thread: &Thread) {
        let left = self.arrivals_left(thread).filter(|&(_, left)| left <= NEAR);
        let near = left.map(|(pc, _)| pc);
        let others = self.search.open().filter_map(|landmark| match landmark {
            Landmark::Arrival {
                thread: number,
                address,
                ..
            } if number != thread.number => Some(address),
            _ => None,
        });
        let others = others.filter(|pc| self.search.near.contains(pc));
        let near: BTreeSet<u64> = near.chain(others).collect();
        for &pc in near.symmetric_difference(&self.search.near) {
            self.cache.invalidate(pc..pc + 1);
        }
        self.search.near = near;
    }
}
