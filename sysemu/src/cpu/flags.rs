//! RFLAGS. The six status flags live in a form that the host reads and writes in two instructions: bit 0 is OF (`seto al`), the
//! second byte is SF, ZF, AF, PF, CF where `lahf` puts them.

use crate::cpu::state::Cpu;

/// Carry, in the packed form.
pub const CF: u16 = 1 << 8;
/// Parity.
pub const PF: u16 = 1 << 10;
/// Zero.
pub const ZF: u16 = 1 << 14;
/// Sign.
pub const SF: u16 = 1 << 15;
/// Overflow.
pub const OF: u16 = 1;
/// All status flags clear.
pub(crate) const STATUS_RESET: u16 = 1 << 9;

/// Single-step, in RFLAGS.
pub const TF: u64 = 1 << 8;
/// Interrupts are taken.
pub const IF: u64 = 1 << 9;
/// Strings run downwards.
pub const DF: u64 = 1 << 10;
/// I/O privilege level.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Instruction breakpoints are off for one instruction.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check, and access to user pages under SMAP.
pub const AC: u64 = 1 << 18;
/// Can be changed where there is CPUID.
pub const ID: u64 = 1 << 21;

const STATUS: u64 = 0x8d5;
/// What POPF and IRET can change at all.
pub(crate) const CHANGEABLE: u64 = STATUS | TF | IF | DF | IOPL | NT | RF | AC | ID;

impl Cpu {
    /// RFLAGS as programs see it.
    #[must_use]
    pub fn rflags(&self) -> u64 {
        let status = u64::from(self.ctx.status);
        (self.rflags & !STATUS) | 2 | (status >> 8 & 0xd5) | (status & 1) << 11
    }

    /// Sets all flags.
    pub fn set_rflags(&mut self, value: u64) {
        self.set_status(value);
        self.rflags = (value & CHANGEABLE & !STATUS) | 2;
        self.update_class();
    }

    pub(crate) fn set_status(&mut self, value: u64) {
        self.ctx.status = STATUS_RESET | ((value & 0xd5) << 8) as u16 | (value >> 11 & 1) as u16;
    }

    /// Condition code 0 to 15, as in `jcc`.
    #[inline(always)]
    pub(crate) fn condition(&self, code: u8) -> bool {
        let s = self.ctx.status;
        let differs = (s >> 15) ^ (s & 1) != 0;
        let holds = match code >> 1 {
            0 => s & OF != 0,
            1 => s & CF != 0,
            2 => s & ZF != 0,
            3 => s & (CF | ZF) != 0,
            4 => s & SF != 0,
            5 => s & PF != 0,
            6 => differs,
            _ => differs || s & ZF != 0,
        };
        holds != (code & 1 != 0)
    }
}
