//! Natively to the next instruction that can touch a changed register.
//!
//! Stepping looks at every instruction, most of which have nothing to do with the register. From where the thread stands, the instructions that can come
//! next are known as long as control flow is direct; those of them that name the register, or after which anything may come (an indirect branch, a
//! return, a system call), are the *border*. Nothing else can touch the register before the border is reached, so where the debug registers can hold
//! the whole border the thread runs to it natively, and is stepped again from there. See docs/design/running-ahead.md.

use std::time::Instant;

use fits_tracer::backend::BackendError;
use fits_tracer::live::{Watch, Watched};
use fits_tracer::process::{Mapping, Status, cpu_seconds, status};
use fits_tracer::step::Decoded;
use iced_x86::FlowControl;
use rustc_hash::FxHashSet;

use super::machine::Machine;
use super::native::{Allowance, SLOTS};
use super::rejoin::{Rejoin, can_be_undone};
use super::session::Session;
use super::state::{State, part_of};
use super::touch::{Place, touched_place};
use super::track::Tracked;
use crate::fault::Cell;

/// No more instructions than this are looked at for one border.
const MOST_INSIDE: usize = 4096;

/// After a failed attempt, so many instructions are stepped before the next one, then twice as many, and so on.
const FIRST_PAUSE: u64 = 16;

/// Signals that nobody sends to an experiment, and that the kernel sends only in answer to a system call.
const SENT_BY_HAND: [i32; 10] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGPIPE,
    libc::SIGCONT,
    libc::SIGTSTP,
    libc::SIGTTIN,
    libc::SIGTTOU,
    libc::SIGWINCH,
];

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Nothing: the thread stands where it stood.
    Stays,
    /// The thread is at the border.
    Arrived,
    /// The process has ended, or its limits are used up.
    Ended,
}

/// Instructions that don't touch some registers, and those that come after them.
#[derive(Debug)]
struct Region {
    cells: Vec<Cell>,
    inside: FxHashSet<u64>,
    border: Vec<u64>,
}

/// What is known of the code around the thread.
#[derive(Debug)]
pub(super) struct Scout {
    region: Option<Region>,
    /// The index from which on the next attempt is made.
    next: u64,
    pause: u64,
    /// Instructions have executed that nobody has counted.
    pub(super) uncounted: bool,
}

impl Default for Scout {
    fn default() -> Self {
        Self {
            region: None,
            next: 0,
            pause: FIRST_PAUSE,
            uncounted: false,
        }
    }
}

impl Scout {
    fn fail(&mut self, index: u64) -> Ahead {
        self.region = None;
        self.next = index + self.pause;
        self.pause *= 2;
        Ahead::Stays
    }
}

impl Session<'_> {
    /// Runs natively to the next instruction that may touch what is followed, if that is a register and the border is small.
    pub(super) fn run_ahead(&mut self) -> Result<Ahead, BackendError> {
        let index = self.machine.index;
        if !self.ahead().contains(&index) || index < self.scout.next || !self.is_undisturbed() {
            return Ok(Ahead::Stays);
        }
        let cells = self.tracked.iter().map(Tracked::open_register);
        let Some(cells) = cells.collect::<Option<Vec<Cell>>>() else {
            return Ok(Ahead::Stays);
        };
        let pc = self.machine.live.registers()?.rip;
        let decoded = self.machine.decoded()?;
        if !decoded.is_some_and(|decoded| can_be_undone(&decoded)) {
            // After it mappings can be others.
            self.scout.region = None;
            return Ok(Ahead::Stays);
        }
        let region = self.scout.region.as_ref();
        let region = region.filter(|region| region.cells == cells);
        if region.is_some_and(|region| region.border.contains(&pc)) {
            return Ok(Ahead::Stays);
        }
        if region.is_none_or(|region| !region.inside.contains(&pc)) {
            let signals = status(self.machine.live.leader())?.caught;
            let by_hand = |&signal: &i32| SENT_BY_HAND.contains(&signal);
            let caught = |&signal: &i32| Status::holds(signals, signal);
            if (1..=64).filter(caught).any(|signal| !by_hand(&signal)) {
                return Ok(self.scout.fail(index));
            }
            match Region::around(&mut self.machine, pc, cells)? {
                None => return Ok(self.scout.fail(index)),
                // What is at the border is stepped.
                Some(region) if region.inside.is_empty() => return Ok(Ahead::Stays),
                Some(region) => self.scout.region = Some(region),
            }
        }
        self.run_to_border()
    }

    /// The indices at which it may be tried: behind those where something is compared with the fault-free run, and where latencies are counted.
    pub(super) fn ahead(&self) -> std::ops::Range<u64> {
        match self.drive.early_stop {
            Some(steps) => self.first.saturating_add(steps)..self.window_end,
            None => self.window_end..self.window_end.saturating_add(self.drive.window),
        }
    }

    /// Whether nothing but the followed registers has to be looked at.
    fn is_undisturbed(&self) -> bool {
        let compared = self.rejoin.as_ref().is_some_and(|it| !Rejoin::is_over(it));
        !self.tracked.is_empty()
            && self.waiting.is_empty()
            && self.effects.is_empty()
            && !self.looking
            && !compared
            && self.drive.detector.is_none()
            && self.machine.live.is_alone()
    }

    fn run_to_border(&mut self) -> Result<Ahead, BackendError> {
        let Some(region) = &self.scout.region else {
            return Ok(Ahead::Stays);
        };
        let watches: Vec<Watch> = region.border.iter().copied().map(Watch::code).collect();
        let allowance = Allowance {
            limits: self.limits,
            began: Instant::now(),
            cpu_before: cpu_seconds(self.machine.live.leader()).unwrap_or_default(),
        };
        self.scout.uncounted = true;
        self.machine.live.watch(&watches)?;
        let watched = self.machine.live.run_to_watch(&self.limits)?;
        if watched == Watched::Ended {
            return Ok(Ahead::Ended);
        }
        self.machine.live.watch(&[])?;
        self.limits = allowance.left(&self.machine);
        Ok(Ahead::Arrived)
    }
}

