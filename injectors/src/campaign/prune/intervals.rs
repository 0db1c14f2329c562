//! The fate of every bit of chosen registers and memory at every moment of a window of one thread's fault-free run.

use std::rc::Rc;

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Engine, EngineOptions, Landmark, Limits, Moment, Reached};
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::Command;
use fits_tracer::step::Decoded;
use iced_x86::{InstructionInfoFactory, Mnemonic};
use rustc_hash::FxHashMap;

use super::ahead::{is_private, patient};
use super::{Fate, Interval, Locations, Window};
use crate::bits::Bits;
use crate::drive::machine::Machine;
use crate::drive::state::{State, missing};
use crate::drive::touch::{Place, memory, touched};
use crate::fault::{Cell, RegisterName};

/// The longest window, in instructions: they are stepped one by one, and give about three intervals each.
pub const LONGEST_WINDOW: u64 = 2_000_000;

/// Bytes of memory that are looked at in one window.
pub const MEMORY_AT_MOST: u64 = 64 << 10;

/// Bytes that are followed together.
const CHUNK: u64 = 64;

/// Why there are no intervals.
#[derive(Debug, thiserror::Error)]
pub enum IntervalError {
    /// What was asked for is wrong: one sentence.
    #[error("{0}")]
    Wrong(String),
    /// The program could not be run.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

fn wrong<T>(sentence: String) -> Result<T, IntervalError> {
    Err(IntervalError::Wrong(sentence))
}

/// The intervals of a window: they cover each moment and each bit of the locations once. What is open at its end is followed `behind`
/// instructions further.
///
/// # Errors
/// `Wrong` for a window or a location that can't be looked at, among them a window in which a signal handler is entered or
/// the thread ends.
pub fn intervals(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    window: Window,
    locations: &Locations,
    behind: u64,
) -> Result<Vec<Interval>, IntervalError> {
    check(window)?;
    let mut followed = registers(&locations.registers)?;
    followed.extend(ranges(&locations.memory)?);
    let way = EngineOptions {
        limits: Limits::default(),
        ..options.clone()
    };
    let moment = Moment {
        thread: window.thread,
        index: window.from,
    };
    let found = engine.locate(command, &way, &[Landmark::Index(moment)])?;
    let reached = match found.first() {
        Some(Some(found)) => engine.reach_found(command, &way, found)?,
        _ => return wrong(too_early(window)),
    };
    let Reached::At(live) = reached else {
        return wrong(too_early(window));
    };
    for place in &followed {
        if let Place::Memory(address) = place.place {
            check_memory(&live, address, place.width / 8)?;
        }
    }
    Walk::new(*live, window, followed).run(behind)
}

fn too_early(window: Window) -> String {
    format!(
        "thread {} of the fault-free run ends before the window begins, at instruction {}",
        window.thread, window.from
    )
}

fn check(window: Window) -> Result<(), IntervalError> {
    let Window { from, to, .. } = window;
    if from >= to {
        return wrong(format!(
            "the window from instruction {from} to {to} is empty: its end must lie after its beginning"
        ));
    }
    if to - from > LONGEST_WINDOW {
        return wrong(format!(
            "the window has {} instructions: at most {LONGEST_WINDOW} can be looked at together",
            to - from
        ));
    }
    Ok(())
}

fn check_memory(live: &Live, address: u64, bytes: u32) -> Result<(), IntervalError> {
    let mut there = vec![0; bytes as usize];
    if live.memory().read(address, &mut there).is_err() {
        return wrong(format!(
            "memory at {address:#x} is not mapped where the window begins"
        ));
    }
    if !is_private(live, address, bytes.into())? {
        return wrong(format!(
            "others can touch the memory at {address:#x} (threads, children, a shared mapping): nothing is known of it without running"
        ));
    }
    Ok(())
}

/// Something that is followed, bit by bit.
struct Followed {
    place: Place,
    /// As a fault names it.
    name: String,
    /// Which bit of the place its bit 0 is.
    offset: u32,
    width: u32,
    /// Bits of the place with the moment since which nothing has touched them, and what they hold.
    groups: Vec<Group>,
}

#[derive(Clone, Copy)]
struct Group {
    bits: Bits,
    since: u64,
    value: Bits,
}

fn registers(names: &[String]) -> Result<Vec<Followed>, IntervalError> {
    let mut all: Vec<Followed> = Vec::new();
    for name in names {
        let Some(register) = RegisterName::find(name) else {
            return wrong(format!(
                "'{name}' is no register: those that faults can go into are listed in docs/faults.md"
            ));
        };
        if let Some(sentence) = missing(register) {
            return wrong(sentence);
        }
        if matches!(register.cell(), Cell::X87(_)) {
            return wrong(format!(
                "{name}: x87 registers move when others are pushed, so a window of moments has none by that name"
            ));
        }
        let place = Place::Cell(register.cell());
        let bits = register.changeable().up(register.offset());
        let overlaps =
            |other: &Followed| other.place == place && !(other.groups[0].bits & bits).is_zero();
        if let Some(other) = all.iter().find(|other| overlaps(other)) {
            return wrong(format!(
                "{name} and {} have bits in common, which would count twice",
                other.name.trim_start_matches("reg:")
            ));
        }
        all.push(Followed {
            place,
            name: format!("reg:{register}"),
            offset: register.offset(),
            width: register.width(),
            groups: vec![Group::new(bits)],
        });
    }
    Ok(all)
}

fn ranges(ranges: &[(u64, u64)]) -> Result<Vec<Followed>, IntervalError> {
    let total: u64 = ranges
        .iter()
        .fold(0, |sum, &(_, bytes)| sum.saturating_add(bytes));
    if total > MEMORY_AT_MOST {
        return wrong(format!(
            "{total} bytes of memory: at most {MEMORY_AT_MOST} can be looked at together"
        ));
    }
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if pair[0].0.saturating_add(pair[0].1) > pair[1].0 {
            return wrong(format!(
                "the memory at {:#x} is named twice, and would count twice",
                pair[1].0
            ));
        }
    }
    let mut all = Vec::new();
    for (start, bytes) in sorted {
        for at in (0..bytes).step_by(CHUNK as usize) {
            let width = 8 * (bytes - at).min(CHUNK) as u32;
            let Some(address) = start.checked_add(at) else {
                return wrong(format!("there is no memory behind {start:#x} + {at:#x}"));
            };
            all.push(Followed {
                place: Place::Memory(address),
                name: format!("mem:{address:#x}"),
                offset: 0,
                width,
                groups: vec![Group::new(Bits::ones(width))],
            });
        }
    }
    Ok(all)
}

