//! The stack.

use crate::cpu::flags::{self, AC, CHANGEABLE, IF, IOPL, RF, VM};
use crate::cpu::op::Op;
use crate::cpu::state::{CodeSize, Cpu, RSP, SS};
use crate::cpu::trap::{GP0, Trap};
use crate::memory::Scalar;

const STACK: u8 = SS as u8;

impl Cpu {
    /// The bits of the stack pointer that count.
    #[inline(always)]
    pub(crate) fn stack_mask(&self) -> u64 {
        if self.code_size == CodeSize::Bits64 {
            u64::MAX
        } else if self.seg[SS].big() {
            0xffff_ffff
        } else {
            0xffff
        }
    }

    /// Moves the stack pointer.
    #[inline(always)]
    pub(crate) fn add_sp(&mut self, by: u64) {
        let value = self.ctx.regs[RSP].wrapping_add(by);
        self.set_sp(value);
    }

    #[inline(always)]
    pub(crate) fn set_sp(&mut self, value: u64) {
        match self.stack_mask() {
            0xffff => self.set_reg::<u16>(RSP as u8, value),
            0xffff_ffff => self.set_reg::<u32>(RSP as u8, value),
            _ => self.ctx.regs[RSP] = value,
        }
    }

    /// Pushes; nothing has happened where it faults.
    #[inline(always)]
    pub(crate) fn push<T: Scalar>(&mut self, value: u64) -> Result<(), Trap> {
        let at = self.ctx.regs[RSP].wrapping_sub(T::BYTES as u64);
        self.write::<T>(STACK, at & self.stack_mask(), T::from_u64(value))?;
        self.set_sp(at);
        Ok(())
    }

    /// What lies on the stack, `offset` bytes above its top.
    #[inline(always)]
    pub(crate) fn peek<T: Scalar>(&mut self, offset: u64) -> Result<u64, Trap> {
        let at = self.ctx.regs[RSP].wrapping_add(offset) & self.stack_mask();
        self.read::<T>(STACK, at).map(T::to_u64)
    }

    /// Pops.
    #[inline(always)]
    pub(crate) fn pop<T: Scalar>(&mut self) -> Result<u64, Trap> {
        let value = self.peek::<T>(0)?;
        self.add_sp(T::BYTES as u64);
        Ok(value)
    }
}

/// `push` of a register.
pub(crate) fn push_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.reg::<T>(op.dst);
    cpu.push::<T>(value)
}

/// Of memory.
pub(crate) fn push_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.load::<T>(op)?;
    cpu.push::<T>(value)
}

/// Of an immediate.
pub(crate) fn push_i<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.push::<T>(op.imm)
}

/// Of a segment register.
pub(crate) fn push_segment<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.seg[usize::from(op.dst) % 6].selector;
    cpu.push::<T>(value.into())
}

/// `pop` into a register.
pub(crate) fn pop_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.pop::<T>()?;
    cpu.set_reg::<T>(op.dst, value);
    Ok(())
}

/// Into memory: the address is formed with the stack pointer after the pop.
pub(crate) fn pop_m<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let before = cpu.ctx.regs[RSP];
    let value = cpu.pop::<T>()?;
    cpu.store::<T>(op, value)
        .inspect_err(|_| cpu.ctx.regs[RSP] = before)
}

/// Into a segment register.
pub(crate) fn pop_segment<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.peek::<T>(0)?;
    cpu.load_segment(usize::from(op.dst), value as u16)?;
    cpu.add_sp(T::BYTES as u64);
    if usize::from(op.dst) == SS {
        cpu.shadow = true;
    }
    cpu.block_limit = 0;
    Ok(())
}

/// `pusha`: `di` last.
pub(crate) fn pusha<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let before = cpu.ctx.regs[RSP];
    for register in 0..8 {
        let value = if register == RSP {
            before
        } else {
            cpu.ctx.regs[register]
        };
        cpu.push::<T>(value)
            .inspect_err(|_| cpu.ctx.regs[RSP] = before)?;
    }
    Ok(())
}

