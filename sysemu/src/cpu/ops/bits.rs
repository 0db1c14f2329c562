//! Bit tests and scans.

use crate::cpu::host::alu;
use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::Trap;
use crate::memory::Scalar;

/// `bt`, `bts`, `btr`, `btc`.
#[inline(always)]
fn apply<T: Scalar, const OP: u8>(cpu: &mut Cpu, a: u64, bit: u64) -> u64 {
    let flags = &mut cpu.ctx.status;
    match OP {
        0 => alu::bt::<T>(a, bit, flags),
        1 => alu::bts::<T>(a, bit, flags),
        2 => alu::btr::<T>(a, bit, flags),
        _ => alu::btc::<T>(a, bit, flags),
    }
}

/// The bit's number: immediate where `aux` is set, else a register.
#[inline(always)]
fn number<T: Scalar>(cpu: &Cpu, op: &Op) -> u64 {
    if op.aux != 0 {
        op.imm & (8 * T::BYTES as u64 - 1)
    } else {
        cpu.reg::<T>(op.src)
    }
}

/// In a register.
pub(crate) fn test_r<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let bit = number::<T>(cpu, op);
    let a = cpu.reg::<T>(op.dst);
    let result = apply::<T, OP>(cpu, a, bit);
    if OP != 0 {
        cpu.set_reg::<T>(op.dst, result);
    }
    Ok(())
}

/// In memory: a register's number reaches beyond the operand.
pub(crate) fn test_m<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let bit = number::<T>(cpu, op);
    let bits = 8 * T::BYTES as u32;
    let mut moved = op.clone();
    if op.aux == 0 {
        let signed = ((bit << (64 - bits)) as i64) >> (64 - bits);
        let words = signed >> bits.trailing_zeros();
        moved.disp = op.disp.wrapping_add((words * T::BYTES as i64) as u64);
    }
    if OP == 0 {
        let a = cpu.load::<T>(&moved)?;
        apply::<T, OP>(cpu, a, bit);
        return Ok(());
    }
    cpu.modify::<T>(&moved, |cpu, a| apply::<T, OP>(cpu, a, bit))
}

/// `bsf`, `bsr`; the destination keeps its value where there is no bit.
#[inline(always)]
fn scan<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op, b: u64) {
    let old = cpu.reg::<u64>(op.dst);
    let flags = &mut cpu.ctx.status;
    let result = match OP {
        0 => alu::bsf::<T>(old, b, flags),
        _ => alu::bsr::<T>(old, b, flags),
    };
    // As the host left it, upper half included.
    cpu.set_reg::<u64>(op.dst, result);
}

/// Of a register.
pub(crate) fn scan_r<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.reg::<T>(op.src);
    scan::<T, OP>(cpu, op, b);
    Ok(())
}

/// Of memory.
pub(crate) fn scan_m<T: Scalar, const OP: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let b = cpu.load::<T>(op)?;
    scan::<T, OP>(cpu, op, b);
    Ok(())
}
