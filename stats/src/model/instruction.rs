//! Static instructions and how often each bit of their operands was 1 or 0.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ones::Ones;
use crate::facts::Access;
use crate::pictures::BitCount;

/// The bytes of one instruction, at most 15.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstructionBytes {
    bytes: [u8; InstructionBytes::MAX],
    length: u8,
}

impl InstructionBytes {
    /// The longest x86 instruction.
    pub const MAX: usize = 15;

    /// Keeps the first [`Self::MAX`] of `bytes`.
    pub fn new(bytes: &[u8]) -> Self {
        let length = bytes.len().min(Self::MAX);
        let mut kept = [0; Self::MAX];
        kept[..length].copy_from_slice(&bytes[..length]);
        InstructionBytes {
            bytes: kept,
            length: length as u8,
        }
    }

    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Debug for InstructionBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice()
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A static instruction: the same address with other bytes (code that changed) is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstructionKey {
    /// Address in the process.
    pub pc: u64,
    /// What was executed there.
    pub bytes: InstructionBytes,
}

/// How often each bit of one operand was 1, for the values read or for the values written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperandStatistics {
    /// Position of the operand in the instruction as Intel writes it, from 0.
    pub operand: u8,
    /// Values read or values written.
    pub access: Access,
    /// How many values were seen; each of them counts for every bit.
    pub values: u64,
    /// For every bit, lowest first, how many of the values had it set.
    pub ones: Ones,
}

impl OperandStatistics {
    /// No value seen yet.
    pub fn new(operand: u8, access: Access, width: u16) -> Self {
        OperandStatistics {
            operand,
            access,
            values: 0,
            ones: Ones::new(width),
        }
    }

    /// Width in bits.
    pub fn width(&self) -> u16 {
        self.ones.bits() as u16
    }

    /// How many of the values had the bit clear.
    pub fn zeros(&self, bit: usize) -> u64 {
        self.values - self.ones.get(bit)
    }

    /// The counts of all bits, lowest first.
    pub fn bits(&self) -> impl Iterator<Item = BitCount> {
        self.ones.iter().map(|ones| BitCount {
            ones,
            zeros: self.values - ones,
        })
    }

    /// Counts one value, given as little-endian bytes; bits beyond the width are ignored.
    pub fn add_value(&mut self, value: &[u8]) {
        let bits = value
            .iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        self.add(1, bits.map(u64::from));
    }

    /// Counts `values` values, of which so many had each bit set, lowest bit first.
    pub fn add(&mut self, values: u64, ones: impl Iterator<Item = u64>) {
        self.values += values;
        self.ones.add(self.values, ones);
    }

    /// Adds the counts of the same operand, access and width from elsewhere.
    pub(crate) fn merge(&mut self, other: &OperandStatistics) {
        self.add(other.values, other.ones.iter());
    }
}

/// What was counted for one static instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstructionStatistics {
    /// How often it retired.
    pub executions: u64,
    /// Bits of its explicit register and memory operands; empty at level `counts`.
    pub operands: Vec<OperandStatistics>,
}

impl InstructionStatistics {
    /// The entry of an operand, made on first use.
    pub fn operand_mut(
        &mut self,
        operand: u8,
        access: Access,
        width: u16,
    ) -> &mut OperandStatistics {
        let position = self
            .operands
            .iter()
            .position(|o| o.operand == operand && o.access == access && o.width() == width);
        let position = position.unwrap_or_else(|| {
            self.operands
                .push(OperandStatistics::new(operand, access, width));
            self.operands.len() - 1
        });
        &mut self.operands[position]
    }

    /// Adds the counts of the same instruction from elsewhere.
    pub fn merge(&mut self, other: InstructionStatistics) {
        self.executions += other.executions;
        if self.operands.is_empty() {
            self.operands = other.operands;
            return;
        }
        for operand in &other.operands {
            self.operand_mut(operand.operand, operand.access, operand.width())
                .merge(operand);
        }
    }
}
