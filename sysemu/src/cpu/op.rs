//! A decoded instruction: its handler and everything about its operands that is known beforehand.

use crate::cpu::state::{Cpu, HIGH, RIP};
use crate::cpu::trap::Trap;
use crate::memory::Scalar;

/// What executes an instruction. The instruction pointer is already behind it; a trap puts it back.
pub(crate) type Handler = fn(&mut Cpu, &Op) -> Result<(), Trap>;

/// A decoded instruction.
#[derive(Clone, Debug)]
pub(crate) struct Op {
    pub(crate) run: Handler,
    /// Immediate, or displacement of a branch.
    pub(crate) imm: u64,
    pub(crate) disp: u64,
    /// Address bits of the memory operand, or of the target of a branch.
    pub(crate) mask: u64,
    pub(crate) len: u8,
    pub(crate) dst: u8,
    pub(crate) src: u8,
    pub(crate) base: u8,
    pub(crate) index: u8,
    pub(crate) shift: u8,
    pub(crate) seg: u8,
    /// Operand size, condition, or what the handler likes.
    pub(crate) aux: u8,
    /// More of that.
    pub(crate) more: u32,
}

impl Cpu {
    /// The offset of the memory operand in its segment.
    #[inline(always)]
    pub(crate) fn ea(&self, op: &Op) -> u64 {
        let regs = &self.ctx.regs;
        let base = regs[usize::from(op.base & 31)];
        let index = regs[usize::from(op.index & 31)] << (op.shift & 7);
        base.wrapping_add(index).wrapping_add(op.disp) & op.mask
    }

    /// A general register, the higher bits being those of the 64-bit one (except for `ah` and its like).
    #[inline(always)]
    pub(crate) fn reg<T: Scalar>(&self, number: u8) -> u64 {
        if T::BYTES == 1 && number >= HIGH {
            return self.ctx.regs[usize::from(number & 3)] >> 8 & 0xff;
        }
        self.ctx.regs[usize::from(number & 31)]
    }

    /// Sets a general register the way instructions do: 32 bits clear the upper half, 8 and 16 keep the rest.
    #[inline(always)]
    pub(crate) fn set_reg<T: Scalar>(&mut self, number: u8, value: u64) {
        let number_full = usize::from(number & 31);
        match T::BYTES {
            1 if number >= HIGH => {
                let old = &mut self.ctx.regs[usize::from(number & 3)];
                *old = (*old & !0xff00) | (value & 0xff) << 8;
            }
            1 => {
                let old = &mut self.ctx.regs[number_full];
                *old = (*old & !0xff) | (value & 0xff);
            }
            2 => {
                let old = &mut self.ctx.regs[number_full];
                *old = (*old & !0xffff) | (value & 0xffff);
            }
            4 => self.ctx.regs[number_full] = value & 0xffff_ffff,
            _ => self.ctx.regs[number_full] = value,
        }
    }

    /// Reads the memory operand.
    #[inline(always)]
    pub(crate) fn load<T: Scalar>(&mut self, op: &Op) -> Result<u64, Trap> {
        let offset = self.ea(op);
        self.read::<T>(op.seg, offset).map(T::to_u64)
    }

    /// Writes the memory operand.
    #[inline(always)]
    pub(crate) fn store<T: Scalar>(&mut self, op: &Op, value: u64) -> Result<(), Trap> {
        let offset = self.ea(op);
        self.write::<T>(op.seg, offset, T::from_u64(value))
    }

    /// Reads the memory operand, changes it, writes it back.
    #[inline(always)]
    pub(crate) fn modify<T: Scalar>(
        &mut self,
        op: &Op,
        change: impl FnOnce(&mut Cpu, u64) -> u64,
    ) -> Result<(), Trap> {
        let offset = self.ea(op);
        let status = self.ctx.status;
        let old = self.read_for_write::<T>(op.seg, offset)?;
        let new = change(self, old.to_u64());
        self.write::<T>(op.seg, offset, T::from_u64(new))
            .inspect_err(|_| self.ctx.status = status)
    }

    /// The instruction pointer, which is behind the current instruction.
    #[inline(always)]
    pub(crate) fn rip(&self) -> u64 {
        self.ctx.regs[RIP]
    }

    /// Continues elsewhere.
    #[inline(always)]
    pub(crate) fn jump(&mut self, target: u64) {
        self.ctx.regs[RIP] = target;
    }
}
