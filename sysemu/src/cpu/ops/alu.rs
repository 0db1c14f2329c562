//! Integer arithmetic: the host computes, see [`crate::cpu::host::alu`].

use crate::cpu::host::alu;
use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::{DE, Trap};
use crate::memory::Scalar;

/// Numbers of the two-operand instructions, as in their opcodes.
pub(crate) const CMP: u8 = 7;
/// `test` follows them here.
pub(crate) const TEST: u8 = 8;

#[inline(always)]
fn apply<T: Scalar, const OP: u8>(cpu: &mut Cpu, a: u64, b: u64) -> u64 {
    let flags = &mut cpu.ctx.status;
    match OP {
        0 => alu::add::<T>(a, b, flags),
        1 => alu::or::<T>(a, b, flags),
        2 => alu::adc::<T>(a, b, flags),
        3 => alu::sbb::<T>(a, b, flags),
        4 => alu::and::<T>(a, b, flags),
        5 => alu::sub::<T>(a, b, flags),
        6 => alu::xor::<T>(a, b, flags),
        7 => alu::cmp::<T>(a, b, flags),
        _ => alu::test::<T>(a, b, flags),
    }
}

/// Register, register.
pub(crate) fn rr<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (a, b) = (cpu.reg::<T>(op.dst), cpu.reg::<T>(op.src));
    let result = apply::<T, OP>(cpu, a, b);
    if OP < CMP {
        cpu.set_reg::<T>(op.dst, result);
    }
    Ok(())
}

/// Register, immediate.
pub(crate) fn ri<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let a = cpu.reg::<T>(op.dst);
    let result = apply::<T, OP>(cpu, a, op.imm);
    if OP < CMP {
        cpu.set_reg::<T>(op.dst, result);
    }
    Ok(())
}

/// Register, memory.
pub(crate) fn rm<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.load::<T>(op)?;
    let a = cpu.reg::<T>(op.dst);
    let result = apply::<T, OP>(cpu, a, b);
    if OP < CMP {
        cpu.set_reg::<T>(op.dst, result);
    }
    Ok(())
}

/// Memory, register.
pub(crate) fn mr<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.reg::<T>(op.src);
    if OP < CMP {
        return cpu.modify::<T>(op, |cpu, a| apply::<T, OP>(cpu, a, b));
    }
    let a = cpu.load::<T>(op)?;
    apply::<T, OP>(cpu, a, b);
    Ok(())
}

/// Memory, immediate.
pub(crate) fn mi<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = op.imm;
    if OP < CMP {
        return cpu.modify::<T>(op, |cpu, a| apply::<T, OP>(cpu, a, b));
    }
    let a = cpu.load::<T>(op)?;
    apply::<T, OP>(cpu, a, b);
    Ok(())
}

/// One-operand instructions: `inc`, `dec`, `not`, `neg`.
#[inline(always)]
fn apply_one<T: Scalar, const OP: u8>(cpu: &mut Cpu, a: u64) -> u64 {
    let flags = &mut cpu.ctx.status;
    match OP {
        0 => alu::inc::<T>(a, flags),
        1 => alu::dec::<T>(a, flags),
        2 => !a,
        _ => alu::neg::<T>(a, flags),
    }
}

/// On a register.
pub(crate) fn one_r<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let a = cpu.reg::<T>(op.dst);
    let result = apply_one::<T, OP>(cpu, a);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// On memory.
pub(crate) fn one_m<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.modify::<T>(op, apply_one::<T, OP>)
}

/// Shifts and rotates, numbered as in their opcodes (6 is another `shl`).
#[inline(always)]
fn apply_shift<T: Scalar, const OP: u8>(cpu: &mut Cpu, a: u64, count: u8) -> u64 {
    let flags = &mut cpu.ctx.status;
    match OP {
        0 => alu::rol::<T>(a, count, flags),
        1 => alu::ror::<T>(a, count, flags),
        2 => alu::rcl::<T>(a, count, flags),
        3 => alu::rcr::<T>(a, count, flags),
        4 | 6 => alu::shl::<T>(a, count, flags),
        5 => alu::shr::<T>(a, count, flags),
        _ => alu::sar::<T>(a, count, flags),
    }
}

/// The count: `cl` where `aux` is set, else immediate.
#[inline(always)]
fn count(cpu: &Cpu, op: &Op) -> u8 {
    if op.aux != 0 {
        cpu.ctx.regs[1] as u8
    } else {
        op.imm as u8
    }
}

