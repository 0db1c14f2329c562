//! What looking ahead needs of a process that stands at a moment, and the two ways to have one.
//!
//! - A [`Machine`] of its own: it is stepped on and thrown away.
//! - A [`Visited`] one, which a walk past many moments shows: it is stepped by instructions that can be undone, and put back.

use std::rc::Rc;

use fits_tracer::backend::BackendError;
use fits_tracer::live::Stepped;
use fits_tracer::live::checkpoint::Standing;
use fits_tracer::process::{Mapping, maps};
use fits_tracer::ptrace::{Memory, Registers, XState};
use fits_tracer::step::{DecodeCache, Decoded, Kind};
use iced_x86::InstructionInfoFactory;

use super::ahead::{is_private, shares};
use crate::bits::Bits;
use crate::drive::accesses::written_ranges;
use crate::drive::effect::{Effect, Foreseen};
use crate::drive::instruction::Doing;
use crate::drive::machine::{LONGEST, Machine};
use crate::drive::operands::Part;
use crate::drive::rejoin::{LARGEST, can_be_undone};
use crate::drive::state::{State, missing};
use crate::drive::touch::{Place, physical};
use crate::fault::{Fault, Location, MemoryPlace, Operation, Place as Named};

/// A stopped fault-free process.
pub(super) trait Process {
    /// Instructions that its thread has retired.
    fn index(&self) -> u64;
    /// Address of the instruction that comes next.
    fn pc(&self) -> Result<u64, BackendError>;
    /// Its registers; x87, vector and mask registers if they are asked for.
    fn state(&self, extended: bool) -> Result<State, BackendError>;
    /// The instruction that comes next; none if it can't be fetched.
    fn decoded(&mut self) -> Result<Option<Rc<Decoded>>, BackendError>;
    /// Executes it. [`Stepped::Ended`]: nothing can be seen from here on.
    fn step(&mut self, decoded: &Decoded, state: &State) -> Result<Stepped, BackendError>;
    /// Memory.
    fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, String>;
    /// For facts about instructions.
    fn factory(&mut self) -> &mut InstructionInfoFactory;
    /// Whether nobody else can touch its private memory.
    fn is_alone(&self) -> bool;
    /// Whether this memory is private.
    fn is_private(&self, address: u64, bytes: u64) -> Result<bool, BackendError>;
    /// What a fault of a register or of memory would change now.
    fn foresee(&mut self, number: usize, fault: &Fault) -> Result<Foreseen, String>;
}

impl Process for Machine {
    fn index(&self) -> u64 {
        self.index
    }

    fn pc(&self) -> Result<u64, BackendError> {
        Ok(self.live.registers()?.rip)
    }

    fn state(&self, extended: bool) -> Result<State, BackendError> {
        self.glance(extended)
    }

    fn decoded(&mut self) -> Result<Option<Rc<Decoded>>, BackendError> {
        Machine::decoded(self)
    }

    fn step(&mut self, _: &Decoded, _: &State) -> Result<Stepped, BackendError> {
        Machine::step(self)
    }

    fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, String> {
        Machine::read(self, address, length)
    }

    fn factory(&mut self) -> &mut InstructionInfoFactory {
        &mut self.factory
    }

    fn is_alone(&self) -> bool {
        self.live.is_alone()
    }

    fn is_private(&self, address: u64, bytes: u64) -> Result<bool, BackendError> {
        is_private(&self.live, address, bytes)
    }

    fn foresee(&mut self, number: usize, fault: &Fault) -> Result<Foreseen, String> {
        Effect::new(self, number, fault).and_then(|mut effect| effect.foresee(self))
    }
}

/// What lasts from one moment of a walk to the next.
pub(super) struct Known {
    cache: DecodeCache,
    factory: InstructionInfoFactory,
    blank: XState,
}

impl Known {
    pub(super) fn new() -> Self {
        Self {
            cache: DecodeCache::default(),
            factory: InstructionInfoFactory::new(),
            blank: XState::zeroed(),
        }
    }
}

/// A process that a walk shows.
pub(super) struct Visited<'a, 'b> {
    standing: &'a mut Standing<'b>,
    known: &'a mut Known,
    memory: Memory,
    mappings: Vec<Mapping>,
    index: u64,
    /// Its registers.
    now: Registers,
    /// What it is put back to.
    registers: Registers,
    xstate: XState,
    mask: u64,
    /// What was in memory where it has written, oldest first.
    old: Vec<(u64, Vec<u8>)>,
}

const TRAP: u64 = 1 << (libc::SIGTRAP - 1);

/// Signals that an instruction can cause: the kernel takes the handler away from those that come while they are blocked.
const OWN: u64 = TRAP
    | 1 << (libc::SIGSEGV - 1)
    | 1 << (libc::SIGBUS - 1)
    | 1 << (libc::SIGFPE - 1)
    | 1 << (libc::SIGILL - 1);

/// Set by the processor around faults; no instruction can see it.
const RESUME_FLAG: u64 = 1 << 16;

