//! The fate of the bits that single faults change, by stepping the fault-free run on from their moments.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Engine, EngineOptions, Found, Limits, Reached};
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::{Command, Mapping};
use fits_tracer::step::Decoded;
use iced_x86::Mnemonic;

use super::classes::Classes;
use super::process::{Known, Process, Visited};
use super::{Fate, Foreseen};
use crate::bits::Bits;
use crate::drive::effect;
use crate::drive::instruction::Doing;
use crate::drive::machine::Machine;
use crate::drive::operands::{self, Part};
use crate::drive::state::State;
use crate::drive::touch::{Place, physical, relative, touched_place};
use crate::fault::{Access, Cell, Duration, Fault, Location, Operation};

/// The usual number of instructions to look ahead.
pub const AHEAD: u64 = 300;

/// If the next moment lies no further than this, it is stepped to; otherwise a new run is brought there.
const NEAR: u64 = 2000;

/// What a system call may wait while it is stepped, in seconds.
const WAIT: f64 = 10.0;

/// What becomes of the bits that each fault changes, within `steps` instructions after its moment. In the order of `points`.
///
/// The program is run as often as needed to come to the moments in ascending order; nothing is changed in it.
///
/// # Errors
/// See [`BackendError`].
pub fn look_ahead(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    points: &[(Fault, Found)],
    steps: u64,
) -> Result<Vec<Foreseen>, BackendError> {
    let way = EngineOptions {
        limits: Limits::default(),
        ..options.clone()
    };
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by_key(|&number| points[number].1.moment);
    let mut all = Fates::new(points.len());
    let first_thread = |&number: &usize| points[number].1.moment.thread == 0;
    if engine.walks() && order.iter().all(first_thread) {
        walk(engine, command, &way, points, &order, steps, &mut all)?;
        return Ok(all.foreseen(points));
    }
    let mut rest = &order[..];
    while let Some(&first) = rest.first() {
        let done = match engine.reach_found(command, &way, &points[first].1)? {
            Reached::At(live) => {
                let moment = points[first].1.moment;
                let machine = Machine::new(patient(*live), moment.index);
                let mut ahead = Ahead::new(machine, moment.thread, points, steps);
                let done = ahead.run(rest, &mut all)?;
                done.max(1)
            }
            // It has ended, and will before later moments of the thread.
            Reached::Ended(_) => 1,
        };
        rest = &rest[done..];
    }
    Ok(all.foreseen(points))
}

/// The same in one run past all moments: at each, the process is stepped on as far as that can be undone, and put back.
fn walk(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    points: &[(Fault, Found)],
    order: &[usize],
    steps: u64,
    all: &mut Fates,
) -> Result<(), BackendError> {
    let moments: Vec<u64> = order
        .iter()
        .map(|&number| points[number].1.moment.index)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    let mut known = Known::new();
    engine.walk(command, options, &moments, &mut |moment, standing| {
        if standing.account.hindrance().is_some() {
            return Ok(false);
        }
        if standing.hindrance.is_some() {
            return Ok(true);
        }
        let index = |&number: &usize| points[number].1.moment.index;
        let from = order.partition_point(|number| index(number) < moment.index);
        let to = order.partition_point(|number| index(number) <= moment.index);
        let visited = Visited::begin(standing, &mut known, moment.index)?;
        let mut ahead = Ahead::new(visited, moment.thread, points, steps);
        let looked = ahead.run(&order[from..to], all);
        ahead.machine.end()?;
        looked.map(|_| true)
    })
}

/// What is found out of each fault.
pub(super) struct Fates {
    fates: Vec<Fate>,
    /// The bits that change, and where.
    changed: Vec<Option<(Place, Bits)>>,
}

impl Fates {
    pub(super) fn new(count: usize) -> Self {
        Self {
            fates: vec![Fate::Unknown; count],
            changed: vec![None; count],
        }
    }

    pub(super) fn foreseen(self, points: &[(Fault, Found)]) -> Vec<Foreseen> {
        let mut classes = Classes::default();
        let mut all = Vec::with_capacity(points.len());
        for ((fate, changed), (_, found)) in self.fates.into_iter().zip(self.changed).zip(points) {
            let thread = found.moment.thread;
            let class = changed.and_then(|(place, bits)| classes.of(thread, place, bits, fate));
            all.push(Foreseen { fate, class });
        }
        all
    }
}

