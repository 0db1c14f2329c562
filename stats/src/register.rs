//! Registers as statistics count them: one small number for each full register and each flag.

use crate::facts::FLAG_BITS;
use iced_x86::Register;
use serde::{Deserialize, Serialize};

/// A full register (`rax`, `zmm3`, `k1`, `st0`, `mm0`, `fs`) or a single flag (`cf`).
///
/// The numbering is stable within one version of fits: general registers in iced-x86's order (rax, rcx,
/// rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15), flags, vector, mask, x87, MMX and segment registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Reg(u8);

const FLAGS: u8 = 16;
const VECTORS: u8 = FLAGS + FLAG_BITS.len() as u8;
const MASKS: u8 = VECTORS + 32;
const X87: u8 = MASKS + 8;
const MMX: u8 = X87 + 8;
const SEGMENTS: u8 = MMX + 8;

const NAMES: [&str; Reg::COUNT] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "cf", "pf", "af", "zf", "sf", "df", "of", "if", "ac", "uif", "c0", "c1", "c2",
    "c3", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10",
    "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20",
    "zmm21", "zmm22", "zmm23", "zmm24", "zmm25", "zmm26", "zmm27", "zmm28", "zmm29", "zmm30",
    "zmm31", "k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7", "st0", "st1", "st2", "st3", "st4",
    "st5", "st6", "st7", "mm0", "mm1", "mm2", "mm3", "mm4", "mm5", "mm6", "mm7", "es", "cs", "ss",
    "ds", "fs", "gs",
];

impl Reg {
    /// How many registers and flags there are.
    pub const COUNT: usize = SEGMENTS as usize + 6;

    /// The full register that `register` is part of; none for `rip` and for registers that user programs
    /// can't name (control, debug, test, bound and tile registers).
    pub fn of(register: Register) -> Option<Self> {
        let full = register.full_register();
        let from = |base: u8, first: Register| Some(Reg(base + (full as u32 - first as u32) as u8));
        if full.is_gpr64() {
            from(0, Register::RAX)
        } else if full.is_zmm() {
            from(VECTORS, Register::ZMM0)
        } else if full.is_k() {
            from(MASKS, Register::K0)
        } else if full.is_st() {
            from(X87, Register::ST0)
        } else if full.is_mm() {
            from(MMX, Register::MM0)
        } else if full.is_segment_register() {
            from(SEGMENTS, Register::ES)
        } else {
            None
        }
    }

    /// The flags whose bits ([`iced_x86::RflagsBits`]) are set in `bits`.
    pub fn flags(bits: u32) -> impl Iterator<Item = Self> {
        let set = FLAG_BITS
            .iter()
            .enumerate()
            .filter(move |(_, bit)| bits & **bit != 0);
        set.map(|(number, _)| Reg(FLAGS + number as u8))
    }

    /// The number, below [`Reg::COUNT`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The register of that number, if there is one.
    pub fn from_index(index: usize) -> Option<Self> {
        (index < Self::COUNT).then_some(Reg(index as u8))
    }

    /// The name in `registers.csv`.
    pub fn name(self) -> &'static str {
        NAMES[self.index()]
    }

    /// All of them, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT as u8).map(Reg)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sub_register_has_the_name_of_its_full_one() {
        for (part, name) in [
            (Register::AL, "rax"),
            (Register::R15D, "r15"),
            (Register::YMM31, "zmm31"),
            (Register::K7, "k7"),
            (Register::ST3, "st3"),
            (Register::MM6, "mm6"),
            (Register::GS, "gs"),
        ] {
            assert_eq!(Reg::of(part).map(Reg::name), Some(name));
        }
        assert_eq!(Reg::of(Register::RIP), None);
        assert_eq!(Reg::of(Register::CR0), None);
    }
}