impl<'a, 'b> Visited<'a, 'b> {
    /// Takes the process over, which stands at `index`.
    pub(super) fn begin(
        standing: &'a mut Standing<'b>,
        known: &'a mut Known,
        index: u64,
    ) -> Result<Self, BackendError> {
        let pid = standing.stopped.tid();
        standing.stopped.settle()?;
        let visited = Self {
            memory: Memory::open(pid)?,
            mappings: maps(pid)?,
            index,
            now: standing.registers,
            registers: standing.stopped.registers()?,
            xstate: standing.stopped.xstate()?,
            mask: standing.stopped.signal_mask()?,
            old: Vec::new(),
            standing,
            known,
        };
        visited.standing.stopped.set_signal_mask(!OWN)?;
        let mut registers = visited.standing.registers;
        registers.orig_rax = u64::MAX;
        visited.standing.stopped.set_registers(&registers)?;
        Ok(visited)
    }

    /// Puts it back.
    pub(super) fn end(self) -> Result<(), BackendError> {
        for (address, old) in self.old.iter().rev() {
            self.memory.write(*address, old)?;
        }
        let stopped = &self.standing.stopped;
        let mut registers = self.registers;
        registers.orig_rax = u64::MAX;
        stopped.set_xstate(&self.xstate)?;
        stopped.set_registers(&registers)?;
        stopped.set_signal_mask(self.mask)?;
        Ok(())
    }

    /// Remembers what an instruction may overwrite. False: that is not known, or can't be put back.
    fn remember(&mut self, decoded: &Decoded, state: &State) -> bool {
        if !can_be_undone(decoded) || decoded.kind == Kind::PushFlags || decoded.kind == Kind::Cpuid
        {
            return false;
        }
        let Some(ranges) = written_ranges(decoded, state) else {
            return false;
        };
        for (address, length) in ranges {
            let seen = length > LARGEST || shares(&self.mappings, address, length);
            let Ok(old) = self.read(address, length.min(LARGEST) as usize) else {
                return false;
            };
            if seen {
                return false;
            }
            self.old.push((address, old));
        }
        true
    }
}

impl Process for Visited<'_, '_> {
    fn index(&self) -> u64 {
        self.index
    }

    fn pc(&self) -> Result<u64, BackendError> {
        Ok(self.now.rip)
    }

    fn state(&self, extended: bool) -> Result<State, BackendError> {
        let mut registers = self.now;
        registers.eflags &= !RESUME_FLAG;
        Ok(State {
            registers,
            xstate: if extended {
                self.standing.stopped.xstate()?
            } else {
                self.known.blank.clone()
            },
        })
    }

    fn decoded(&mut self) -> Result<Option<Rc<Decoded>>, BackendError> {
        let pc = self.now.rip;
        let mut bytes = [0; LONGEST];
        let length = self.memory.read_some(pc, &mut bytes)?;
        let cache = &mut self.known.cache;
        if let Some(known) = cache.get(pc)
            && bytes[..length].starts_with(&known.bytes)
        {
            return Ok(Some(known));
        }
        let decoded = cache.decode(pc, &bytes[..length]);
        Ok(decoded.filter(|decoded| !decoded.instruction.is_invalid()))
    }

    fn step(&mut self, decoded: &Decoded, state: &State) -> Result<Stepped, BackendError> {
        if !self.remember(decoded, state) {
            return Ok(Stepped::Ended);
        }
        loop {
            if !self.standing.stopped.step_in_place()? {
                return Ok(Stepped::Handler { signal: 0 });
            }
            self.now = self.standing.stopped.registers()?;
            if decoded.kind != Kind::Repeat || self.now.rip != decoded.pc {
                self.index += 1;
                return Ok(Stepped::Retired);
            }
        }
    }

    fn read(&self, address: u64, length: usize) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; length];
        let read = self.memory.read(address, &mut bytes);
        read.map(|()| bytes).map_err(|error| error.to_string())
    }

    fn factory(&mut self) -> &mut InstructionInfoFactory {
        &mut self.known.factory
    }

    fn is_alone(&self) -> bool {
        // It is not stepped to later moments: the walk comes there.
        false
    }

    fn is_private(&self, address: u64, bytes: u64) -> Result<bool, BackendError> {
        Ok(!shares(&self.mappings, address, bytes))
    }

    fn foresee(&mut self, _: usize, fault: &Fault) -> Result<Foreseen, String> {
        let elsewhere = || "only a process of its own can tell".to_owned();
        let change = fault
            .change
            .filter(|change| change.operation != Operation::Random)
            .ok_or_else(elsewhere)?;
        let doing = Doing {
            change: Some(change),
            drawn: Bits::ZERO,
        };
        let state = self.state(true).map_err(|error| error.to_string())?;
        match &fault.location {
            Location::Register(register) => {
                if let Some(sentence) = missing(*register) {
                    return Err(sentence);
                }
                let part = Part::of(*register);
                let place = Place::Cell(physical(part.cell, state.x87_top()));
                Foreseen::of(place, part.get(&state), part.width, part.offset, &doing)
            }
            Location::Memory(place) => {
                let address = match place {
                    MemoryPlace::At(Named::Address(address)) => *address,
                    MemoryPlace::Stack(offset) => state.registers.rsp.wrapping_add_signed(*offset),
                    _ => return Err(elsewhere()),
                };
                let bytes = change.mask(Bits::WIDTH).width().div_ceil(8);
                let old = Bits::from_bytes(&self.read(address, bytes as usize)?);
                Foreseen::of(Place::Memory(address), old, 8 * bytes, 0, &doing)
            }
            _ => Err(elsewhere()),
        }
    }
}
