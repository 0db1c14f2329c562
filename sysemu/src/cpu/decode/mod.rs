//! From instructions to operations: operands resolved, the handler chosen. Pure, except for the stubs it adds.

mod arithmetic;
mod hosted;
mod moving;
mod systems;

use crate::cpu::host::Stubs;
use crate::cpu::op::{Handler, Op};
use crate::cpu::ops::system;
use crate::cpu::state::{CodeSize, DS, FS, HIGH, RIP, SS, ZERO};
use iced_x86::{Instruction, OpKind, Register};

pub(crate) use moving::condition;

/// There is no room for another stub: everything decoded must be forgotten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Picks the instance of a handler by operand size.
macro_rules! by_size {
    ($size:expr; $m:ident :: $f:ident $(, $constant:expr)*) => {
        match $size {
            1 => $m::$f::<u8 $(, { $constant })*> as Handler,
            2 => $m::$f::<u16 $(, { $constant })*> as Handler,
            4 => $m::$f::<u32 $(, { $constant })*> as Handler,
            _ => $m::$f::<u64 $(, { $constant })*> as Handler,
        }
    };
}
/// The same without bytes.
macro_rules! by_wide_size {
    ($size:expr; $m:ident :: $f:ident $(, $constant:expr)*) => {
        match $size {
            2 => $m::$f::<u16 $(, { $constant })*> as Handler,
            4 => $m::$f::<u32 $(, { $constant })*> as Handler,
            _ => $m::$f::<u64 $(, { $constant })*> as Handler,
        }
    };
}
/// Picks by a number, too.
macro_rules! by_number {
    ($number:expr; [$($n:literal),*]; $mac:ident; $size:expr; $m:ident :: $f:ident) => {
        match $number {
            $($n => $mac!($size; $m::$f, $n),)*
            _ => $crate::cpu::ops::system::undefined as Handler,
        }
    };
}
pub(crate) use {by_number, by_size, by_wide_size};

/// Decodes an instruction, whose address was given as 0.
///
/// # Errors
/// When a stub is needed and there is no room for it.
pub(crate) fn decode(i: &Instruction, mode: CodeSize, stubs: &mut Stubs) -> Result<Op, Full> {
    let mut op = operands(i, mode);
    if i.is_invalid() {
        op.run = system::undefined;
        return Ok(op);
    }
    let known = arithmetic::decode(i, &mut op)
        || moving::decode(i, mode, &mut op)
        || systems::decode(i, mode, &mut op);
    if !known {
        hosted::decode(i, &mut op, stubs)?;
    }
    Ok(op)
}

/// Everything about the operands that handlers commonly need.
fn operands(i: &Instruction, mode: CodeSize) -> Op {
    let mut op = Op {
        run: system::missing as Handler,
        imm: 0,
        disp: 0,
        mask: u64::MAX,
        len: i.len() as u8,
        dst: ZERO,
        src: ZERO,
        base: ZERO,
        index: ZERO,
        shift: 0,
        seg: 3,
        aux: 0,
        more: 0,
    };
    if has_memory(i) {
        address(i, mode, &mut op);
    }
    let register = |n: u32| (i.op_kind(n) == OpKind::Register).then(|| number(i.op_register(n)));
    if i.op_count() > 0 {
        op.dst = register(0).unwrap_or(ZERO);
    }
    if i.op_count() > 1 {
        op.src = register(1).unwrap_or(ZERO);
    }
    op
}

fn has_memory(i: &Instruction) -> bool {
    (0..i.op_count()).any(|n| i.op_kind(n) == OpKind::Memory)
}

fn address(i: &Instruction, mode: CodeSize, op: &mut Op) {
    let (base, index) = (i.memory_base(), i.memory_index());
    let relative = matches!(base, Register::RIP | Register::EIP);
    op.base = match base {
        Register::None => ZERO,
        _ if relative => RIP as u8,
        other => other.number() as u8,
    };
    op.index = match index {
        Register::None => ZERO,
        other => other.number() as u8,
    };
    op.shift = i.memory_index_scale().trailing_zeros() as u8;
    op.disp = i.memory_displacement64();
    if relative {
        op.disp = op.disp.wrapping_sub(i.len() as u64);
    }
    let bytes = if base != Register::None {
        base.size()
    } else if index != Register::None && index.is_gpr() {
        index.size()
    } else {
        i.memory_displ_size() as usize
    };
    op.mask = match bytes {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    };
    op.seg = i.memory_segment().number() as u8;
    if mode == CodeSize::Bits64 && usize::from(op.seg) < FS {
        // Prefixes of the other segments are ignored; what counts is which fault an address raises.
        op.seg = if matches!(op.base, 4 | 5) { SS } else { DS } as u8;
    }
}

/// The number of a register in the context; `ah` and its like have their own.
fn number(register: Register) -> u8 {
    if (Register::AH..=Register::BH).contains(&register) {
        return HIGH + (register as u8 - Register::AH as u8);
    }
    if (Register::SPL..=Register::R15L).contains(&register) {
        return 4 + (register as u8 - Register::SPL as u8);
    }
    if register.is_gpr() || register.is_segment_register() || register.is_vector_register() {
        return register.number() as u8;
    }
    if register.is_cr() || register.is_dr() {
        return register.number() as u8;
    }
    ZERO
}

/// Kinds of operands that families distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Register,
    Memory,
    Immediate,
    Other,
}

fn kind(i: &Instruction, n: u32) -> Kind {
    if n >= i.op_count() {
        return Kind::Other;
    }
    match i.op_kind(n) {
        OpKind::Register => Kind::Register,
        OpKind::Memory => Kind::Memory,
        OpKind::Immediate8
        | OpKind::Immediate8_2nd
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => Kind::Immediate,
        _ => Kind::Other,
    }
}

/// Size of operand 0 in bytes.
fn size(i: &Instruction) -> usize {
    operand_size(i, 0)
}

fn operand_size(i: &Instruction, n: u32) -> usize {
    match kind(i, n) {
        Kind::Register => i.op_register(n).size(),
        _ => i.memory_size().size(),
    }
}

/// Bytes that the instruction pushes or pops, without those of an immediate.
fn stack_size(i: &Instruction) -> usize {
    i.stack_pointer_increment().unsigned_abs() as usize
}

/// The bits of an address made with this register.
fn address_mask(base: Register) -> u64 {
    match base.size() {
        2 => 0xffff,
        4 => 0xffff_ffff,
        _ => u64::MAX,
    }
}
