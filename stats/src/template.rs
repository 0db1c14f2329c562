//! The static description of a translated unit: where in its row each operand's bits lie.
//!
//! A *unit* is a stretch of guest code that the translator turned into one piece of host code: a basic
//! block, or a part of one. Each time the unit runs to its end, the translated code appends one *row* to
//! its thread's stream: a header (see [`row_header`]) and then the values that can't be derived. What an
//! operand's bit was is then a constant, a bit of the row, or the inverse of a bit of the row; so the ones
//! of every operand follow from counting the ones of each bit position over all rows of the unit.

use serde::{Deserialize, Serialize};

/// Number of a unit; unique within a run, never used again, below [`UNIT_LIMIT`].
pub type UnitId = u32;

/// Unit numbers are below this (22 bits of the row's header).
pub const UNIT_LIMIT: UnitId = 1 << 22;

/// Bytes of a row's header.
pub const ROW_HEADER: usize = 4;

/// Rows are multiples of this many bytes.
pub const ROW_ALIGN: usize = 8;

/// The longest row in bytes.
pub const ROW_LIMIT: usize = 1023 * ROW_ALIGN;

/// The first 4 bytes of a row, little-endian: the unit in the upper 22 bits, the row's length in units of
/// 8 bytes in the lower 10. The unit number 0 marks an inline event (see [`crate::protocol`]).
pub const fn row_header(unit: UnitId, bytes: usize) -> u32 {
    (unit << 10) | (bytes / ROW_ALIGN) as u32
}

/// A translated unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitTemplate {
    /// Its number.
    pub id: UnitId,
    /// Guest address of its first instruction.
    pub pc: u64,
    /// When a basic block is cut by an instruction that the translator leaves to the slow path, the units
    /// after it continue the block: where the block began, and how many of its instructions came before.
    pub prefix: Option<Prefix>,
    /// The basic block ends with this unit. If not, something follows that names this unit's block in its
    /// own prefix.
    pub ends_block: bool,
    /// Length of the row in bytes, header included; a multiple of [`ROW_ALIGN`]. 0 when the unit writes no
    /// rows (level `counts`).
    pub row_bytes: u32,
    /// The instructions in order.
    pub instructions: Vec<UnitInstruction>,
    /// A unit may run through several basic blocks: which instructions begin a new one, ascending; the first is left out.
    pub starts: Vec<u16>,
    /// Memory accesses, in order of their instructions; empty in level `counts`.
    pub memory: Vec<MemoryAccess>,
}

impl UnitTemplate {
    /// The basic blocks that the first `executed` instructions of this unit make up, as start and length, prefix included.
    /// The last one has ended if the unit was interrupted there, or ran to its end and `ends_block`.
    pub fn blocks(&self, executed: u32) -> impl Iterator<Item = (u64, u32)> {
        let pc = |index: usize| self.instructions[index].pc;
        blocks(self.prefix, &self.starts, executed, pc)
    }

    /// The last of [`UnitTemplate::blocks`]; without instructions, the prefix.
    pub fn block(&self, executed: u32) -> (u64, u32) {
        let prefix = self
            .prefix
            .map_or((self.pc, 0), |prefix| (prefix.pc, prefix.instructions));
        self.blocks(executed).last().unwrap_or(prefix)
    }
}

/// [`UnitTemplate::blocks`] of a unit that is taken apart; `pc` is the address of an instruction by its number.
pub fn blocks(
    prefix: Option<Prefix>,
    starts: &[u16],
    executed: u32,
    pc: impl Fn(usize) -> u64,
) -> impl Iterator<Item = (u64, u32)> {
    let starts = starts.iter().map(|&start| u32::from(start));
    let begins = std::iter::once(0).chain(starts.clone());
    let ends = starts
        .chain(std::iter::once(executed))
        .map(move |end| end.min(executed));
    begins
        .zip(ends)
        .filter(|(begin, end)| begin < end)
        .map(move |(begin, end)| match prefix {
            Some(prefix) if begin == 0 => (prefix.pc, prefix.instructions + end),
            _ => (pc(begin as usize), end - begin),
        })
}

/// The part of a basic block before a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Prefix {
    /// Guest address of the block's first instruction.
    pub pc: u64,
    /// Instructions of the block before the unit.
    pub instructions: u32,
}

/// One instruction of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInstruction {
    /// Guest address.
    pub pc: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its operand values, in the order of [`crate::facts::Facts::operands`] and, within each, of
    /// [`crate::facts::Operand::accesses`]; empty in level `counts`.
    pub values: Vec<Value>,
}

/// Where the bits of one value come from: runs from the lowest bit up, together as long as the value.
pub type Value = Vec<Run>;

/// `length` consecutive bits of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Where they come from.
    pub source: Bits,
    /// How many.
    pub length: u16,
}

/// Where a run of bits comes from. Row bits are numbered from the row's first byte, lowest bit first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bits {
    /// All 0.
    Zeros,
    /// All 1.
    Ones,
    /// Consecutive row bits from this one on.
    Row(u32),
    /// The inverse of consecutive row bits from this one on.
    NotRow(u32),
    /// Every bit is this one row bit (sign extension).
    Repeat(u32),
    /// Every bit is the inverse of this one row bit.
    NotRepeat(u32),
}

/// A number that lies in the row, zero-extended to 64 bits (or sign-extended).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Byte offset in the row.
    pub offset: u16,
    /// 1, 2, 4 or 8 bytes.
    pub bytes: u8,
    /// Sign-extended.
    pub signed: bool,
}

/// One memory access of a unit. Its address is
/// `(base + index × scale + constant) mod 2⁶⁴`, plus the thread's fs base if `fs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryAccess {
    /// Which instruction of the unit.
    pub instruction: u16,
    /// It reads.
    pub read: bool,
    /// It writes.
    pub write: bool,
    /// Bytes touched (of one element for a `rep` instruction).
    pub bytes: u32,
    /// First term.
    pub base: Option<Slot>,
    /// Second term.
    pub index: Option<Slot>,
    /// Factor of the second term.
    pub scale: u8,
    /// Third term.
    pub constant: u64,
    /// Relative to the thread's fs base.
    pub fs: bool,
    /// For `rep`: the count before and after; their difference is the number of iterations.
    pub repeat: Option<(Slot, Slot)>,
}