/// `popa`.
pub(crate) fn popa<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let mut values = [0; 8];
    for (index, value) in values.iter_mut().enumerate() {
        *value = cpu.peek::<T>((index * T::BYTES) as u64)?;
    }
    for (index, value) in values.into_iter().enumerate() {
        let register = 7 - index as u8;
        if usize::from(register) != RSP {
            cpu.set_reg::<T>(register, value);
        }
    }
    cpu.add_sp(8 * T::BYTES as u64);
    Ok(())
}

/// `pushf`.
pub(crate) fn pushf<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let flags = cpu.rflags() & !(RF | VM);
    cpu.push::<T>(flags)
}

/// `popf`: what may change depends on the privilege.
pub(crate) fn popf<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let value = cpu.pop::<T>()?;
    let mut may = CHANGEABLE & !RF;
    if cpu.cpl != 0 && cpu.protected() {
        may &= !IOPL;
    }
    if cpu.protected() && u64::from(cpu.cpl) > (cpu.rflags & IOPL) >> 12 {
        may &= !IF;
    }
    if T::BYTES == 2 {
        may &= 0xffff;
    }
    let old = cpu.rflags();
    cpu.set_rflags(((old & !may) | (value & may)) & !RF);
    cpu.block_limit = 0;
    Ok(())
}

/// `enter`: `imm` bytes of locals, `aux` levels.
pub(crate) fn enter<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let size = T::BYTES as u64;
    let mask = cpu.stack_mask();
    let before = cpu.ctx.regs[RSP];
    let base = cpu.ctx.regs[5];
    let undo = |cpu: &mut Cpu, trap: Trap| {
        cpu.ctx.regs[RSP] = before;
        trap
    };
    cpu.push::<T>(base)?;
    let frame = cpu.ctx.regs[RSP];
    let level = u64::from(op.aux & 31);
    for index in 1..level {
        let at = base.wrapping_sub(index * size) & mask;
        let value = cpu
            .read::<T>(STACK, at)
            .and_then(|value| cpu.push::<T>(value.to_u64()));
        value.map_err(|trap| undo(cpu, trap))?;
    }
    if level > 0 {
        let pushed = cpu.push::<T>(frame);
        pushed.map_err(|trap| undo(cpu, trap))?;
    }
    let top = cpu.ctx.regs[RSP].wrapping_sub(op.imm) & mask;
    // The processor makes sure that the new top can be written.
    let linear = cpu.linear(STACK, top, size, true)?;
    let probed = cpu.probe(STACK, linear, size, true);
    probed.map_err(|trap| undo(cpu, trap))?;
    cpu.set_sp(top);
    cpu.set_reg::<T>(5, frame);
    Ok(())
}

/// `leave`.
pub(crate) fn leave<T: Scalar>(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let base = cpu.ctx.regs[5];
    let value = cpu.read::<T>(STACK, base & cpu.stack_mask())?.to_u64();
    cpu.set_sp(base.wrapping_add(T::BYTES as u64));
    cpu.set_reg::<T>(5, value);
    Ok(())
}

/// `cli`, `sti`, and the flags that need no privilege: `aux` says which.
pub(crate) fn flag(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    match op.aux {
        0 => cpu.ctx.status &= !flags::CF,
        1 => cpu.ctx.status |= flags::CF,
        2 => cpu.ctx.status ^= flags::CF,
        3 => cpu.rflags &= !flags::DF,
        4 => cpu.rflags |= flags::DF,
        5 | 6 => {
            if cpu.protected() && u64::from(cpu.cpl) > (cpu.rflags & IOPL) >> 12 {
                return Err(GP0);
            }
            if op.aux == 5 {
                cpu.rflags &= !IF;
            } else {
                cpu.shadow = cpu.rflags & IF == 0;
                cpu.rflags |= IF;
            }
            cpu.block_limit = 0;
        }
        _ => {
            // `clac`, `stac`.
            if cpu.cpl != 0 {
                return Err(crate::cpu::trap::INVALID_OPCODE);
            }
            if op.aux == 7 {
                cpu.rflags &= !AC;
            } else {
                cpu.rflags |= AC;
            }
            cpu.update_class();
        }
    }
    Ok(())
}
