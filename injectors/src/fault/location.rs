//! Where a fault goes.

use std::fmt;

use super::register::RegisterName;
use crate::bits::Bits;

/// What is changed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Location {
    /// A register of the thread.
    Register(RegisterName),
    /// Memory of the process.
    Memory(MemoryPlace),
    /// A source register of the instruction, before it executes.
    Source(RegisterOperand),
    /// A destination register of the instruction, after it executed.
    Destination(RegisterOperand),
    /// The value that the instruction loads.
    Loaded(MemoryOperand),
    /// The value that the instruction stores.
    Stored(MemoryOperand),
    /// The address that the instruction loads from.
    LoadAddress(MemoryOperand),
    /// The address that the instruction stores to.
    StoreAddress(MemoryOperand),
    /// The bytes of the instruction.
    Text,
    /// The branch takes the other direction.
    OtherDirection,
    /// Where the branch goes.
    Target,
    /// The instruction is not executed.
    Skip,
}

impl Location {
    /// How many bits can be named.
    #[must_use]
    pub fn width(&self) -> u32 {
        match self {
            Self::Register(register)
            | Self::Source(RegisterOperand::Named(register))
            | Self::Destination(RegisterOperand::Named(register)) => register.width(),
            Self::LoadAddress(_) | Self::StoreAddress(_) | Self::Target => 64,
            Self::Text => 15 * 8,
            Self::OtherDirection | Self::Skip => 0,
            _ => Bits::WIDTH,
        }
    }

    /// Whether it says what happens all by itself, without an operation.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self, Self::OtherDirection | Self::Skip)
    }

    /// Whether it belongs to the instruction at the moment, rather than to the state.
    #[must_use]
    pub fn is_of_instruction(&self) -> bool {
        !matches!(self, Self::Register(_) | Self::Memory(_) | Self::Text)
    }
}

/// A register that an instruction reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOperand {
    /// The first one: explicit operands come before implicit ones.
    First,
    /// The explicit operand with this number, from 0.
    Number(u8),
    /// This register, explicit or implicit.
    Named(RegisterName),
}

/// A memory access of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryOperand {
    /// The first one, explicit or implicit.
    First,
    /// The explicit operand with this number, from 0.
    Number(u8),
}

/// Where in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MemoryPlace {
    /// At an address or symbol.
    At(Place),
    /// At a distance from the stack pointer.
    Stack(i64),
    /// At a random live address of a region.
    Random(Region),
}

/// An address, or a name for one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An address.
    Address(u64),
    /// A symbol and a distance from it.
    Symbol {
        /// Its name, as the symbol table has it.
        name: String,
        /// Bytes to add.
        offset: i64,
    },
}

/// A part of the address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// What `brk` has given.
    Heap,
    /// The thread's stack, from the stack pointer up.
    Stack,
    /// Writable data of the program (`.data`, `.bss`).
    Data,
}

impl Region {
    pub(super) const ALL: [Self; 3] = [Self::Heap, Self::Stack, Self::Data];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Stack => "stack",
            Self::Data => "data",
        }
    }
}

/// Names that are not symbols, unless something is added to them (`heap+0`).
pub(super) const RESERVED: [&str; 5] = ["heap", "stack", "data", "sp", "random"];

/// `+0x10`, `-0x8`; nothing for 0.
struct Offset(i64);

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            offset if offset < 0 => write!(f, "-{:#x}", offset.unsigned_abs()),
            offset => write!(f, "+{offset:#x}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address:#x}"),
            Self::Symbol { name, offset: 0 } if RESERVED.contains(&name.as_str()) => {
                write!(f, "{name}+0")
            }
            Self::Symbol { name, offset } => write!(f, "{name}{}", Offset(*offset)),
        }
    }
}

impl fmt::Display for MemoryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(place) => write!(f, "{place}"),
            Self::Stack(offset) => write!(f, "sp{}", Offset(*offset)),
            Self::Random(region) => f.write_str(region.name()),
        }
    }
}

impl fmt::Display for RegisterOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::Number(number) => write!(f, ":op{number}"),
            Self::Named(register) => write!(f, ":{register}"),
        }
    }
}

impl fmt::Display for MemoryOperand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First => Ok(()),
            Self::Number(number) => write!(f, ":op{number}"),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Register(register) => write!(f, "reg:{register}"),
            Self::Memory(place) => write!(f, "mem:{place}"),
            Self::Source(operand) => write!(f, "rreg{operand}"),
            Self::Destination(operand) => write!(f, "wreg{operand}"),
            Self::Loaded(operand) => write!(f, "rval{operand}"),
            Self::Stored(operand) => write!(f, "wval{operand}"),
            Self::LoadAddress(operand) => write!(f, "raddr{operand}"),
            Self::StoreAddress(operand) => write!(f, "waddr{operand}"),
            Self::Text => f.write_str("text"),
            Self::OtherDirection => f.write_str("cf"),
            Self::Target => f.write_str("cf:target"),
            Self::Skip => f.write_str("skip"),
        }
    }
}