impl Group {
    fn new(bits: Bits) -> Self {
        Self {
            bits,
            since: 0,
            value: Bits::ZERO,
        }
    }
}

/// What an instruction does to one of those that are followed.
#[derive(Clone, Copy)]
struct Touch {
    which: usize,
    used: Bits,
    written: Bits,
}

/// A walk through a window.
struct Walk {
    machine: Machine,
    window: Window,
    followed: Vec<Followed>,
    /// What instructions do to registers, by address: it depends on nothing else, but for system calls.
    known: FxHashMap<u64, (Rc<Decoded>, Vec<Touch>)>,
    /// Vector or mask registers are followed.
    extended: bool,
    intervals: Vec<Interval>,
}

impl Walk {
    fn new(live: Live, window: Window, followed: Vec<Followed>) -> Self {
        let extended = |followed: &Followed| {
            matches!(
                followed.place,
                Place::Cell(Cell::Vector(_) | Cell::Mask(_) | Cell::Mxcsr)
            )
        };
        Self {
            machine: Machine::new(patient(live), window.from),
            window,
            extended: followed.iter().any(extended),
            followed,
            known: FxHashMap::default(),
            intervals: Vec::new(),
        }
    }

    fn run(mut self, behind: u64) -> Result<Vec<Interval>, IntervalError> {
        self.begin()?;
        let end = self.window.to.saturating_add(behind);
        while self.machine.index < end && self.is_open() {
            let inside = self.machine.index < self.window.to;
            match self.step()? {
                Stepped::Retired => {}
                _ if !inside => break,
                Stepped::Handler { signal } => {
                    return wrong(format!(
                        "a handler of signal {signal} is entered at instruction {}, in the window: choose one without signals",
                        self.machine.index
                    ));
                }
                Stepped::Ended => {
                    return wrong(format!(
                        "thread {} ends at instruction {}, in the window",
                        self.window.thread, self.machine.index
                    ));
                }
            }
        }
        self.close();
        Ok(self.intervals)
    }

    fn begin(&mut self) -> Result<(), IntervalError> {
        let state = self.machine.state()?;
        let from = self.window.from;
        for number in 0..self.followed.len() {
            let value = self.value(number, &state);
            for group in &mut self.followed[number].groups {
                group.since = from;
                group.value = value & group.bits;
            }
        }
        Ok(())
    }

    fn value(&self, number: usize, state: &State) -> Bits {
        let followed = &self.followed[number];
        match followed.place {
            Place::Cell(cell) => state.get(cell),
            Place::Memory(address) => {
                let bytes = self.machine.read(address, followed.width as usize / 8);
                bytes.map_or(Bits::ZERO, |bytes| Bits::from_bytes(&bytes))
            }
        }
    }

    /// Whether a moment of the window still has bits whose fate is not known.
    fn is_open(&self) -> bool {
        let index = self.machine.index;
        index < self.window.to || self.followed.iter().any(|one| !one.groups.is_empty())
    }

