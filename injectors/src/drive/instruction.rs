//! Faults of the one instruction that executes next: prepared before it, completed after it.

use fits_stats::write::instruction_text;
use fits_tracer::live::Stepped;
use fits_tracer::step::Decoded;
use iced_x86::{FlowControl, Instruction};

use super::address::{self, Patch};
use super::machine::Machine;
use super::operands::{self, Part};
use super::state::{State, missing};
use super::track::Tracked;
use crate::bits::Bits;
use crate::fault::{Access, Change, Location, RegisterOperand};

/// Why a fault could not be carried out on an instruction.
#[derive(Debug)]
pub(super) enum Refused {
    /// It has no such operand.
    NoSuch(String),
    /// Something went wrong.
    Failed(String),
}

impl From<String> for Refused {
    fn from(sentence: String) -> Self {
        Self::Failed(sentence)
    }
}

impl Refused {
    pub(super) fn sentence(self) -> String {
        match self {
            Self::NoSuch(sentence) | Self::Failed(sentence) => sentence,
        }
    }
}

/// What was changed.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: String,
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    /// What shows whether it is read; none if the instruction itself has read it.
    pub(super) tracked: Option<Tracked>,
}

impl Record {
    pub(super) fn changed(&self) -> bool {
        self.before != self.after
    }
}

/// What is to be done after the instruction.
#[derive(Debug)]
enum Later {
    Nothing(Record),
    Destination(Part),
    Loaded {
        address: u64,
        original: Vec<u8>,
        altered: Vec<u8>,
        /// What the instruction itself writes: first address and length.
        written: Vec<(u64, u64)>,
        record: Record,
    },
    Stored {
        address: u64,
        bytes: usize,
    },
    Address(Patch, Record),
    Text {
        address: u64,
        original: Vec<u8>,
        record: Record,
    },
    OtherDirection,
    Target,
    Skip,
}

/// A fault between the two sides of an instruction.
#[derive(Debug)]
pub(super) struct Prepared {
    later: Later,
    /// The registers that the instruction begins with.
    begun: State,
}

impl Prepared {
    /// Whether the instruction is not to be executed.
    pub(super) fn skips(&self) -> bool {
        matches!(self.later, Later::Skip)
    }
}

/// What is done to which bits; `drawn` is what a random operation puts in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doing {
    pub(crate) change: Option<Change>,
    pub(crate) drawn: Bits,
}

impl Doing {
    /// What becomes of `old`, if all bits of the mask are within `width`.
    pub(crate) fn apply(&self, old: Bits, width: u32, what: &str) -> Result<Bits, String> {
        let Some(change) = self.change else {
            return Ok(old);
        };
        let highest = change.mask(width).width();
        if highest > width {
            return Err(format!(
                "bit {} is out of range: {what} has {width} bits, 0 to {}",
                highest - 1,
                width.saturating_sub(1)
            ));
        }
        Ok(change.apply(old, width, self.drawn) & Bits::ones(width))
    }

    fn apply_bytes(&self, old: &[u8], what: &str) -> Result<Vec<u8>, String> {
        let width = 8 * old.len() as u32;
        let new = self.apply(Bits::from_bytes(old), width, what)?;
        Ok(new.to_bytes(old.len()))
    }

    fn apply_u64(&self, old: u64) -> Result<u64, String> {
        Ok(self.apply(Bits::from_u64(old), 64, "an address")?.low())
    }
}

