//! Moves and exchanges.

use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::Trap;
use crate::memory::Scalar;

/// Register to register.
pub(crate) fn rr<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.reg::<T>(op.src);
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// Memory to register.
pub(crate) fn rm<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.load::<T>(op)?;
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// Register to memory.
pub(crate) fn mr<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.reg::<T>(op.src);
    cpu.store::<T>(op, value)
}

/// Immediate to register.
pub(crate) fn ri<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.set_reg::<T>(op.dst, op.imm);
    Ok(())
}

/// Immediate to memory.
pub(crate) fn mi<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.store::<T>(op, op.imm)
}

/// `lea`.
pub(crate) fn lea<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let address = cpu.ea(op);
    cpu.set_reg::<T>(op.dst, address);
    Ok(())
}

#[inline(always)]
fn extend<S: Scalar, const SIGNED: bool>(value: u64) -> u64 {
    let value = S::from_u64(value).to_u64();
    if !SIGNED {
        return value;
    }
    let unused = 64 - 8 * S::BYTES as u32;
    ((value << unused) as i64 >> unused) as u64
}

/// `movzx`, `movsx`, `movsxd` from a register.
pub(crate) fn extend_r<S: Scalar, T: Scalar, const SIGNED: bool>(
    cpu: &mut Cpu,
    op: &Op,
) -> Result<(), Trap> {
    let value = extend::<S, SIGNED>(cpu.reg::<S>(op.src));
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// From memory.
pub(crate) fn extend_m<S: Scalar, T: Scalar, const SIGNED: bool>(
    cpu: &mut Cpu,
    op: &Op,
) -> Result<(), Trap> {
    let value = extend::<S, SIGNED>(cpu.load::<S>(op)?);
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// `cbw`, `cwde`, `cdqe`: the accumulator from half its size.
pub(crate) fn widen<S: Scalar, T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let value = extend::<S, true>(cpu.ctx.regs[0]);
    cpu.set_reg::<T>(0, value);
    Ok(())
}

/// `cwd`, `cdq`, `cqo`: the sign of the accumulator.
pub(crate) fn sign<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let value = extend::<T, true>(cpu.ctx.regs[0]);
    cpu.set_reg::<T>(2, ((value as i64) >> 63) as u64);
    Ok(())
}

/// `xchg` of registers.
pub(crate) fn xchg_rr<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (a, b) = (cpu.reg::<T>(op.dst), cpu.reg::<T>(op.src));
    cpu.set_reg::<T>(op.dst, b);
    cpu.set_reg::<T>(op.src, a);
    Ok(())
}

/// `xchg` with memory.
pub(crate) fn xchg_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let new = cpu.reg::<T>(op.src);
    let mut old = 0;
    cpu.modify::<T>(op, |_, value| {
        old = value;
        new
    })?;
    cpu.set_reg::<T>(op.src, old);
    Ok(())
}

/// `cmovcc` from a register; the condition is in `aux`.
pub(crate) fn cmov_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let from = if cpu.condition(op.aux) {
        op.src
    } else {
        op.dst
    };
    let value = cpu.reg::<T>(from);
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// From memory, which is read in any case.
pub(crate) fn cmov_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let mut value = cpu.load::<T>(op)?;
    if !cpu.condition(op.aux) {
        value = cpu.reg::<T>(op.dst);
    }
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// `setcc` of a register.
pub(crate) fn set_r(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = u64::from(cpu.condition(op.aux));
    cpu.set_reg::<u8>(op.dst, value);
    Ok(())
}

/// Of memory.
pub(crate) fn set_m(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = u64::from(cpu.condition(op.aux));
    cpu.store::<u8>(op, value)
}

/// `bswap` of 32 or 64 bits.
pub(crate) fn bswap<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.reg::<T>(op.dst);
    let swapped = if T::BYTES == 4 {
        u64::from((value as u32).swap_bytes())
    } else {
        value.swap_bytes()
    };
    cpu.set_reg::<T>(op.dst, swapped);
    Ok(())
}

/// Nothing: `nop`, fences, prefetches, `pause`.
pub(crate) fn nothing(_: &mut Cpu, _: &Op) -> Result<(), Trap> {
    Ok(())
}

/// `xlat`.
pub(crate) fn xlat(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let offset = cpu.ctx.regs[3].wrapping_add(cpu.ctx.regs[0] & 0xff) & op.mask;
    let value = cpu.read::<u8>(op.seg, offset)?;
    cpu.set_reg::<u8>(0, value.into());
    Ok(())
}

/// `lahf`.
pub(crate) fn lahf(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let flags = cpu.rflags() & 0xff;
    cpu.set_reg::<u8>(crate::cpu::state::HIGH, flags);
    Ok(())
}

/// `sahf`.
pub(crate) fn sahf(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let overflow = cpu.rflags() & 1 << 11;
    let value = cpu.ctx.regs[0] >> 8 & 0xd5;
    cpu.set_status(value | overflow);
    Ok(())
}
