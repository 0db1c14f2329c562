//! Leaving a unit of several blocks before its end.
//!
//! A conditional branch inside the unit leads to a stub behind it. The stub does what the unit's end does, for the part that was
//! executed: that part has a number and a template of its own, so that a collector needs no notion of partly executed units.

use super::TranslateError;
use super::assembler::INT3;
use super::counting;
use super::exits::{JMP, before_direct, condition, direct};
use super::registers::Plan;
use super::writer::Writer;
use crate::mode::Mode;
use crate::unit::Moved;
use fits_stats::template::{UnitId, UnitTemplate};
use iced_x86::{Instruction, Mnemonic};

/// One way out before the end.
pub(super) struct Side {
    id: UnitId,
    /// How many instructions were executed.
    executed: usize,
    /// Where the guest goes.
    target: u64,
    /// The displacement of the branch that leads here.
    at: u32,
    row_bytes: u32,
    scratch: Option<u8>,
    moved: (Vec<Moved>, u8),
}

impl Side {
    /// Only a number for the first `executed` instructions.
    pub(super) fn at(id: UnitId, executed: usize) -> Self {
        Self {
            id,
            executed,
            target: 0,
            at: 0,
            row_bytes: 0,
            scratch: None,
            moved: (Vec::new(), 0),
        }
    }

    /// The template of the executed part of `main`.
    pub(super) fn template(&self, main: &UnitTemplate) -> UnitTemplate {
        let within = |instruction: u16| usize::from(instruction) < self.executed;
        UnitTemplate {
            id: self.id,
            ends_block: true,
            row_bytes: self.row_bytes,
            instructions: main.instructions[..self.executed].to_vec(),
            starts: main
                .starts
                .iter()
                .copied()
                .filter(|&start| within(start))
                .collect(),
            memory: main
                .memory
                .iter()
                .filter(|access| within(access.instruction))
                .copied()
                .collect(),
            ..*main
        }
    }
}

/// Emits instruction `number`, a direct branch or a return after which the unit goes on at `next`. `row_bytes` is the row's length so far.
pub(super) fn branch(
    writer: &mut Writer,
    number: usize,
    instruction: &Instruction,
    next: u64,
    row_bytes: u32,
) {
    if instruction.is_call_near() {
        writer.push(instruction.next_ip());
        return;
    }
    if instruction.mnemonic() == Mnemonic::Ret {
        // It goes where it must: `returns::target` says why.
        writer.asm.drop_stack(instruction.stack_pointer_increment());
        return;
    }
    if !instruction.is_jcc_short_or_near() {
        return;
    }
    let (taken, fall) = (instruction.near_branch_target(), instruction.next_ip());
    if taken == fall {
        return;
    }
    let code = condition(instruction.condition_code());
    let (code, target) = if next == taken {
        (code ^ 1, fall)
    } else {
        (code, taken)
    };
    let at = writer.asm.relative(&[0x0f, 0x80 + code]);
    let side = Side {
        id: writer.request.id + 1 + writer.sides.len() as UnitId,
        executed: number + 1,
        target,
        at,
        row_bytes,
        scratch: writer.scratch_saved,
        moved: writer.moved(),
    };
    writer.sides.push(side);
}

/// Emits the stubs of all sides.
pub(super) fn emit(writer: &mut Writer, plan: &Plan) -> Result<(), TranslateError> {
    writer.side_exits_from = writer.exits.len();
    let sides = std::mem::take(&mut writer.sides);
    for side in &sides {
        writer.asm.bytes(&[INT3]);
        let stub = writer.asm.offset();
        writer.leads_inside(side.at, stub);
        writer.resume_with(side.executed, side.moved.clone());
        writer.scratch_saved = side.scratch;
        writer.row_bytes = side.row_bytes;
        writer.leaving_as = side.id;
        before_direct(writer, plan, side.executed);
        if writer.request.mode == Mode::Counts {
            counting::at_side(writer, plan, side.executed, side.id);
        }
        direct(writer, plan, JMP, side.target, side.executed);
    }
    writer.sides = sides;
    Ok(())
}
