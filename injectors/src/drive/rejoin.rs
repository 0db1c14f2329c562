//! Early stop: whether a run with a fault comes back to the state of the fault-free run.
//!
//! At the moment, before anything is changed, the fault-free continuation is *rehearsed*: stepped, written down, and undone, so that the
//! process stands at the moment again. The faulty run is then stepped beside it. When it has the same registers after the same number of
//! instructions, and the same memory, whatever follows is the same too, and the run need not go on to its end.
//!
//! Only what can be undone is rehearsed: no system call, no signal, nothing that is counted or random, no memory that others see. Where such
//! an instruction comes next, in either run, nothing more is found out.

use std::rc::Rc;

use fits_tracer::backend::BackendError;
use fits_tracer::live::Stepped;
use fits_tracer::process::Mapping;
use fits_tracer::ptrace::Registers;
use fits_tracer::step::{Decoded, Kind};
use iced_x86::{CpuidFeature, Mnemonic};
use rustc_hash::FxHashMap;

use super::accesses::written_ranges;
use super::machine::Machine;
use super::state::State;
use super::touch::{Place, touched_place};
use crate::bits::Bits;

/// More than this is not remembered of one instruction, in bytes.
pub(crate) const LARGEST: u64 = 1 << 16;

/// A faulty run that has been elsewhere for so many instructions is not expected back at the same time.
const ASTRAY: u32 = 64;

/// Bytes before and after they were written.
#[derive(Debug)]
struct Written {
    address: u64,
    old: Vec<u8>,
    new: Vec<u8>,
}

/// The registers at a moment of the fault-free run.
#[derive(Debug)]
struct Standing {
    registers: Registers,
    extended: Rc<Vec<u8>>,
}

/// The fault-free run from a moment on, as far as it was rehearsed.
#[derive(Debug)]
struct Rehearsal {
    /// After 0, 1, 2, … instructions.
    standings: Vec<Standing>,
    /// What each instruction wrote.
    writes: Vec<Vec<Written>>,
}

/// What came of a rehearsal.
pub(super) enum Rehearsed {
    /// The process stands at the moment again.
    Done(Rejoin),
    /// The same, and the faulty run cannot come back within what was rehearsed.
    Hopeless,
    /// The process is not what it was: the run has to be brought to the moment anew, and not to be rehearsed.
    Spoilt,
}

/// A faulty run beside the fault-free one.
#[derive(Debug)]
pub(super) struct Rejoin {
    golden: Rehearsal,
    /// Index at the moment.
    start: u64,
    /// What the fault-free run has, now, where either of the two has written.
    memory: FxHashMap<u64, u8>,
    /// Where memory differed when it was last compared.
    differs: Option<u64>,
    mappings: Vec<Mapping>,
    astray: u32,
    over: bool,
}

/// Rehearses at most `steps` instructions; less if all of `changed`, which the fault will change, is overwritten before it is read.
pub(super) fn rehearse(
    machine: &mut Machine,
    steps: u64,
    mut changed: Option<(Place, Bits)>,
) -> Result<Rehearsed, BackendError> {
    if !machine.live.is_alone() {
        return Ok(Rehearsed::Hopeless);
    }
    let initial = machine.state()?;
    let start = machine.index;
    let mappings = machine.live.mappings()?;
    let mut golden = Rehearsal {
        standings: vec![Standing::of(&initial, None)],
        writes: Vec::new(),
    };
    let mut before = initial.clone();
    let mut untouched = changed.is_some();
    while machine.index - start < steps {
        let decoded = machine.decoded_at(before.registers.rip)?;
        let Some(decoded) = decoded.filter(|it| can_be_undone(it)) else {
            break;
        };
        let Some(mut written) = about_to_write(machine, &decoded, &before, &mappings) else {
            break;
        };
        if machine.step()? != Stepped::Retired {
            return Ok(Rehearsed::Spoilt);
        }
        for one in &mut written {
            match machine.read(one.address, one.old.len()) {
                Ok(new) => one.new = new,
                Err(_) => return Ok(Rehearsed::Spoilt),
            }
        }
        golden.writes.push(written);
        let after = after(machine, &decoded, &before)?;
        let last = golden.standings.last();
        golden.standings.push(Standing::of(&after, last));
        if let Some((place, bits)) = &mut changed {
            let touched = touched_place(&decoded, *place, &before, &mut machine.factory);
            if !(touched.used() & *bits).is_zero() {
                (changed, untouched) = (None, false);
            } else {
                *bits = *bits & !touched.written;
                if bits.is_zero() {
                    untouched = false;
                    break;
                }
            }
        }
        before = after;
    }
    if !undo(machine, &golden, &initial)? {
        return Ok(Rehearsed::Spoilt);
    }
    machine.index = start;
    Ok(if untouched {
        Rehearsed::Hopeless
    } else {
        machine.keep_account();
        Rehearsed::Done(Rejoin {
            golden,
            start,
            memory: FxHashMap::default(),
            differs: None,
            mappings,
            astray: 0,
            over: false,
        })
    })
}

/// The state after an instruction. What only computes with general registers leaves the others alone, and they take the longest to read.
fn after(machine: &Machine, decoded: &Decoded, before: &State) -> Result<State, BackendError> {
    if is_general(decoded) {
        return Ok(State {
            registers: machine.live.registers()?,
            xstate: before.xstate.clone(),
        });
    }
    machine.state()
}

