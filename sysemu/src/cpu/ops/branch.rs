//! Near branches, calls and returns.

use crate::cpu::mmu::canonical;
use crate::cpu::op::Op;
use crate::cpu::state::{CS, CodeSize, Cpu};
use crate::cpu::trap::{GP0, Trap};
use crate::memory::Scalar;

impl Cpu {
    /// Checks the target of a branch against what the mode allows.
    #[inline(always)]
    pub(crate) fn branch_to(&mut self, target: u64) -> Result<(), Trap> {
        let bad = if self.code_size == CodeSize::Bits64 {
            !canonical(target)
        } else {
            target > u64::from(self.seg[CS].limit)
        };
        if bad {
            return Err(GP0);
        }
        self.jump(target);
        Ok(())
    }

    #[inline(always)]
    fn relative(&mut self, op: &Op) -> Result<(), Trap> {
        let target = self.rip().wrapping_add(op.imm) & op.mask;
        self.branch_to(target)
    }
}

/// `jmp` relative.
pub(crate) fn jmp(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.relative(op)
}

/// `jcc`; the condition is a constant, so that each has its own code.
pub(crate) fn jcc<const CONDITION: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.condition(CONDITION) {
        return cpu.relative(op);
    }
    Ok(())
}

/// `jcxz` and `loop`: `aux` is the count's size, `more` the kind.
pub(crate) fn loops(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    use crate::cpu::flags::ZF;
    let mask = u64::MAX >> (64 - 8 * u32::from(op.aux));
    let mut count = cpu.ctx.regs[1] & mask;
    let zero = cpu.ctx.status & ZF != 0;
    if op.more == 0 {
        return if count == 0 { cpu.relative(op) } else { Ok(()) };
    }
    count = count.wrapping_sub(1) & mask;
    let taken = count != 0
        && match op.more {
            1 => true,
            2 => zero,
            _ => !zero,
        };
    if taken {
        cpu.relative(op)?;
    }
    match op.aux {
        2 => cpu.set_reg::<u16>(1, count),
        4 => cpu.set_reg::<u32>(1, count),
        _ => cpu.set_reg::<u64>(1, count),
    }
    Ok(())
}

/// `jmp` to what a register holds.
pub(crate) fn jmp_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = T::from_u64(cpu.reg::<T>(op.dst)).to_u64();
    cpu.branch_to(target)
}

/// `jmp` to what memory holds.
pub(crate) fn jmp_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = cpu.load::<T>(op)?;
    cpu.branch_to(target)
}

#[inline(always)]
fn call_to<T: Scalar>(cpu: &mut Cpu, target: u64) -> Result<(), Trap> {
    let back = cpu.rip();
    let bad = if cpu.code_size == CodeSize::Bits64 {
        !canonical(target)
    } else {
        target > u64::from(cpu.seg[CS].limit)
    };
    if bad {
        return Err(GP0);
    }
    cpu.push::<T>(back)?;
    cpu.jump(target);
    Ok(())
}

/// `call` relative.
pub(crate) fn call<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = cpu.rip().wrapping_add(op.imm) & op.mask;
    call_to::<T>(cpu, target)
}

/// `call` of what a register holds.
pub(crate) fn call_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = T::from_u64(cpu.reg::<T>(op.dst)).to_u64();
    call_to::<T>(cpu, target)
}

/// `call` of what memory holds.
pub(crate) fn call_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = cpu.load::<T>(op)?;
    call_to::<T>(cpu, target)
}

/// `ret`; the immediate is added to the stack pointer.
pub(crate) fn ret<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let target = cpu.peek::<T>(0)?;
    cpu.branch_to(target)?;
    cpu.add_sp((T::BYTES as u64).wrapping_add(op.imm));
    Ok(())
}