impl Region {
    /// What lies around `pc`. None: more than the debug registers hold, or code that may change.
    fn around(
        machine: &mut Machine,
        pc: u64,
        cells: Vec<Cell>,
    ) -> Result<Option<Self>, BackendError> {
        let mappings = machine.live.mappings()?;
        let state = machine.state()?;
        let mut inside = FxHashSet::default();
        let mut border = Vec::new();
        let mut open = vec![pc];
        while let Some(pc) = open.pop() {
            if inside.contains(&pc) || border.contains(&pc) {
                continue;
            }
            if !is_fixed(&mappings, pc) || inside.len() >= MOST_INSIDE {
                return Ok(None);
            }
            let next = match machine.decoded_at(pc)? {
                Some(decoded) if !may_touch(machine, &decoded, &cells, &state) => {
                    successors(&decoded)
                }
                _ => None,
            };
            match next {
                Some(next) => {
                    inside.insert(pc);
                    open.extend(next);
                }
                None if border.len() < SLOTS => border.push(pc),
                None => return Ok(None),
            }
        }
        Ok(Some(Self {
            cells,
            inside,
            border,
        }))
    }
}

/// Whether the code there can't change without a system call.
fn is_fixed(mappings: &[Mapping], pc: u64) -> bool {
    let there = mappings.iter().find(|mapping| mapping.contains(pc));
    there.is_some_and(|mapping| mapping.execute && !mapping.write && !mapping.shared)
}

/// Whether an instruction names one of the registers, whatever it does with it, in whatever state; `state` is one of those that can be.
fn may_touch(machine: &mut Machine, decoded: &Decoded, cells: &[Cell], state: &State) -> bool {
    let info = machine.factory.info(&decoded.instruction);
    let named = info.used_registers().iter();
    let named = named.filter_map(|used| part_of(used.register(), 0));
    if named.into_iter().any(|(cell, _, _)| cells.contains(&cell)) {
        return true;
    }
    cells.iter().any(|&cell| {
        let touched = touched_place(decoded, Place::Cell(cell), state, &mut machine.factory);
        !(touched.used() | touched.written).is_zero()
    })
}

/// The instructions that can come next; none if they are not known, or if it is more than an instruction that reads and writes.
fn successors(decoded: &Decoded) -> Option<Vec<u64>> {
    let instruction = &decoded.instruction;
    let (next, target) = (instruction.next_ip(), instruction.near_branch_target());
    match instruction.flow_control() {
        FlowControl::Next if can_be_undone(decoded) => Some(vec![next]),
        FlowControl::UnconditionalBranch if target != 0 => Some(vec![target]),
        FlowControl::Call if target != 0 => Some(vec![target]),
        FlowControl::ConditionalBranch if target != 0 => Some(vec![next, target]),
        _ => None,
    }
}