/// Does what is to be done before the instruction.
pub(super) fn prepare(
    machine: &mut Machine,
    decoded: &Decoded,
    location: &Location,
    doing: &Doing,
) -> Result<Prepared, Refused> {
    let state = machine.state().map_err(|error| error.to_string())?;
    let later = match location {
        Location::Source(operand) => source(machine, decoded, *operand, doing, &state)?,
        Location::Destination(operand) => {
            let part = pick(machine, decoded, *operand, Access::Write, &state)?;
            Later::Destination(part)
        }
        Location::Loaded(operand) => {
            let found = operands::memory(decoded, *operand, Access::Read, &state);
            let (access, all) = found.map_err(Refused::NoSuch)?;
            loaded(machine, &access, &all, doing, &state)?
        }
        Location::Stored(operand) => {
            let found = operands::memory(decoded, *operand, Access::Write, &state);
            let (access, _) = found.map_err(Refused::NoSuch)?;
            Later::Stored {
                address: access.address,
                bytes: fixed_width(access.bytes)?,
            }
        }
        Location::LoadAddress(operand) | Location::StoreAddress(operand) => {
            let direction = match location {
                Location::LoadAddress(_) => Access::Read,
                _ => Access::Write,
            };
            let found = operands::memory(decoded, *operand, direction, &state);
            let (access, all) = found.map_err(Refused::NoSuch)?;
            let wrong = doing.apply_u64(access.address)?;
            let record = now("the address", access.address, wrong);
            if record.changed() {
                let patch = address::patch(machine, decoded, &access, &all, wrong)?;
                Later::Address(patch, record)
            } else {
                Later::Nothing(record)
            }
        }
        Location::Text => text(machine, decoded, doing)?,
        Location::OtherDirection if is_conditional(&decoded.instruction) => Later::OtherDirection,
        Location::Target if decoded.instruction.flow_control() != FlowControl::Next => {
            Later::Target
        }
        Location::OtherDirection => {
            return Err(Refused::NoSuch(format!(
                "'{}' is no conditional branch",
                instruction_text(&decoded.instruction)
            )));
        }
        Location::Target => {
            return Err(Refused::NoSuch(format!(
                "'{}' is no branch",
                instruction_text(&decoded.instruction)
            )));
        }
        Location::Skip => Later::Skip,
        Location::Register(_) | Location::Memory(_) => {
            return Err(Refused::Failed("not a fault of an instruction".to_owned()));
        }
    };
    let begun = match &later {
        Later::Nothing(_) => machine.state().map_err(|error| error.to_string())?,
        _ => state,
    };
    Ok(Prepared { later, begun })
}

fn pick(
    machine: &mut Machine,
    decoded: &Decoded,
    operand: RegisterOperand,
    access: Access,
    state: &State,
) -> Result<Part, Refused> {
    if let RegisterOperand::Named(register) = operand
        && let Some(sentence) = missing(register)
    {
        return Err(Refused::Failed(sentence));
    }
    operands::register(decoded, operand, access, state, &mut machine.factory)
        .map_err(Refused::NoSuch)
}

fn source(
    machine: &mut Machine,
    decoded: &Decoded,
    operand: RegisterOperand,
    doing: &Doing,
    state: &State,
) -> Result<Later, Refused> {
    let part = pick(machine, decoded, operand, Access::Read, state)?;
    let (record, proof) = change_part(machine, &part, doing, state)?;
    proof?;
    Ok(Later::Nothing(Record {
        tracked: None,
        ..record
    }))
}

/// Changes a part of the state, the present one, and checks that nothing else changed.
pub(super) fn change_part(
    machine: &mut Machine,
    part: &Part,
    doing: &Doing,
    state: &State,
) -> Result<(Record, Result<(), String>), String> {
    let old = part.get(state);
    let new = doing.apply(old, part.width, &part.name)?;
    let mut after = state.clone();
    part.set(&mut after, new);
    let proof = machine.change_state(state, &after);
    let length = part.width.div_ceil(8) as usize;
    let changed = (old ^ new).up(part.offset);
    let record = Record {
        place: part.name.clone(),
        before: old.to_bytes(length),
        after: new.to_bytes(length),
        tracked: Some(Tracked::cell(part.cell, state.x87_top(), changed)),
    };
    Ok((record, proof))
}

