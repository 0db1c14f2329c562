//! A tiny runtime for translated code: it handles the ways out, faults and the end of the stream's chunk, and compares after each stop.

mod tables;
mod zone;

use crate::case::{Case, Layout};
use crate::differ::difference;
use crate::error::Error;
use crate::machine::{Fault, Halt, Machine, State, TRAP_FLAG};
use crate::native::{End, Trace};
use crate::places::{AREA, STREAM, STREAM_BYTES};
use crate::rows::Expected;
use crate::start::{general, set_general};
use fits_dbt::layout::{COUNTERS, TARGET, TSC, TSC_START, home};
use fits_dbt::unit::{ExitKind, Moved, Place};
use fits_stats::facts::{MAX_BLOCK, ends_block};
use fits_stats::protocol::Level;
use fits_stats::template::Prefix;
use fits_tracer::ptrace::{Registers, Resume};
use iced_x86::{Decoder, DecoderOptions};
use zone::{Key, Zone};

/// How the sequence is cut into units, and where it stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Units of one instruction.
    Single,
    /// Whole units, with a stop after each.
    Whole,
    /// Whole units, linked to each other when first reached.
    Linked,
}

/// A difference between the bare CPU and translated code.
#[derive(Clone, Debug)]
pub struct Mismatch {
    /// Level of the translation.
    pub level: Level,
    /// How it was run.
    pub mode: Mode,
    /// How many instructions had retired.
    pub index: usize,
    /// What differs.
    pub text: String,
    /// The host code of the units.
    pub host: Vec<String>,
}

/// Ends a run: the fuzzer's own trouble, or a difference.
enum Stop {
    Error(Error),
    Difference(String),
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Stop::Error(error.into())
    }
}

fn differs<T>(text: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Difference(text.into()))
}

/// Bytes behind the stream's chunk in which a fault means that the chunk is full.
const GUARD_BYTES: u64 = 1 << 16;

struct Runtime<'a> {
    machine: &'a mut Machine,
    layout: &'a Layout,
    trace: &'a Trace,
    expected: &'a Expected<'a>,
    level: Level,
    mode: Mode,
    zone: Zone,
    /// The host's registers, as at a unit's boundary, except rip.
    registers: Registers,
    guest_gs: u64,
    /// Where the next unseen row is.
    cursor: u64,
    index: usize,
    /// How many blocks a unit may run through, beside the first.
    blocks: usize,
}

/// What comes after a stop.
struct Next {
    pc: u64,
    prefix: Option<Prefix>,
    /// What can be made to lead there.
    via: Via,
}

#[derive(Clone, Copy)]
enum Via {
    Nothing,
    /// Exit of a unit.
    Exit(usize, usize),
    Jump,
}

/// Runs the sequence translated, and compares it with `trace`.
///
/// # Errors
/// When the child ended.
pub fn run(
    machine: &mut Machine,
    case: &Case,
    layout: &Layout,
    expected: (&Trace, &Expected),
    level: Level,
    mode: Mode,
) -> Result<Option<Mismatch>, Error> {
    let (trace, expected) = expected;
    let mode = match (&trace.end, mode) {
        // Linked code would run past the cut.
        (End::Cut, Mode::Linked) => Mode::Whole,
        _ => mode,
    };
    let zone = Zone::new(machine.shared(), case.far, case.seed & 1 == 1, layout);
    let mut runtime = Runtime {
        machine,
        layout,
        trace,
        expected,
        level,
        mode,
        zone,
        registers: layout.start.registers,
        guest_gs: 0,
        cursor: STREAM + case.cursor,
        index: 0,
        blocks: (case.seed >> 3 & 3) as usize,
    };
    let result = runtime.run();
    let text = match result {
        Ok(()) => None,
        Err(Stop::Error(error)) => Some(error.to_string()),
        Err(Stop::Difference(text)) => Some(text),
    };
    let mismatch = text.map(|text| Mismatch {
        level,
        mode,
        index: runtime.index,
        text,
        host: runtime.zone.listing(),
    });
    runtime.zone.reset(runtime.machine.shared());
    Ok(mismatch)
}

