//! The ways out of a unit.
//!
//! Direct branches are jumps that the runtime links. Indirect ones and returns go through the lookup table. A call pushes the
//! guest's return address and jumps, so the guest never finds a host address on its stack.

use super::TranslateError;
use super::decode::{End, Guest};
use super::registers::{Plan, R15, RCX, leaves_indirectly};
use super::sides;
use super::writer::{Cold, Writer};
use crate::layout::{LOOKUP, SOURCE, TARGET, home};
use crate::mode::Mode;
use crate::unit::{ExitKind, Place, Warm};
use fits_stats::template::row_header;
use iced_x86::{ConditionCode, Mnemonic, OpKind};

pub(super) const JMP: &[u8] = &[0xe9];

/// Emits everything after the unit's last ordinary instruction. For a branch that
/// [`leaves_indirectly`], [`load_target`] comes before.
pub(super) fn emit(writer: &mut Writer, plan: &Plan) -> Result<(), TranslateError> {
    let last = plan.block.guests.len();
    match plan.block.end {
        End::Cap(pc) | End::Cut(pc) => {
            before_direct(writer, plan, last);
            direct(writer, plan, JMP, pc, last);
        }
        End::Syscall(pc) => leave(writer, plan, ExitKind::Syscall(pc)),
        End::Slow(pc) => leave(writer, plan, ExitKind::Slow(pc)),
        End::Branch => branch(writer, plan, last - 1),
    }
    sides::emit(writer, plan)?;
    cold(writer, plan);
    Ok(())
}

/// Puts the target of an indirect branch into rcx and [`TARGET`], the guest's rcx into its home.
pub(super) fn load_target(
    writer: &mut Writer,
    number: usize,
    guest: &Guest,
) -> Result<(), TranslateError> {
    let instruction = &guest.instruction;
    writer.asm.save(RCX);
    writer.displace(number, RCX, Place::Home);
    match instruction.op0_kind() {
        _ if instruction.mnemonic() == Mnemonic::Ret => writer.asm.pop(RCX),
        OpKind::Register => {
            let register = super::registers::general(instruction.op0_register()).unwrap_or(RCX);
            if register != RCX {
                writer.asm.mov(RCX, register);
            }
        }
        _ => writer.load_operand(RCX, instruction, 0, 8)?,
    }
    writer.asm.store_context(TARGET, RCX);
    Ok(())
}

/// Bytes of a line of the cache.
const LINE: usize = 64;

/// How far ahead of the rows their lines are fetched: the statistics process has read them on another core, so that bringing one back takes
/// hundreds of nanoseconds, far more than a few rows.
const AHEAD: i32 = 1024;

/// Gives the unit's own registers back after `number` instructions: the row ends with its header, the cursor goes to r15.
pub(super) fn epilogue(writer: &mut Writer, plan: &Plan, number: usize) {
    if writer.row_bytes > 0 {
        let header = row_header(writer.leaving_as, writer.row_bytes as usize);
        writer.asm.store_header(plan.cursor, header);
        for line in (0..writer.row_bytes as i32).step_by(LINE) {
            writer.asm.prefetch_for_writing(plan.cursor, AHEAD + line);
        }
    }
    if let Some(scratch) = writer.scratch_saved.take() {
        writer.asm.restore(scratch);
        writer.settle(number, scratch);
    }
    let advance = match writer.request.mode {
        Mode::Budget => -(number as i32),
        Mode::Counts | Mode::Full => writer.row_bytes as i32,
    };
    if advance == 0 {
        return;
    }
    if plan.displaces_cursor() {
        // Whoever came by the warm entry may have left another value at home.
        if plan.writes_r15() || writer.warm_entry.is_some() {
            writer.asm.store_context(home(R15), R15);
        }
        writer.displace(number, R15, Place::Home);
        writer.asm.add(R15, plan.cursor, advance);
        writer.asm.restore(plan.cursor);
        writer.settle(number, plan.cursor);
        writer.cursor_in(number, R15);
    } else {
        writer.asm.add(R15, R15, advance);
    }
}

/// Ends the unit after `number` instructions, as far as that must be before [`direct`].
pub(super) fn before_direct(writer: &mut Writer, plan: &Plan, number: usize) {
    if writer.warm_entry.is_some() {
        writer.asm.add(plan.cursor, plan.cursor, -(number as i32));
    } else {
        epilogue(writer, plan, number);
    }
}

/// Emits a branch to what is at `pc`, after `number` instructions and [`before_direct`].
pub(super) fn direct(writer: &mut Writer, plan: &Plan, opcode: &[u8], pc: u64, number: usize) {
    let exit = writer.exit(ExitKind::Direct(pc));
    if writer.warm_entry.is_none() {
        writer.branch(opcode, exit);
        return;
    }
    let at = writer.asm.linkable(opcode);
    let moved = writer.moved();
    debug_assert_eq!(moved.1, plan.cursor);
    writer.cold.push(Cold {
        exit,
        at,
        executed: number,
        moved,
    });
}