fn fixed_width(bytes: usize) -> Result<usize, Refused> {
    match bytes {
        0 => Err(Refused::NoSuch(
            "what it accesses has no fixed width".to_owned(),
        )),
        bytes => Ok(bytes.min(64)),
    }
}

fn loaded(
    machine: &Machine,
    access: &super::accesses::Accessed,
    all: &[super::accesses::Accessed],
    doing: &Doing,
    state: &State,
) -> Result<Later, Refused> {
    let bytes = fixed_width(access.bytes)?;
    let original = machine.read(access.address, bytes);
    let original = original.map_err(Refused::NoSuch)?;
    let altered = doing.apply_bytes(&original, "the value")?;
    if altered != original {
        machine.write(access.address, &altered)?;
    }
    let written = all.iter().filter(|other| other.writes);
    Ok(Later::Loaded {
        address: access.address,
        written: written.map(|other| other.range(state)).collect(),
        record: Record {
            place: memory_name(access.address, bytes),
            before: original.clone(),
            after: altered.clone(),
            tracked: None,
        },
        original,
        altered,
    })
}

fn text(machine: &Machine, decoded: &Decoded, doing: &Doing) -> Result<Later, Refused> {
    let original = decoded.bytes.clone();
    let altered = doing.apply_bytes(&original, "the instruction")?;
    if altered != original {
        machine.write(decoded.pc, &altered)?;
    }
    Ok(Later::Text {
        address: decoded.pc,
        record: Record {
            place: memory_name(decoded.pc, original.len()),
            before: original.clone(),
            after: altered,
            tracked: None,
        },
        original,
    })
}

pub(super) fn memory_name(address: u64, bytes: usize) -> String {
    let plural = if bytes == 1 { "" } else { "s" };
    format!("{bytes} byte{plural} at {address:#x}")
}

fn now(place: &str, before: u64, after: u64) -> Record {
    Record {
        place: place.to_owned(),
        before: before.to_le_bytes().to_vec(),
        after: after.to_le_bytes().to_vec(),
        tracked: None,
    }
}

/// Whether it is a branch that is taken or not.
pub(crate) fn is_conditional(instruction: &Instruction) -> bool {
    instruction.is_jcc_short_or_near()
        || instruction.is_loop()
        || instruction.is_loopcc()
        || instruction.is_jcx_short()
}

/// Does what is to be done after the instruction, which has retired (or was skipped) unless a handler was entered or the thread has ended.
/// `None`: there was nothing to change, since it did not retire.
pub(super) fn complete(
    machine: &mut Machine,
    decoded: &Decoded,
    prepared: Prepared,
    doing: &Doing,
    stepped: Stepped,
) -> Result<Option<Record>, String> {
    let Prepared { later, begun } = prepared;
    match stepped {
        Stepped::Ended => return ended(later),
        Stepped::Handler { .. } => return interrupted(machine, later),
        Stepped::Retired => {}
    }
    let record = match later {
        Later::Nothing(record) => record,
        Later::Destination(part) => {
            let state = machine.state().map_err(|error| error.to_string())?;
            let (record, proof) = change_part(machine, &part, doing, &state)?;
            proof?;
            return Ok(Some(record));
        }
        Later::Loaded {
            address,
            original,
            altered,
            written,
            record,
        } => {
            let within = |place: u64| {
                written
                    .iter()
                    .any(|&(start, length)| place.wrapping_sub(start) < length)
            };
            restore(machine, address, &original, &altered, |place, _| {
                !within(place)
            })?;
            record
        }
        Later::Stored { address, bytes } => {
            let old = machine.read(address, bytes)?;
            let new = doing.apply_bytes(&old, "the value")?;
            if new != old {
                machine.write(address, &new)?;
            }
            let changed = Bits::from_bytes(&old) ^ Bits::from_bytes(&new);
            Record {
                place: memory_name(address, bytes),
                before: old,
                after: new,
                tracked: Some(Tracked::memory(address, changed)),
            }
        }
        Later::Address(patch, record) => {
            patch.retired(machine)?;
            record
        }
        Later::Text {
            address,
            original,
            record,
        } => {
            // Whatever has executed, and whatever that changed: it was no instruction of the program.
            restore(machine, address, &original, &record.after, |_, same| same)?;
            return Ok(Some(record));
        }
        Later::OtherDirection => {
            let target = decoded.instruction.near_branch_target();
            redirect(machine, |rip| {
                if rip == decoded.next() {
                    target
                } else {
                    decoded.next()
                }
            })?
        }
        Later::Target => {
            let not_taken = is_conditional(&decoded.instruction)
                && machine
                    .live
                    .registers()
                    .is_ok_and(|now| now.rip == decoded.next());
            let wrong = |rip| doing.apply_u64(rip);
            let rip = machine
                .live
                .registers()
                .map_err(|error| error.to_string())?
                .rip;
            // What is not taken goes nowhere else.
            let new = if not_taken { rip } else { wrong(rip)? };
            redirect(machine, |_| new)?
        }
        Later::Skip => {
            let next = decoded.next();
            redirect(machine, |_| next)?
        }
    };
    check_rest(machine, decoded, &begun)?;
    Ok(Some(record))
}