    fn step(&mut self) -> Result<Stepped, IntervalError> {
        let Some(decoded) = self.machine.decoded()? else {
            let registers = self.machine.live.registers();
            let pc = registers.map_err(BackendError::from)?.rip;
            return wrong(format!("there is no instruction at {pc:#x}, in the window"));
        };
        let before = self.machine.glance(false)?;
        let touches = self.touches(&decoded, &before);
        let index = self.machine.index;
        let stepped = self.machine.step()?;
        if stepped != Stepped::Retired {
            return Ok(stepped);
        }
        if decoded.instruction.mnemonic() == Mnemonic::Syscall {
            self.check_private()?;
        }
        if !touches.is_empty() {
            let after = self.machine.glance(self.extended)?;
            for touch in touches {
                self.take(touch, index, decoded.pc, &after);
            }
        }
        Ok(stepped)
    }

    /// A system call may have made others who can touch memory.
    fn check_private(&self) -> Result<(), IntervalError> {
        let in_memory = |one: &Followed| matches!(one.place, Place::Memory(_));
        if self.machine.live.is_alone() || !self.followed.iter().any(in_memory) {
            return Ok(());
        }
        wrong(format!(
            "a thread or child is made before instruction {}: nothing is known of memory from there on",
            self.machine.index
        ))
    }

    fn touches(&mut self, decoded: &Rc<Decoded>, state: &State) -> Vec<Touch> {
        let mut all = self.of_registers(decoded, state);
        for (which, one) in self.followed.iter().enumerate() {
            if let Place::Memory(address) = one.place {
                let touched = memory(decoded, address, state);
                let (used, written) = (touched.used(), touched.written);
                if !(used | written).is_zero() {
                    all.push(Touch {
                        which,
                        used,
                        written,
                    });
                }
            }
        }
        all
    }

    fn of_registers(&mut self, decoded: &Rc<Decoded>, state: &State) -> Vec<Touch> {
        if let Some((known, touches)) = self.known.get(&decoded.pc)
            && Rc::ptr_eq(known, decoded)
        {
            return touches.clone();
        }
        let factory = &mut self.machine.factory;
        let touches = of_registers(decoded, &self.followed, state, factory);
        if decoded.instruction.mnemonic() != Mnemonic::Syscall {
            let known = (Rc::clone(decoded), touches.clone());
            self.known.insert(decoded.pc, known);
        }
        touches
    }

    /// The instruction at `index` has touched some bits: what was known of them ends, and begins anew.
    fn take(&mut self, touch: Touch, index: u64, pc: u64, after: &State) {
        let overwritten = touch.written & !touch.used;
        let fates = [
            (touch.used, Fate::Read { index, pc }),
            (overwritten, Fate::Overwritten { index }),
        ];
        let groups = std::mem::take(&mut self.followed[touch.which].groups);
        let mut kept = Vec::new();
        let mut fresh = Bits::ZERO;
        for mut group in groups {
            for (bits, fate) in fates {
                let bits = bits & group.bits;
                if !bits.is_zero() {
                    self.emit(touch.which, Group { bits, ..group }, index + 1, fate);
                    fresh = fresh | bits;
                }
            }
            group.bits = group.bits & !(touch.used | touch.written);
            if !group.bits.is_zero() {
                kept.push(group);
            }
        }
        if index + 1 < self.window.to && !fresh.is_zero() {
            kept.push(Group {
                bits: fresh,
                since: index + 1,
                value: self.value(touch.which, after) & fresh,
            });
        }
        self.followed[touch.which].groups = kept;
    }

    fn emit(&mut self, which: usize, group: Group, to: u64, fate: Fate) {
        let followed = &self.followed[which];
        self.intervals.push(Interval {
            location: followed.name.clone(),
            bits: group.bits.down(followed.offset),
            value: (group.value & group.bits).down(followed.offset),
            from: group.since,
            to: to.min(self.window.to),
            fate,
        });
    }

    /// What is still open is not known.
    fn close(&mut self) {
        for which in 0..self.followed.len() {
            for group in std::mem::take(&mut self.followed[which].groups) {
                self.emit(which, group, self.window.to, Fate::Unknown);
            }
        }
    }
}

fn of_registers(
    decoded: &Decoded,
    followed: &[Followed],
    state: &State,
    factory: &mut InstructionInfoFactory,
) -> Vec<Touch> {
    let mut all = Vec::new();
    for (which, one) in followed.iter().enumerate() {
        let Place::Cell(cell) = one.place else {
            continue;
        };
        let touched = touched(decoded, cell, state, factory);
        let (used, written) = (touched.used(), touched.written);
        if !(used | written).is_zero() {
            all.push(Touch {
                which,
                used,
                written,
            });
        }
    }
    all
}
