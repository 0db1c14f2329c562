//! The state of a thread: all its registers, read and written cell by cell, and compared.

use fits_tracer::ptrace::{Registers, XState, general};
use iced_x86::Register;

use crate::bits::Bits;
use crate::fault::{Cell, RegisterName};

/// Bytes of the XSAVE area that hold no register: its header.
const XSAVE_HEADER: std::ops::Range<usize> = 512..576;

/// All registers of a thread.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) registers: Registers,
    pub(crate) xstate: XState,
}

impl State {
    /// What a cell holds.
    pub(crate) fn get(&self, cell: Cell) -> Bits {
        match cell {
            Cell::General(number) => Bits::from_u64(*general(&mut self.registers.clone(), number)),
            Cell::Rip => Bits::from_u64(self.registers.rip),
            Cell::Flags => Bits::from_u64(self.registers.eflags),
            Cell::FsBase => Bits::from_u64(self.registers.fs_base),
            Cell::GsBase => Bits::from_u64(self.registers.gs_base),
            Cell::X87(index) => Bits::from_bytes(&self.xstate.st(index.into())),
            Cell::Mxcsr => Bits::from_u64(self.xstate.mxcsr().into()),
            Cell::Vector(number) => Bits::from_bytes(&self.xstate.zmm(number.into())),
            Cell::Mask(number) => Bits::from_u64(self.xstate.k(number.into())),
        }
    }

    /// Gives a cell another content.
    pub(crate) fn set(&mut self, cell: Cell, value: Bits) {
        match cell {
            Cell::General(number) => *general(&mut self.registers, number) = value.low(),
            Cell::Rip => self.registers.rip = value.low(),
            Cell::Flags => self.registers.eflags = value.low(),
            Cell::FsBase => self.registers.fs_base = value.low(),
            Cell::GsBase => self.registers.gs_base = value.low(),
            Cell::X87(index) => {
                let mut bytes = [0; 10];
                bytes.copy_from_slice(&value.to_bytes(10));
                self.xstate.set_st(index.into(), bytes);
            }
            Cell::Mxcsr => self.xstate.set_mxcsr(value.low() as u32),
            Cell::Vector(number) => {
                let mut bytes = [0; 64];
                bytes.copy_from_slice(&value.to_bytes(64));
                self.xstate.set_zmm(number.into(), &bytes);
            }
            Cell::Mask(number) => self.xstate.set_k(number.into(), value.low()),
        }
    }

    /// The top of the x87 stack: `st(i)` is physical register `(top + i) % 8`.
    pub(crate) fn x87_top(&self) -> u8 {
        (self.xstate.x87_status() >> 11 & 7) as u8
    }

    /// The registers that differ, by name; empty if all are the same.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let mut names: Vec<String> = self.differing(other).map(name).collect();
        if selectors(&self.registers) != selectors(&other.registers) {
            names.push("a segment selector".to_owned());
        }
        if names.is_empty() && self.extended() != other.extended() {
            names.push("the x87 or vector state".to_owned());
        }
        names
    }

    /// The registers that differ.
    pub(crate) fn differing(&self, other: &Self) -> impl Iterator<Item = Cell> {
        cells().filter(|&cell| self.get(cell) != other.get(cell))
    }

    /// The x87, vector and mask registers, as the kernel lays them out.
    pub(crate) fn extended(&self) -> Vec<u8> {
        let mut bytes = self.xstate.bytes().to_vec();
        if let Some(header) = bytes.get_mut(XSAVE_HEADER) {
            header.fill(0);
        }
        bytes
    }
}

/// Why this processor does not have a register, if it does not.
pub(crate) fn missing(register: RegisterName) -> Option<String> {
    let wide = register.width() > 128;
    let lacks = match register.cell() {
        Cell::Vector(16..) | Cell::Mask(_) => !std::arch::is_x86_feature_detected!("avx512f"),
        Cell::Vector(_) if register.width() > 256 => {
            !std::arch::is_x86_feature_detected!("avx512f")
        }
        Cell::Vector(_) if wide => !std::arch::is_x86_feature_detected!("avx"),
        _ => false,
    };
    lacks.then(|| format!("this processor has no {register}"))
}

/// The cell that a register of an instruction is part of, and where in it. `top` is the top of the x87 stack.
pub(crate) fn part_of(register: Register, top: u8) -> Option<(Cell, u32, u32)> {
    let number = register.number() as u8;
    let width = 8 * register.size() as u32;
    let full = register.full_register();
    if full.is_gpr64() {
        let high = matches!(
            register,
            Register::AH | Register::BH | Register::CH | Register::DH
        );
        let cell = Cell::General((full as u32 - Register::RAX as u32) as u8);
        return Some((cell, if high { 8 } else { 0 }, width));
    }
    if register.is_vector_register() {
        return Some((Cell::Vector(number), 0, width));
    }
    if register.is_k() {
        return Some((Cell::Mask(number), 0, 64));
    }
    if register.is_st() {
        return Some((Cell::X87(number), 0, 80));
    }
    if register.is_mm() {
        // mm registers are physical x87 registers.
        return Some((Cell::X87((number + 8 - top) % 8), 0, 64));
    }
    None
}

fn cells() -> impl Iterator<Item = Cell> {
    let single = [
        Cell::Rip,
        Cell::Flags,
        Cell::FsBase,
        Cell::GsBase,
        Cell::Mxcsr,
    ];
    (0..16)
        .map(Cell::General)
        .chain(single)
        .chain((0..8).map(Cell::X87))
        .chain((0..32).map(Cell::Vector))
        .chain((0..8).map(Cell::Mask))
}

/// The widest register that has the name of the cell.
pub(crate) fn name(cell: Cell) -> String {
    let whole = RegisterName::all().filter(|register| register.cell() == cell);
    whole
        .max_by_key(|register| register.width())
        .map(|register| register.name().to_owned())
        .unwrap_or_default()
}

fn selectors(registers: &Registers) -> [u64; 6] {
    [
        registers.cs,
        registers.ds,
        registers.es,
        registers.fs,
        registers.gs,
        registers.ss,
    ]
}
