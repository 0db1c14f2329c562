//! Names of what is counted in `registers.csv`: full registers, and flags one by one.

use std::fmt;

use iced_x86::{Register, RflagsBits};
use serde::{Deserialize, Serialize};

/// An arithmetic or control flag of `rflags`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flag {
    /// Carry.
    Cf,
    /// Parity.
    Pf,
    /// Adjust.
    Af,
    /// Zero.
    Zf,
    /// Sign.
    Sf,
    /// Overflow.
    Of,
    /// Direction.
    Df,
}

impl Flag {
    /// All of them, in the order of `registers.csv`.
    pub const ALL: [Flag; 7] = [
        Flag::Cf,
        Flag::Pf,
        Flag::Af,
        Flag::Zf,
        Flag::Sf,
        Flag::Of,
        Flag::Df,
    ];

    /// The lower-case name.
    pub fn name(self) -> &'static str {
        ["cf", "pf", "af", "zf", "sf", "of", "df"][self as usize]
    }

    /// The flag's bit in iced's [`RflagsBits`].
    pub fn iced_bit(self) -> u32 {
        match self {
            Flag::Cf => RflagsBits::CF,
            Flag::Pf => RflagsBits::PF,
            Flag::Af => RflagsBits::AF,
            Flag::Zf => RflagsBits::ZF,
            Flag::Sf => RflagsBits::SF,
            Flag::Of => RflagsBits::OF,
            Flag::Df => RflagsBits::DF,
        }
    }

    /// The flags that are set in a mask of iced's [`RflagsBits`].
    pub fn in_mask(mask: u32) -> impl Iterator<Item = Flag> {
        Flag::ALL
            .into_iter()
            .filter(move |flag| mask & flag.iced_bit() != 0)
    }
}

/// A full register or one flag. Sorted as in the files: registers as the processor numbers
/// them, then flags.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterId {
    /// A register; [`RegisterId::of`] makes sure that it is a full one.
    Register(Register),
    /// A flag.
    Flag(Flag),
}

impl RegisterId {
    /// One more than the largest [`RegisterId::index`].
    pub const COUNT: usize = 256 + Flag::ALL.len();

    /// The full register of `register` (`al` is `rax`, `xmm3` is `zmm3`).
    pub fn of(register: Register) -> Self {
        RegisterId::Register(register.full_register())
    }

    /// A small number for tables.
    pub fn index(self) -> usize {
        match self {
            RegisterId::Register(register) => register as usize,
            RegisterId::Flag(flag) => 256 + flag as usize,
        }
    }
}

impl fmt::Display for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegisterId::Register(register) => f.pad(&format!("{register:?}").to_ascii_lowercase()),
            RegisterId::Flag(flag) => f.pad(flag.name()),
        }
    }
}

impl fmt::Debug for RegisterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How a register or flag was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterStatistics {
    /// Executions of instructions that read it.
    pub reads: u64,
    /// Executions of instructions that write it.
    pub writes: u64,
    /// Points (instructions of any thread) at which it held a value that was still to be read;
    /// 0 at level `counts`.
    pub live_points: u64,
}

impl RegisterStatistics {
    /// Adds the counts of the same register from elsewhere.
    pub fn merge(&mut self, other: RegisterStatistics) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.live_points += other.live_points;
    }
}