/// What ways out with two jumps lead to at first: the budget goes to r15, and the second jump to the target.
fn cold(writer: &mut Writer, plan: &Plan) {
    for cold in std::mem::take(&mut writer.cold) {
        let otherwise = writer.asm.offset();
        writer.leads_inside(cold.at, otherwise);
        writer.exits[cold.exit].warm = Some(Warm {
            at: cold.at,
            otherwise,
        });
        writer.resume_with(cold.executed, cold.moved);
        writer.asm.store_context(home(R15), R15);
        writer.displace(cold.executed, R15, Place::Home);
        writer.asm.mov(R15, plan.cursor);
        writer.cursor_in(cold.executed, R15);
        writer.asm.restore(plan.cursor);
        writer.settle(cold.executed, plan.cursor);
        writer.branch(JMP, cold.exit);
    }
}

fn leave(writer: &mut Writer, plan: &Plan, kind: ExitKind) {
    epilogue(writer, plan, plan.block.guests.len());
    let exit = writer.exit(kind);
    writer.leave(exit);
}

fn branch(writer: &mut Writer, plan: &Plan, number: usize) {
    let guest = &plan.block.guests[number];
    let instruction = &guest.instruction;
    let (target, next) = (instruction.near_branch_target(), instruction.next_ip());
    if leaves_indirectly(guest) {
        return indirect(writer, plan, number);
    }
    if instruction.is_call_near() {
        return call(writer, plan, number, Some(target));
    }
    let number = number + 1;
    before_direct(writer, plan, number);
    if instruction.is_jcc_short_or_near() {
        let opcode = [0x0f, 0x80 + condition(instruction.condition_code())];
        direct(writer, plan, &opcode, target, number);
        direct(writer, plan, JMP, next, number);
    } else if instruction.is_jmp_short_or_near() {
        direct(writer, plan, JMP, target, number);
    } else {
        counted(writer, plan, guest, number);
    }
}

/// `jrcxz`, `loop` and their kin, which exist only with a displacement of one byte.
fn counted(writer: &mut Writer, plan: &Plan, guest: &Guest, number: usize) {
    let opcode = &guest.bytes[..guest.bytes.len() - 1];
    writer.asm.bytes(opcode);
    let at = writer.asm.offset();
    writer.asm.bytes(&[0]);
    direct(writer, plan, JMP, guest.instruction.next_ip(), number);
    let taken = writer.asm.offset();
    writer.leads_nearby(at, taken);
    let target = guest.instruction.near_branch_target();
    direct(writer, plan, JMP, target, number);
}

fn indirect(writer: &mut Writer, plan: &Plan, number: usize) {
    let instruction = &plan.block.guests[number].instruction;
    if instruction.is_call_near_indirect() {
        return call(writer, plan, number, None);
    }
    epilogue(writer, plan, number + 1);
    name_source(writer);
    if instruction.mnemonic() == Mnemonic::Ret {
        writer
            .asm
            .drop_stack(instruction.stack_pointer_increment() - 8);
    }
    writer.asm.low16(RCX);
    writer.asm.jump_table(RCX, LOOKUP);
}

/// Leaves the unit's number for the case that the branch turns out to fault. At level `full` the row says it.
fn name_source(writer: &mut Writer) {
    if writer.request.mode != Mode::Full {
        let id = writer.request.id;
        writer.asm.store_context_constant(SOURCE, id);
    }
}

/// A call: to `target`, or to where rcx says.
fn call(writer: &mut Writer, plan: &Plan, number: usize, target: Option<u64>) {
    let next = plan.block.guests[number].instruction.next_ip();
    writer.push(next);
    let number = number + 1;
    match target {
        Some(target) => {
            before_direct(writer, plan, number);
            direct(writer, plan, JMP, target, number);
        }
        None => {
            epilogue(writer, plan, number);
            name_source(writer);
            writer.asm.low16(RCX);
            writer.asm.jump_table(RCX, LOOKUP);
        }
    }
}

/// The low four bits of a conditional branch's opcode.
pub(super) fn condition(code: ConditionCode) -> u8 {
    use ConditionCode::{a, ae, b, be, e, g, ge, l, le, ne, no, np, ns, o, p, s};
    const ORDER: [ConditionCode; 16] = [o, no, b, ae, e, ne, be, a, s, ns, p, np, l, ge, le, g];
    ORDER.iter().position(|&known| known == code).unwrap_or(0) as u8
}
