//! What translated code takes for granted: it is only entered where all of this still holds.

use crate::cpu::state::{CodeSize, Cpu};
use crate::cpu::tlb::{SLOW, SUPERVISOR, SUPERVISOR_AC, USER};

/// Privilege, access class, and which vector instructions may execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(u8);

const USER_BIT: u8 = 1;
const AC_BIT: u8 = 2;
const SSE_BIT: u8 = 4;
const AVX_BIT: u8 = 8;

impl Mode {
    /// The mode that the processor is in; none where code is not translated: outside of 64-bit mode, in the middle privilege levels, and where
    /// every access is checked (data breakpoints, alignment checks).
    #[inline(always)]
    pub(crate) fn of(cpu: &Cpu) -> Option<Mode> {
        if cpu.code_size != CodeSize::Bits64 || cpu.class == SLOW {
            return None;
        }
        let privilege = match (cpu.cpl, cpu.class) {
            (3, _) => USER_BIT,
            (0, SUPERVISOR_AC) => AC_BIT,
            (0, _) => 0,
            _ => return None,
        };
        let sse = if cpu.check_sse().is_ok() { SSE_BIT } else { 0 };
        let avx = if cpu.check_avx().is_ok() { AVX_BIT } else { 0 };
        Some(Mode(privilege | sse | avx))
    }

    pub(super) fn user(self) -> bool {
        self.0 & USER_BIT != 0
    }

    /// The class of data accesses.
    pub(super) fn class(self) -> usize {
        match self.0 & (USER_BIT | AC_BIT) {
            USER_BIT => USER,
            AC_BIT => SUPERVISOR_AC,
            _ => SUPERVISOR,
        }
    }

    /// Legacy vector instructions may execute.
    pub(super) fn sse(self) -> bool {
        self.0 & SSE_BIT != 0
    }

    /// VEX-encoded vector instructions may execute.
    pub(super) fn avx(self) -> bool {
        self.0 & AVX_BIT != 0
    }

    /// The same with RFLAGS.AC set or cleared (kernel only).
    pub(super) fn with_ac(self, set: bool) -> Mode {
        Mode(self.0 & !AC_BIT | if set { AC_BIT } else { 0 })
    }

    /// Which table of indirect jumps serves it; none has none.
    pub(super) fn jump_table(self) -> Option<usize> {
        (self.0 & AC_BIT == 0).then_some(usize::from(self.user()))
    }

    /// What decides whether the tables of indirect jumps are still right.
    pub(super) fn vector_bits(self) -> u8 {
        self.0 & (SSE_BIT | AVX_BIT)
    }
}