/// Shift of a register.
pub(crate) fn shift_r<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let count = count(cpu, op);
    let a = cpu.reg::<T>(op.dst);
    let result = apply_shift::<T, OP>(cpu, a, count);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// Shift of memory.
pub(crate) fn shift_m<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let count = count(cpu, op);
    cpu.modify::<T>(op, |cpu, a| apply_shift::<T, OP>(cpu, a, count))
}

/// `imul` of two operands, or of three with the immediate.
pub(crate) fn imul_rr<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (a, b) = (cpu.reg::<T>(op.dst), cpu.reg::<T>(op.src));
    let result = alu::imul::<T>(a, b, &mut cpu.ctx.status);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// With memory.
pub(crate) fn imul_rm<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.load::<T>(op)?;
    let a = cpu.reg::<T>(op.dst);
    let result = alu::imul::<T>(a, b, &mut cpu.ctx.status);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// Register times immediate.
pub(crate) fn imul_rri<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.reg::<T>(op.src);
    let result = alu::imul::<T>(b, op.imm, &mut cpu.ctx.status);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// Memory times immediate.
pub(crate) fn imul_rmi<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.load::<T>(op)?;
    let result = alu::imul::<T>(b, op.imm, &mut cpu.ctx.status);
    cpu.set_reg::<T>(op.dst, result);
    Ok(())
}

/// `mul`, `imul`, `div`, `idiv` of the accumulator.
#[inline(always)]
fn accumulate<T: Scalar, const OP: u8>(cpu: &mut Cpu, by: u64) -> Result<(), Trap> {
    let (low, high) = (cpu.ctx.regs[0], cpu.ctx.regs[2]);
    let flags = &mut cpu.ctx.status;
    let (low, high) = match OP {
        0 => alu::mul::<T>(low, by, high, flags),
        1 => alu::imul_wide::<T>(low, by, high, flags),
        2 => alu::div::<T>(low, high, by, flags).ok_or(Trap::plain(DE))?,
        _ => alu::idiv::<T>(low, high, by, flags).ok_or(Trap::plain(DE))?,
    };
    if T::BYTES == 1 {
        cpu.set_reg::<u16>(0, low);
    } else {
        cpu.set_reg::<T>(0, low);
        cpu.set_reg::<T>(2, high);
    }
    Ok(())
}

/// By a register.
pub(crate) fn wide_r<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let by = cpu.reg::<T>(op.dst);
    accumulate::<T, OP>(cpu, by)
}

/// By memory.
pub(crate) fn wide_m<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let by = cpu.load::<T>(op)?;
    accumulate::<T, OP>(cpu, by)
}

/// `xadd` to a register.
pub(crate) fn xadd_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (a, b) = (cpu.reg::<T>(op.dst), cpu.reg::<T>(op.src));
    let sum = alu::add::<T>(a, b, &mut cpu.ctx.status);
    cpu.set_reg::<T>(op.src, a);
    cpu.set_reg::<T>(op.dst, sum);
    Ok(())
}

/// `xadd` to memory.
pub(crate) fn xadd_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.reg::<T>(op.src);
    let mut old = 0;
    cpu.modify::<T>(op, |cpu, a| {
        old = a;
        alu::add::<T>(a, b, &mut cpu.ctx.status)
    })?;
    cpu.set_reg::<T>(op.src, old);
    Ok(())
}

/// `cmpxchg` with a register.
pub(crate) fn cmpxchg_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (a, b) = (cpu.reg::<T>(op.dst), cpu.reg::<T>(op.src));
    let accumulator = cpu.ctx.regs[0];
    alu::cmp::<T>(accumulator, a, &mut cpu.ctx.status);
    if T::from_u64(accumulator).to_u64() == T::from_u64(a).to_u64() {
        cpu.set_reg::<T>(op.dst, b);
    } else {
        cpu.set_reg::<T>(0, a);
    }
    Ok(())
}

/// `cmpxchg` with memory, which is written in any case.
pub(crate) fn cmpxchg_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.reg::<T>(op.src);
    let accumulator = T::from_u64(cpu.ctx.regs[0]).to_u64();
    let mut old = 0;
    cpu.modify::<T>(op, |cpu, a| {
        old = a;
        alu::cmp::<T>(accumulator, a, &mut cpu.ctx.status);
        if a == accumulator { b } else { a }
    })?;
    if old != accumulator {
        cpu.set_reg::<T>(0, old);
    }
    Ok(())
}