fn redirect(machine: &mut Machine, to: impl FnOnce(u64) -> u64) -> Result<Record, String> {
    let state = machine.state().map_err(|error| error.to_string())?;
    let mut after = state.clone();
    after.registers.rip = to(state.registers.rip);
    machine.change_state(&state, &after)?;
    Ok(now("rip", state.registers.rip, after.registers.rip))
}

/// Puts bytes back that hold what we have put there; `which` says where.
fn restore(
    machine: &Machine,
    address: u64,
    original: &[u8],
    altered: &[u8],
    which: impl Fn(u64, bool) -> bool,
) -> Result<(), String> {
    let mut bytes = machine.read(address, original.len())?;
    let present = bytes.clone();
    for (index, byte) in bytes.iter_mut().enumerate() {
        let same = *byte == altered[index];
        if which(address.wrapping_add(index as u64), same) {
            *byte = original[index];
        }
    }
    if bytes == present {
        return Ok(());
    }
    machine.write(address, &bytes)
}

/// The registers that the instruction does not change are as they were.
fn check_rest(machine: &mut Machine, decoded: &Decoded, begun: &State) -> Result<(), String> {
    let Some(allowed) = operands::may_change(decoded, &mut machine.factory) else {
        return Ok(());
    };
    let now = machine.state().map_err(|error| error.to_string())?;
    let others: Vec<String> = begun
        .differences(&now)
        .into_iter()
        .filter(|name| !allowed.contains(name))
        .collect();
    match others[..] {
        [] => Ok(()),
        _ => Err(format!("{} changed too", others.join(", "))),
    }
}

/// The thread is gone: what was done before the instruction has been done.
fn ended(later: Later) -> Result<Option<Record>, String> {
    Ok(match later {
        Later::Nothing(record)
        | Later::Loaded { record, .. }
        | Later::Address(_, record)
        | Later::Text { record, .. } => Some(record),
        _ => None,
    })
}

/// A handler was entered: nothing of ours may be left for it to see.
fn interrupted(machine: &mut Machine, later: Later) -> Result<Option<Record>, String> {
    Ok(match later {
        Later::Nothing(record) => Some(record),
        Later::Loaded {
            address,
            original,
            altered,
            record,
            ..
        } => {
            restore(machine, address, &original, &altered, |_, same| same)?;
            Some(record)
        }
        Later::Address(patch, record) => {
            patch.interrupted(machine)?;
            Some(record)
        }
        Later::Text {
            address,
            original,
            record,
        } => {
            restore(machine, address, &original, &record.after, |_, same| same)?;
            Some(record)
        }
        _ => None,
    })
}
