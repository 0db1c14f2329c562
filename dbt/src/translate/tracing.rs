//! Level `full`: each execution of the unit leaves a row with every value that can't be derived.
//!
//! For each instruction: what it reads is captured (or found in the row already) before it executes, then it executes, then what it
//! wrote is captured. Addresses of memory accesses are made of captured registers.

use super::TranslateError;
use super::budget;
use super::capture::Capturer;
use super::decode::Guest;
use super::exits;
use super::loads::{self, Load};
use super::registers::{Plan, RCX, leaves_indirectly};
use super::semantics;
use super::sides;
use super::writer::Writer;
use fits_stats::facts::{Operand, OperandKind};
use fits_stats::template::Value;
use iced_x86::{Mnemonic, OpKind};

/// Emits the unit.
pub(super) fn body(writer: &mut Writer, plan: &Plan) -> Result<(), TranslateError> {
    prologue(writer, plan);
    let mut capturer = Capturer::new(writer, plan);
    for (number, guest) in plan.block.guests.iter().enumerate() {
        capturer.writer.point(number);
        let values = instruction(&mut capturer, number, guest)?;
        capturer.writer.values.push(values);
        if guest.goes_on {
            let row_bytes = capturer.state.row_bytes();
            let next = plan.block.guests[number + 1].pc();
            sides::branch(capturer.writer, number, &guest.instruction, next, row_bytes);
        }
    }
    let row_bytes = capturer.state.row_bytes();
    writer.row_bytes = if plan.block.guests.is_empty() {
        0
    } else {
        row_bytes
    };
    writer.main_row_bytes = writer.row_bytes;
    exits::emit(writer, plan)
}

fn prologue(writer: &mut Writer, plan: &Plan) {
    writer.point(0);
    if plan.block.guests.is_empty() {
        return;
    }
    budget::take_cursor(writer, plan);
}

/// The two values of an operand, as far as they are known.
#[derive(Clone, Default)]
struct Values {
    read: Option<Value>,
    written: Option<Value>,
}

fn instruction(
    capturer: &mut Capturer,
    number: usize,
    guest: &Guest,
) -> Result<Vec<Value>, TranslateError> {
    let load = loads::of(guest);
    let mut values = vec![Values::default(); guest.facts.operands.len()];
    for place in loads::captured_before(guest) {
        let operand = &guest.facts.operands[place];
        values[place].read = read(capturer, number, guest, operand, load)?;
    }
    capturer.addresses(number, guest)?;
    let stored = loads::stored(
        capturer,
        number,
        guest,
        values.iter().find_map(|values| values.read.clone()),
    )?;
    execute(capturer, number, guest)?;
    let written: Vec<u8> = guest
        .facts
        .writes
        .iter()
        .map(|reg| reg.index() as u8)
        .filter(|&reg| reg < 16)
        .collect();
    semantics::apply(&mut capturer.state, guest, &written);
    capturer.forget_written(guest);
    let loaded = loads::finish(capturer, number, guest, load)?;
    for (operand, values) in guest.facts.operands.iter().zip(&mut values) {
        if operand.read && values.read.is_none() {
            values.read = match operand.kind {
                OperandKind::Register(register) => Some(capturer.register(number, register)?),
                OperandKind::Memory => loaded.clone(),
            };
        }
        if operand.written {
            values.written = match operand.kind {
                OperandKind::Register(register) => {
                    Some(capturer.register_after(number, guest, register)?)
                }
                OperandKind::Memory if stored.is_some() => stored.clone(),
                OperandKind::Memory => Some(capturer.memory(number, guest, operand)?),
            };
        }
    }
    capturer.repeat(number, guest)?;
    Ok(flatten(&guest.facts.operands, values))
}

/// The value of an operand before the instruction; none if the instruction's result will tell it.
fn read(
    capturer: &mut Capturer,
    number: usize,
    guest: &Guest,
    operand: &Operand,
    load: Option<Load>,
) -> Result<Option<Value>, TranslateError> {
    match operand.kind {
        OperandKind::Register(register) => capturer.register(number, register).map(Some),
        OperandKind::Memory if load.is_some() => Ok(None),
        OperandKind::Memory if guest.facts.ends_block => Ok(None),
        OperandKind::Memory => capturer.memory_before(number, guest, operand).map(Some),
    }
}

fn execute(capturer: &mut Capturer, number: usize, guest: &Guest) -> Result<(), TranslateError> {
    if !guest.facts.ends_block {
        return capturer.writer.copy(number, guest);
    }
    if leaves_indirectly(guest) && !guest.goes_on {
        exits::load_target(capturer.writer, number, guest)?;
    }
    Ok(())
}

fn flatten(operands: &[Operand], values: Vec<Values>) -> Vec<Value> {
    let mut flat = Vec::new();
    for (operand, values) in operands.iter().zip(values) {
        if operand.read {
            flat.extend(values.read);
        }
        if operand.written {
            flat.extend(values.written);
        }
    }
    flat
}

/// The target that an indirect branch through memory loaded is in rcx.
pub(super) fn branch_target(guest: &Guest) -> Option<u8> {
    let memory = guest.facts.ends_block && guest.instruction.op0_kind() == OpKind::Memory;
    (memory && guest.instruction.mnemonic() != Mnemonic::Ret).then_some(RCX)
}