impl Runtime<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        self.machine.shared().area[..0x1000].fill(0xa5);
        self.put(TSC, TSC_START);
        self.machine.load(&self.layout.start)?;
        self.enter(self.layout.start.registers);
        let mut next = Next {
            pc: self.layout.start.registers.rip,
            prefix: None,
            via: Via::Nothing,
        };
        loop {
            let retired = self.trace.steps.len();
            match self.trace.end {
                End::Cut | End::Left if self.index == retired => return Ok(()),
                _ if self.index > retired => return differs("ran past the end"),
                _ => {}
            }
            let key = Key {
                pc: next.pc,
                prefix: self.prefix(&next),
            };
            let path = self.path();
            let unit = self
                .zone
                .unit(self.machine.shared(), key, self.level, &path)
                .or_else(differs)?;
            if self.zone.units[unit].unit.template.instructions.is_empty() {
                let guest = self.at_boundary(next.pc);
                match self.slow(guest, next.prefix)? {
                    Some(after) => next = after,
                    None => return Ok(()),
                }
                continue;
            }
            if self.mode == Mode::Linked {
                self.zone
                    .link(self.machine.shared(), next.via, unit)
                    .or_else(differs)?;
            }
            match self.execute(unit)? {
                Some(after) => next = after,
                None => return Ok(()),
            }
        }
    }

    /// The block so far, as the translator is told: a long one makes it stop early.
    fn prefix(&self, next: &Next) -> Option<Prefix> {
        let retired = self.trace.steps.len();
        let instructions = match (self.mode, &self.trace.end) {
            (Mode::Single, _) => 1,
            (_, End::Cut) => (retired - self.index).min(MAX_BLOCK as usize) as u32,
            _ => return next.prefix,
        };
        Some(Prefix {
            pc: next.pc,
            instructions: MAX_BLOCK - instructions,
        })
    }

    /// Blocks that a unit may run through: those that come next on the bare CPU, mostly.
    fn path(&self) -> Vec<u64> {
        if self.mode == Mode::Single || matches!(self.trace.end, End::Cut) {
            return Vec::new();
        }
        let mut path = Vec::new();
        let retired = self.trace.steps.len();
        for place in self.index..retired {
            let step = &self.trace.steps[place];
            if ends_block(&step.instruction) && path.len() < self.blocks {
                let taken = self.trace.states[place + 1].registers.rip;
                // Now and then the way that is not taken.
                let turns = (self.index + place).is_multiple_of(5);
                path.push(if turns { step.next() } else { taken });
            }
        }
        path
    }

    fn get(&mut self, offset: i32) -> u64 {
        let at = offset as usize;
        let mut word = [0; 8];
        word.copy_from_slice(&self.machine.shared().area[at..at + 8]);
        u64::from_le_bytes(word)
    }

    fn put(&mut self, offset: i32, value: u64) {
        let at = offset as usize;
        self.machine.shared().area[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// From the guest's registers to those at a unit's boundary.
    fn enter(&mut self, guest: Registers) {
        self.registers = guest;
        self.guest_gs = guest.gs_base;
        self.registers.gs_base = AREA;
        if self.level == Level::Full {
            self.put(home(15), guest.r15);
            self.registers.r15 = self.cursor;
        }
    }

    /// The guest's registers, of which some are elsewhere.
    fn guest(&mut self, moved: &[Moved], pc: u64) -> Registers {
        let host = general(&self.registers);
        let mut values = host;
        for moved in moved {
            values[usize::from(moved.register)] = match moved.to {
                Place::Home => self.get(home(moved.register)),
                Place::Host(register) => host[usize::from(register)],
            };
        }
        let mut guest = self.registers;
        set_general(&mut guest, &values);
        guest.gs_base = self.guest_gs;
        guest.rip = pc;
        guest
    }

    fn at_boundary(&mut self, pc: u64) -> Registers {
        let moved = [Moved {
            register: 15,
            to: Place::Home,
        }];
        let count = usize::from(self.level == Level::Full);
        self.guest(&moved[..count], pc)
    }

    fn state(&mut self, registers: Registers) -> Result<State, Stop> {
        Ok(State {
            registers,
            extended: self.machine.extended()?,
            memory: self.machine.shared().memory.to_vec(),
        })
    }

    fn compare(&mut self, registers: Registers) -> Result<(), Stop> {
        let mut state = self.state(registers)?;
        let Some(expected) = self.trace.states.get(self.index) else {
            return differs("retired more instructions than the bare CPU");
        };
        if let Some((from, length)) = self.trace.ignored
            && self.index == self.trace.steps.len()
        {
            state.memory[from..from + length]
                .copy_from_slice(&expected.memory[from..from + length]);
        }
        difference(expected, &state).map_or(Ok(()), differs)
    }

    /// Compares a fault, with the guest's registers at it.
    fn compare_fault(&mut self, fault: Fault, registers: Registers) -> Result<(), Stop> {
        let retired = self.trace.steps.len();
        let End::Fault(expected, state) = &self.trace.end else {
            return differs(format!("{fault:x?} at {:#x}, natively none", registers.rip));
        };
        if self.index != retired {
            return differs(format!(
                "{fault:x?} at {:#x}, natively later",
                registers.rip
            ));
        }
        if *expected != fault {
            return differs(format!("{fault:x?}, natively {expected:x?}"));
        }
        let got = self.state(registers)?;
        match difference(state, &got) {
            Some(text) => differs(format!("at the fault: {text}")),
            None => Ok(()),
        }
    }

    /// At a fault in translated code: the state is the one at the fault, or (what was captured first has faulted) that before it.
    fn compare_fault_state(&mut self, registers: Registers) -> Result<(), Stop> {
        let got = self.state(registers)?;
        let before = difference(&self.trace.states[self.index], &got);
        let at = match &self.trace.end {
            End::Fault(_, state) => difference(state, &got),
            _ => before.clone(),
        };
        match (before, at) {
            (Some(_), Some(text)) => differs(format!("at the fault: {text}")),
            _ => Ok(()),
        }
    }

    /// A native single-step.
    fn slow(&mut self, guest: Registers, prefix: Option<Prefix>) -> Result<Option<Next>, Stop> {
        let pc = guest.rip;
        self.machine.set_registers(&guest)?;
        let inside = (pc - crate::places::CODE) as usize;
        let rest = self.layout.code.get(inside..).unwrap_or_default();
        let instruction = Decoder::with_ip(64, rest, pc, DecoderOptions::NONE).decode();
        let valid = (!instruction.is_invalid()).then_some(&instruction);
        let mut tsc = self.get(TSC);
        let halt = self.machine.step(valid, &mut tsc)?;
        self.put(TSC, tsc);
        let after = self.machine.registers()?;
        match halt {
            Halt::Hang => differs("hangs"),
            Halt::Fault(fault) => self.compare_fault(fault, after).map(|()| None),
            Halt::Trap => {
                self.index += 1;
                self.compare(after)?;
                self.enter(after);
                let so_far = prefix.unwrap_or(Prefix {
                    pc,
                    instructions: 0,
                });
                let longer = Prefix {
                    instructions: so_far.instructions + 1,
                    ..so_far
                };
                let over = ends_block(&instruction) || longer.instructions == MAX_BLOCK;
                Ok(Some(Next {
                    pc: after.rip,
                    prefix: (!over).then_some(longer),
                    via: Via::Nothing,
                }))
            }
        }
    }

    /// Enters a unit, and handles what comes of it. None: the run is over, and equal.
    fn execute(&mut self, unit: usize) -> Result<Option<Next>, Stop> {
        self.registers.rip = self.zone.units[unit].host;
        loop {
            self.machine.set_registers(&self.registers)?;
            let halt = self.machine.resume(Resume::Continue)?;
            self.registers = self.machine.registers()?;
            match halt {
                Halt::Hang => return differs("hangs"),
                Halt::Trap if self.is_stray_step() => self.registers.eflags &= !TRAP_FLAG,
                Halt::Trap => return self.left().map(Some),
                Halt::Fault(fault) if self.is_guard(fault) => self.next_chunk()?,
                Halt::Fault(fault) => return self.fault(fault).map(|()| None),
            }
        }
    }

    /// The kernel at times takes the trap flag of an earlier native single-step for the guest's own, and keeps it.
    fn is_stray_step(&self) -> bool {
        let before = self.registers.rip.wrapping_sub(1);
        self.registers.eflags & TRAP_FLAG != 0
            && !self.zone.is_miss(before)
            && self.zone.exit(before).is_none()
    }

    fn is_guard(&self, fault: Fault) -> bool {
        let behind = fault.address.wrapping_sub(STREAM + STREAM_BYTES);
        fault.signal == libc::SIGSEGV && behind < GUARD_BYTES && self.level == Level::Full
    }

    /// The row at hand goes to the start of the chunk, and execution goes on.
    fn next_chunk(&mut self) -> Result<(), Stop> {
        let at = self.registers.rip;
        let Some((unit, point)) = self.zone.point(at) else {
            return differs(format!(
                "the stream's chunk overflows at {at:#x}, no unit's"
            ));
        };
        let register = usize::from(point.cursor);
        let mut values = general(&self.registers);
        let row = values[register];
        self.rows(row)?;
        let from = row.wrapping_sub(STREAM) as usize;
        if from > STREAM_BYTES as usize || from < 4096 {
            return differs(format!(
                "{:?}'s cursor is {row:#x}",
                self.zone.units[unit].host
            ));
        }
        self.machine.shared().stream.copy_within(from.., 0);
        self.cursor = STREAM;
        values[register] = STREAM;
        set_general(&mut self.registers, &values);
        Ok(())
    }

    /// A unit was left at a trap.
    fn left(&mut self) -> Result<Next, Stop> {
        let at = self.registers.rip - 1;
        let next = if self.zone.is_miss(at) {
            self.indirect()
        } else {
            let Some((unit, number)) = self.zone.exit(at) else {
                return differs(format!("stopped at {at:#x}, which is no exit"));
            };
            let exit = &self.zone.units[unit].unit.exits[number];
            let prefix = exit.prefix;
            match exit.kind {
                ExitKind::Direct(pc) => Next {
                    pc,
                    prefix,
                    via: Via::Exit(unit, number),
                },
                ExitKind::Indirect => self.indirect(),
                ExitKind::Syscall(pc) | ExitKind::Slow(pc) => Next {
                    pc,
                    prefix,
                    via: Via::Nothing,
                },
            }
        };
        self.account(None)?;
        let guest = self.at_boundary(next.pc);
        self.compare(guest)?;
        Ok(next)
    }

    fn indirect(&mut self) -> Next {
        self.registers.rcx = self.get(home(1));
        Next {
            pc: self.get(TARGET),
            prefix: None,
            via: Via::Jump,
        }
    }

    /// Which units have run since the last stop: `index` goes on.
    fn account(&mut self, faulting: Option<(usize, bool)>) -> Result<(), Stop> {
        match self.level {
            Level::Full => {
                let cursor = self.registers.r15;
                self.rows(cursor)
            }
            Level::Counts => self.counters(faulting),
        }
    }

    /// Looks at the rows up to `end`.
    fn rows(&mut self, end: u64) -> Result<(), Stop> {
        while self.cursor != end {
            let from = self.cursor.wrapping_sub(STREAM) as usize;
            let to = end.wrapping_sub(STREAM) as usize;
            if to > STREAM_BYTES as usize || from + 4 > to {
                return differs(format!("the cursor is {end:#x} after {:#x}", self.cursor));
            }
            let rest = &self.machine.shared().stream[from..to];
            let header = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            let (id, bytes) = (header >> 10, 8 * (header & 0x3ff) as usize);
            let row = rest.get(..bytes).unwrap_or_default().to_vec();
            let Some(template) = self.zone.template(id).filter(|_| row.len() >= 4) else {
                return differs(format!("a row begins with {header:#x}"));
            };
            if template.row_bytes as usize != bytes {
                return differs(format!(
                    "a row has {bytes} bytes, not {}",
                    template.row_bytes
                ));
            }
            self.expected
                .check(template, &row, self.index)
                .or_else(differs)?;
            self.index += template.instructions.len();
            self.cursor += bytes as u64;
        }
        Ok(())
    }

    fn counters(&mut self, faulting: Option<(usize, bool)>) -> Result<(), Stop> {
        let mut units = 0;
        for id in self.zone.ids() {
            let count = self.get(COUNTERS + 8 * id as i32);
            let mut more = self.zone.count(id, count);
            if faulting.is_some_and(|(unit, counted)| counted && self.zone.id(unit) == id) {
                if more == 0 {
                    return differs("the faulting unit should have been counted already");
                }
                more -= 1;
            }
            if more > 1000 {
                return differs(format!("unit {id} was counted {more} times"));
            }
            units += more;
            let length = self
                .zone
                .template(id)
                .map_or(0, |template| template.instructions.len());
            self.index += more as usize * length;
        }
        let expected = u64::from(faulting.is_none());
        if self.mode != Mode::Linked && units != expected {
            return differs(format!("counted {units} units instead of {expected}"));
        }
        Ok(())
    }

    /// An instruction faulted in translated code.
    fn fault(&mut self, fault: Fault) -> Result<(), Stop> {
        let at = self.registers.rip;
        let Some((unit, point)) = self.zone.point(at) else {
            return differs(format!("{fault:x?} at {at:#x}, which is no unit's"));
        };
        let placed = &self.zone.units[unit];
        let counted = at - placed.host >= u64::from(placed.unit.counted_from);
        let number = usize::from(point.instruction);
        let Some(instruction) = placed.unit.template.instructions.get(number) else {
            return differs(format!("{fault:x?} at {at:#x}, past the last instruction"));
        };
        let pc = instruction.pc;
        match self.level {
            Level::Full => {
                let row = general(&self.registers)[usize::from(point.cursor)];
                self.rows(row)?;
            }
            Level::Counts => self.counters(Some((unit, counted)))?,
        }
        self.index += number;
        let guest = self.guest(&point.moved, pc);
        if self.index != self.trace.steps.len() {
            return differs(format!("{fault:x?} at {at:#x}, natively none"));
        }
        self.compare_fault_state(guest)?;
        // As the runtime does it: executed by itself, the instruction faults with everything that the guest may look at.
        match self.slow(guest, None)? {
            None => Ok(()),
            Some(_) => differs(format!("{fault:x?} at {at:#x}, but not by itself")),
        }
    }
}
