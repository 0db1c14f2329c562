//! What the collector needs to know about an instruction, computed once for each encoding.

use std::sync::Arc;

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};
use rustc_hash::FxHashMap;

use crate::facts::{Access, Facts};
use crate::model::InstructionBytes;
use crate::register::Reg;

/// A set of registers and flags, one bit each.
pub type RegSet = u128;

const _: () = assert!(Reg::COUNT <= RegSet::BITS as usize);

/// The numbers in a set, ascending.
pub fn members(set: RegSet) -> impl Iterator<Item = usize> {
    let mut rest = set;
    std::iter::from_fn(move || {
        let lowest = rest.trailing_zeros() as usize;
        rest &= rest.wrapping_sub(1);
        (lowest < RegSet::BITS as usize).then_some(lowest)
    })
}

/// One value of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperandValue {
    /// Position of the operand.
    pub operand: u8,
    /// Read or written.
    pub access: Access,
    /// Bytes of the value.
    pub bytes: u8,
}

/// The facts about an instruction that counting uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Registers read.
    pub reads: RegSet,
    /// Registers written.
    pub writes: RegSet,
    /// Registers of which nothing old is left.
    pub kills: RegSet,
    /// Values of operands, in the order in which they are recorded.
    pub values: Box<[OperandValue]>,
}

impl Shape {
    /// From the facts.
    pub fn new(facts: &Facts) -> Self {
        let set = |regs: &[Reg]| regs.iter().fold(0, |set, reg| set | 1 << reg.index());
        let values = facts.operands.iter().flat_map(|operand| {
            operand.accesses().map(|access| OperandValue {
                operand: operand.index,
                access,
                bytes: operand.bytes,
            })
        });
        Shape {
            reads: set(&facts.reads),
            writes: set(&facts.writes),
            kills: set(&facts.kills),
            values: values.collect(),
        }
    }

    /// Bytes of all values together.
    pub fn value_bytes(&self) -> usize {
        self.values
            .iter()
            .map(|value| usize::from(value.bytes))
            .sum()
    }
}

/// Shapes by encoding.
pub struct Shapes {
    known: FxHashMap<InstructionBytes, Arc<Shape>>,
    factory: InstructionInfoFactory,
}

impl Default for Shapes {
    fn default() -> Self {
        Shapes {
            known: FxHashMap::default(),
            factory: InstructionInfoFactory::new(),
        }
    }
}

impl Shapes {
    /// The shape of an instruction. Bytes that don't decode read and write nothing.
    pub fn of(&mut self, bytes: &[u8]) -> Arc<Shape> {
        let key = InstructionBytes::new(bytes);
        if let Some(shape) = self.known.get(&key) {
            return Arc::clone(shape);
        }
        let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
        let shape = Arc::new(Shape::new(&Facts::new(&instruction, &mut self.factory)));
        self.known.insert(key, Arc::clone(&shape));
        shape
    }
}

impl std::fmt::Debug for Shapes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shapes({})", self.known.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_the_set_bits() {
        assert_eq!(members(0).count(), 0);
        assert_eq!(
            members(1 | 1 << 5 | 1 << 127).collect::<Vec<_>>(),
            [0, 5, 127]
        );
    }

    #[test]
    fn add_has_three_values_and_is_decoded_once() {
        let mut shapes = Shapes::default();
        let add = shapes.of(&[0x48, 0x01, 0xd8]); // add rax,rbx
        assert_eq!(add.value_bytes(), 24);
        assert_eq!(members(add.reads).collect::<Vec<_>>(), [0, 3]);
        assert!(Arc::ptr_eq(&add, &shapes.of(&[0x48, 0x01, 0xd8])));
        assert_eq!(
            *shapes.of(&[0x06]),
            Shape::default(),
            "invalid in 64-bit mode"
        );
    }
}
