//! The registers of the processor by name.

use std::fmt;
use std::sync::LazyLock;

/// A register, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegisterName {
    /// Which one.
    pub family: Family,
    /// The lowest bit of it that is meant.
    pub lowest: u8,
    /// How many bits.
    bits: u16,
}

/// Whole registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8 … r15.
    General(u8),
    /// rip.
    InstructionPointer,
    /// rflags.
    Flags,
    /// cr0, cr2, cr3, cr4, cr8.
    Control(u8),
    /// dr0 … dr3, dr6, dr7.
    Debug(u8),
    /// es, cs, ss, ds, fs, gs: what programs see.
    Selector(u8),
    /// Their bases.
    Base(u8),
    /// gdtr, idtr, tr: bases.
    Table(u8),
    /// xcr0.
    Xcr0,
    /// mxcsr.
    Mxcsr,
    /// ymm0 … ymm15.
    Vector(u8),
    /// st0 … st7.
    Stack(u8),
    /// A model-specific register.
    Model(u32),
}

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];
const SEGMENTS: [&str; 6] = ["es", "cs", "ss", "ds", "fs", "gs"];
const TABLES: [&str; 3] = ["gdtr_base", "idtr_base", "tr_base"];
/// Flags and their bits.
const FLAGS: [(&str, u8); 12] = [
    ("cf", 0),
    ("pf", 2),
    ("af", 4),
    ("zf", 6),
    ("sf", 7),
    ("tf", 8),
    ("if", 9),
    ("df", 10),
    ("of", 11),
    ("nt", 14),
    ("rf", 16),
    ("ac", 18),
];
/// Model-specific registers with names of their own.
const MODEL: [(&str, u32); 8] = [
    ("efer", 0xc000_0080),
    ("star", 0xc000_0081),
    ("lstar", 0xc000_0082),
    ("fmask", 0xc000_0084),
    ("kernel_gs_base", 0xc000_0102),
    ("tsc_aux", 0xc000_0103),
    ("mcg_status", 0x17a),
    ("pat", 0x277),
];

fn whole(family: Family, bits: u16) -> RegisterName {
    RegisterName {
        family,
        lowest: 0,
        bits,
    }
}

/// Every name, but for `msr:NUMBER`.
static NAMES: LazyLock<Vec<(String, RegisterName)>> = LazyLock::new(|| {
    let mut names: Vec<(String, RegisterName)> = Vec::new();
    let mut add = |name: &str, register| names.push((name.to_owned(), register));
    for (number, name) in (0..).zip(GENERAL) {
        add(name, whole(Family::General(number), 64));
    }
    add("rip", whole(Family::InstructionPointer, 64));
    add("rflags", whole(Family::Flags, 64));
    for (name, bit) in FLAGS {
        let flag = RegisterName {
            family: Family::Flags,
            lowest: bit,
            bits: 1,
        };
        add(name, flag);
    }
    for number in [0, 2, 3, 4, 8] {
        add(&format!("cr{number}"), whole(Family::Control(number), 64));
    }
    for number in [0, 1, 2, 3, 6, 7] {
        add(&format!("dr{number}"), whole(Family::Debug(number), 64));
    }
    for (number, name) in (0..).zip(SEGMENTS) {
        add(name, whole(Family::Selector(number), 16));
        add(&format!("{name}_base"), whole(Family::Base(number), 64));
    }
    for (number, name) in (0..).zip(TABLES) {
        add(name, whole(Family::Table(number), 64));
    }
    add("xcr0", whole(Family::Xcr0, 64));
    add("mxcsr", whole(Family::Mxcsr, 32));
    for number in 0..16 {
        add(&format!("xmm{number}"), whole(Family::Vector(number), 128));
        add(&format!("ymm{number}"), whole(Family::Vector(number), 256));
    }
    for number in 0..8 {
        add(&format!("st{number}"), whole(Family::Stack(number), 80));
    }
    for (name, number) in MODEL {
        add(name, whole(Family::Model(number), 64));
    }
    names
});

impl RegisterName {
    /// The register of that name, in lower or upper case.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, register)| register)
    }

    /// A model-specific register by its number; one that has a name is that one.
    #[must_use]
    pub fn model(number: u32) -> Self {
        whole(Family::Model(number), 64)
    }

    /// The general register with that number in encodings.
    #[must_use]
    pub fn general(number: u8) -> Self {
        whole(Family::General(number), 64)
    }

    /// The vector register with that number, `bits` of it.
    #[must_use]
    pub fn vector(number: u8, bits: u16) -> Self {
        whole(Family::Vector(number), bits)
    }

    /// All names.
    pub(super) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| name.as_str())
    }

    /// How many bits can be named.
    #[must_use]
    pub fn width(self) -> u32 {
        self.bits.into()
    }
}

impl fmt::Display for RegisterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (NAMES.iter().find(|(_, known)| known == self), self.family) {
            (Some((name, _)), _) => f.write_str(name),
            (None, Family::Model(number)) => write!(f, "msr:{number:#x}"),
            (None, family) => write!(f, "{family:?}"),
        }
    }
}