/// Changed bits that nothing has touched yet.
struct Open {
    number: usize,
    place: Place,
    changed: Bits,
    /// The index up to which they are followed.
    until: u64,
}

/// Bits that a lasting fault forces to the value that they have had so far.
struct Held {
    number: usize,
    place: Place,
    mask: Bits,
    value: Bits,
    /// The index at which it is over.
    until: u64,
}

/// A fault that goes into what the next instruction writes.
struct OfResult {
    number: usize,
    what: Written,
    doing: Doing,
}

enum Written {
    Register(Part),
    Memory { address: u64, bytes: usize },
}

/// A stopped fault-free process, and the faults that are looked at.
pub(super) struct Ahead<'a, P> {
    machine: P,
    thread: u32,
    points: &'a [(Fault, Found)],
    steps: u64,
    open: Vec<Open>,
    held: Vec<Held>,
    results: Vec<OfResult>,
}

impl<'a, P: Process> Ahead<'a, P> {
    pub(super) fn new(machine: P, thread: u32, points: &'a [(Fault, Found)], steps: u64) -> Self {
        Self {
            machine,
            thread,
            points,
            steps,
            open: Vec::new(),
            held: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Looks at as many of the faults, in the order of their moments, as can be come to by stepping. How many.
    pub(super) fn run(&mut self, order: &[usize], all: &mut Fates) -> Result<usize, BackendError> {
        let mut begun = 0;
        loop {
            while let Some(&number) = order.get(begun) {
                let Found { moment, pc, .. } = self.points[number].1;
                let here = moment.thread == self.thread && moment.index == self.machine.index();
                if !here {
                    break;
                }
                begun += 1;
                if self.machine.pc()? == pc {
                    self.begin(number, all)?;
                }
            }
            if !self.has_work() && !self.comes_to(order.get(begun)) {
                return Ok(begun);
            }
            if !self.step(all)? {
                return Ok(begun);
            }
        }
    }

    fn has_work(&self) -> bool {
        !(self.open.is_empty() && self.held.is_empty() && self.results.is_empty())
    }

    fn comes_to(&self, next: Option<&usize>) -> bool {
        let Some(&number) = next else {
            return false;
        };
        let moment = self.points[number].1.moment;
        let index = self.machine.index();
        moment.thread == self.thread
            && moment.index > index
            && moment.index - index <= NEAR
            && self.machine.is_alone()
    }

    /// The moment of a fault is now.
    fn begin(&mut self, number: usize, all: &mut Fates) -> Result<(), BackendError> {
        let fault = &self.points[number].0;
        match &fault.location {
            Location::Register(_) | Location::Memory(_) => self.begin_state(number, all),
            Location::Destination(_) | Location::Stored(_) | Location::Source(_)
                if fault.duration == Duration::Transient
                    && fault
                        .change
                        .is_some_and(|change| change.operation != Operation::Random) =>
            {
                self.begin_instruction(number, all)
            }
            _ => Ok(()),
        }
    }

    fn begin_state(&mut self, number: usize, all: &mut Fates) -> Result<(), BackendError> {
        let fault = &self.points[number].0;
        let foreseen = self.machine.foresee(number, fault);
        // A fault that can't be carried out is for the experiment to tell.
        let Ok(foreseen) = foreseen else {
            return Ok(());
        };
        if fault.duration == Duration::Transient {
            return self.follow(number, foreseen.place, foreseen.changed, all);
        }
        let forces = fault.change.is_some_and(|change| change.operation.forces());
        if let Duration::Instructions(count) = fault.duration
            && forces
            && count <= self.steps
            && foreseen.changed.is_zero()
            && self.is_private(foreseen.place)?
        {
            self.hold(number, &foreseen, self.machine.index() + count);
        }
        Ok(())
    }

    fn hold(&mut self, number: usize, foreseen: &effect::Foreseen, until: u64) {
        self.held.push(Held {
            number,
            place: foreseen.place,
            mask: foreseen.mask,
            value: foreseen.value,
            until,
        });
    }

    /// Follows changed bits, if what becomes of them can be seen.
    fn follow(
        &mut self,
        number: usize,
        place: Place,
        changed: Bits,
        all: &mut Fates,
    ) -> Result<(), BackendError> {
        if changed.is_zero() {
            all.fates[number] = Fate::Constant;
        } else if self.is_private(place)? {
            all.changed[number] = Some((place, changed));
            self.open.push(Open {
                number,
                place,
                changed,
                until: self.machine.index().saturating_add(self.steps),
            });
        }
        Ok(())
    }

    /// Whether nobody but the thread itself, and the kernel in its system calls, can read or write a place.
    fn is_private(&self, place: Place) -> Result<bool, BackendError> {
        match place {
            Place::Cell(_) => Ok(true),
            Place::Memory(address) => self.machine.is_private(address, 64),
        }
    }

    fn begin_instruction(&mut self, number: usize, all: &mut Fates) -> Result<(), BackendError> {
        let fault = &self.points[number].0;
        let Some(decoded) = self.machine.decoded()? else {
            return Ok(());
        };
        let state = self.machine.state(true)?;
        let factory = self.machine.factory();
        let doing = Doing {
            change: fault.change,
            drawn: Bits::ZERO,
        };
        let what = match fault.location {
            Location::Source(operand) => {
                let part = operands::register(&decoded, operand, Access::Read, &state, factory);
                if let Ok(part) = part {
                    let place = Place::Cell(physical(part.cell, state.x87_top()));
                    self.read_at_once(number, &part, place, &doing, &state, all);
                }
                return Ok(());
            }
            Location::Destination(operand) => {
                operands::register(&decoded, operand, Access::Write, &state, factory)
                    .ok()
                    .map(Written::Register)
            }
            Location::Stored(operand) => {
                let found = operands::memory(&decoded, operand, Access::Write, &state);
                found
                    .ok()
                    .filter(|(access, _)| (1..=64).contains(&access.bytes))
                    .map(|(access, _)| Written::Memory {
                        address: access.address,
                        bytes: access.bytes,
                    })
            }
            _ => None,
        };
        self.results.extend(what.map(|what| OfResult {
            number,
            what,
            doing,
        }));
        Ok(())
    }

    /// The next instruction reads what is changed before it.
    fn read_at_once(
        &self,
        number: usize,
        part: &Part,
        place: Place,
        doing: &Doing,
        state: &State,
        all: &mut Fates,
    ) {
        let old = part.get(state);
        let Ok(new) = doing.apply(old, part.width, &part.name) else {
            return;
        };
        let changed = (old ^ new).up(part.offset);
        if changed.is_zero() {
            all.fates[number] = Fate::Constant;
        } else {
            all.changed[number] = Some((place, changed));
            all.fates[number] = Fate::Read {
                index: self.machine.index(),
                pc: state.registers.rip,
            };
        }
    }

    /// Lets one instruction execute. Whether there is another one.
    fn step(&mut self, all: &mut Fates) -> Result<bool, BackendError> {
        let Some(decoded) = self.machine.decoded()? else {
            return Ok(false);
        };
        let state = self.machine.state(self.needs_extended())?;
        let index = self.machine.index();
        let used = self.look(&decoded, &state);
        match self.machine.step(&decoded, &state)? {
            Stepped::Retired => {
                self.resolve(&used, index, decoded.pc, all);
                self.expire(all);
                self.changed_results(all)?;
                self.check_held(all)?;
                if decoded.instruction.mnemonic() == Mnemonic::Syscall {
                    self.leave_shared()?;
                }
                Ok(true)
            }
            Stepped::Handler { .. } => {
                self.give_up();
                Ok(true)
            }
            Stepped::Ended => {
                let is_read = |place: &Open| used.get(&place.number).is_some_and(|seen| seen.0);
                for place in self.open.iter().filter(|place| is_read(place)) {
                    all.fates[place.number] = Fate::Read {
                        index,
                        pc: decoded.pc,
                    };
                }
                self.give_up();
                Ok(false)
            }
        }
    }

    fn needs_extended(&self) -> bool {
        let moves = |place: Place| matches!(place, Place::Cell(Cell::X87(_)));
        self.open.iter().any(|open| moves(open.place))
    }

    /// What the next instruction does to what is open: whether it uses it, and what it overwrites.
    fn look(&mut self, decoded: &Rc<Decoded>, state: &State) -> BTreeMap<usize, (bool, Bits)> {
        let factory = self.machine.factory();
        let looked = self.open.iter().map(|open| {
            let touched = touched_place(decoded, open.place, state, factory);
            let used = !(touched.used() & open.changed).is_zero();
            (open.number, (used, touched.written))
        });
        looked.collect()
    }

    fn resolve(
        &mut self,
        used: &BTreeMap<usize, (bool, Bits)>,
        index: u64,
        pc: u64,
        all: &mut Fates,
    ) {
        self.open.retain_mut(|open| {
            let Some(&(is_used, written)) = used.get(&open.number) else {
                return true;
            };
            if is_used {
                all.fates[open.number] = Fate::Read { index, pc };
                return false;
            }
            open.changed = open.changed & !written;
            if open.changed.is_zero() {
                all.fates[open.number] = Fate::Overwritten { index };
            } else if !written.is_zero() {
                // Part of it is gone: others that lack that part are of another class.
                all.changed[open.number] =
                    all.changed[open.number].map(|(place, _)| (place, open.changed));
            }
            !open.changed.is_zero()
        });
    }

    fn expire(&mut self, all: &mut Fates) {
        let index = self.machine.index();
        self.open.retain(|open| open.until > index);
        self.held.retain(|held| {
            if held.until <= index {
                all.fates[held.number] = Fate::Constant;
            }
            held.until > index
        });
    }

    /// Faults of what the last instruction has written.
    fn changed_results(&mut self, all: &mut Fates) -> Result<(), BackendError> {
        if self.results.is_empty() {
            return Ok(());
        }
        let state = self.machine.state(true)?;
        for result in std::mem::take(&mut self.results) {
            let doing = result.doing;
            let changed = match &result.what {
                Written::Register(part) => {
                    let old = part.get(&state);
                    let new = doing.apply(old, part.width, &part.name);
                    let place = Place::Cell(physical(part.cell, state.x87_top()));
                    new.map(|new| (place, (old ^ new).up(part.offset)))
                }
                Written::Memory { address, bytes } => {
                    self.machine.read(*address, *bytes).and_then(|old| {
                        let old = Bits::from_bytes(&old);
                        let new = doing.apply(old, 8 * *bytes as u32, "the value")?;
                        Ok((Place::Memory(*address), old ^ new))
                    })
                }
            };
            if let Ok((place, changed)) = changed {
                self.follow(result.number, place, changed, all)?;
            }
        }
        Ok(())
    }

    /// Lasting faults whose bits would not have the value any more are not known.
    fn check_held(&mut self, all: &mut Fates) -> Result<(), BackendError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let state = self.machine.state(true)?;
        let machine = &self.machine;
        self.held.retain(|held| {
            let now = match held.place {
                Place::Cell(cell) => Some(state.get(relative(cell, state.x87_top()))),
                Place::Memory(address) => {
                    let bytes = held.mask.width().div_ceil(8) as usize;
                    machine
                        .read(address, bytes)
                        .ok()
                        .map(|it| Bits::from_bytes(&it))
                }
            };
            let same = now.is_some_and(|now| now & held.mask == held.value);
            if !same {
                all.fates[held.number] = Fate::Unknown;
            }
            same
        });
        Ok(())
    }

    /// A system call may have made others who can touch memory.
    fn leave_shared(&mut self) -> Result<(), BackendError> {
        let in_memory = |place: Place| matches!(place, Place::Memory(_));
        let open = self.open.iter().any(|open| in_memory(open.place));
        let held = self.held.iter().any(|held| in_memory(held.place));
        if (open || held) && !self.machine.is_alone() {
            self.open.retain(|open| !in_memory(open.place));
            self.held.retain(|held| !in_memory(held.place));
        }
        Ok(())
    }

    fn give_up(&mut self) {
        self.open.clear();
        self.held.clear();
        self.results.clear();
    }
}

/// A process that is ended where a system call that is stepped waits too long.
pub(super) fn patient(mut live: Live) -> Live {
    live.limit_steps(&Limits {
        cpu_seconds: None,
        wall_seconds: Some(WAIT),
    });
    live
}

/// Whether memory is private to a process that is alone: not mapped by others, nor given to the kernel for later.
pub(super) fn is_private(live: &Live, address: u64, bytes: u64) -> Result<bool, BackendError> {
    if !live.is_alone() {
        return Ok(false);
    }
    Ok(!shares(&live.mappings()?, address, bytes))
}

/// Whether others have memory mapped too, or the kernel may touch any at any time.
pub(super) fn shares(mappings: &[Mapping], address: u64, bytes: u64) -> bool {
    let lent = |path: &str| path.starts_with("/[aio]") || path.contains("[io_uring]");
    let last = address.saturating_add(bytes.saturating_sub(1));
    mappings.iter().any(|one| {
        let touches = one.start <= last && address < one.end;
        touches && one.shared || lent(&one.path)
    })
}