fn is_general(decoded: &Decoded) -> bool {
    use CpuidFeature::{
        ADX, BMI1, BMI2, CMOV, CX8, INTEL186, INTEL286, INTEL386, INTEL486, INTEL8086, LZCNT,
        MOVBE, MULTIBYTENOP, POPCNT, X64,
    };
    let general = [
        INTEL8086,
        INTEL186,
        INTEL286,
        INTEL386,
        INTEL486,
        X64,
        CMOV,
        CX8,
        BMI1,
        BMI2,
        ADX,
        LZCNT,
        MOVBE,
        MULTIBYTENOP,
        POPCNT,
    ];
    let features = decoded.instruction.cpuid_features();
    features.iter().all(|feature| general.contains(feature))
}

/// Whether the process is what it was.
fn undo(machine: &mut Machine, golden: &Rehearsal, initial: &State) -> Result<bool, BackendError> {
    for one in golden.writes.iter().rev().flatten() {
        let changed = one.old != one.new;
        if changed && machine.live.memory().write(one.address, &one.old).is_err() {
            return Ok(false);
        }
    }
    let now = machine.state()?;
    Ok(machine.change_state(&now, initial).is_ok())
}

/// Whether nothing is left of an instruction when registers and memory are put back.
pub(crate) fn can_be_undone(decoded: &Decoded) -> bool {
    use Mnemonic::{Rdpid, Rdrand, Rdseed, Rdtsc, Rdtscp, Syscall, Wrpkru};
    let counted = matches!(
        decoded.instruction.mnemonic(),
        Rdpid | Rdrand | Rdseed | Rdtsc | Rdtscp | Syscall | Wrpkru
    );
    let plain = matches!(
        decoded.kind,
        Kind::Plain | Kind::Repeat | Kind::PushFlags | Kind::Cpuid
    );
    plain && !counted
}

/// The memory that an instruction will write, with what is there; none if that is not known, too much, not there, or seen by others.
fn about_to_write(
    machine: &Machine,
    decoded: &Decoded,
    state: &State,
    mappings: &[Mapping],
) -> Option<Vec<Written>> {
    let ranges = written_ranges(decoded, state)?;
    let mut all = Vec::with_capacity(ranges.len());
    for (address, length) in ranges {
        let end = address.checked_add(length)?;
        let shared = |one: &Mapping| one.shared && one.start < end && address < one.end;
        if length > LARGEST || mappings.iter().any(shared) {
            return None;
        }
        let old = machine.read(address, length as usize).ok()?;
        all.push(Written {
            address,
            old,
            new: Vec::new(),
        });
    }
    Some(all)
}

impl Standing {
    fn of(state: &State, last: Option<&Self>) -> Self {
        let extended = state.extended();
        Self {
            registers: state.registers,
            extended: match last {
                Some(last) if *last.extended == extended => Rc::clone(&last.extended),
                _ => Rc::new(extended),
            },
        }
    }
}

impl Rejoin {
    /// Whether nothing more can be found out.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// The faulty run is about to execute an instruction.
    pub(super) fn before(&mut self, machine: &Machine, decoded: &Decoded, state: &State) {
        if self.over {
            return;
        }
        self.account(machine);
        let written = about_to_write(machine, decoded, state, &self.mappings);
        match written.filter(|_| can_be_undone(decoded)) {
            Some(written) => written
                .iter()
                .for_each(|one| self.know(one.address, &one.old)),
            None => self.over = true,
        }
    }

    /// What the faults themselves have changed in memory.
    fn account(&mut self, machine: &Machine) {
        for (address, old) in machine.take_account() {
            self.know(address, &old);
        }
    }

    /// Memory that the faulty run changes now for the first time holds what it holds in the fault-free run.
    fn know(&mut self, address: u64, old: &[u8]) {
        for (place, &byte) in (address..).zip(old) {
            self.memory.entry(place).or_insert(byte);
        }
    }

    /// The faulty run has executed it.
    pub(super) fn after(&mut self, machine: &Machine, stepped: Stepped) {
        if stepped != Stepped::Retired {
            self.over = true;
        }
        if self.over {
            return;
        }
        let step = (machine.index - self.start) as usize;
        // What it did at the same time.
        let Some(golden) = step
            .checked_sub(1)
            .and_then(|last| self.golden.writes.get(last))
        else {
            self.over = true;
            return;
        };
        for one in golden {
            let bytes = (one.address..).zip(one.new.iter().copied());
            self.memory.extend(bytes);
        }
    }

    /// Whether the state is that of the fault-free run after as many instructions.
    pub(super) fn is_back(&mut self, machine: &Machine) -> Result<bool, BackendError> {
        if self.over {
            return Ok(false);
        }
        self.account(machine);
        let step = (machine.index - self.start) as usize;
        let Some(golden) = self.golden.standings.get(step) else {
            self.over = true;
            return Ok(false);
        };
        let last = step + 1 == self.golden.standings.len();
        let registers = machine.live.registers()?;
        if registers != golden.registers {
            self.astray = match registers.rip == golden.registers.rip {
                true => 0,
                false => self.astray + 1,
            };
            self.over = last || self.astray > ASTRAY;
            return Ok(false);
        }
        self.astray = 0;
        let extended = Rc::clone(&golden.extended);
        let same = self.same_memory(machine)
            && machine.state()?.extended() == *extended
            && machine.live.mappings()? == self.mappings;
        self.over = last;
        Ok(same)
    }

    fn same_memory(&mut self, machine: &Machine) -> bool {
        let same = |(&address, &byte): (&u64, &u8)| {
            let now = machine.read(address, 1);
            now.is_ok_and(|now| now == [byte])
        };
        // Where it differed it will mostly do so still.
        if let Some(place) = self.differs
            && let Some(one) = self.memory.get_key_value(&place)
            && !same(one)
        {
            return false;
        }
        self.differs = self
            .memory
            .iter()
            .find(|&one| !same(one))
            .map(|(&address, _)| address);
        self.differs.is_none()
    }
}
