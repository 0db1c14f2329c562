//! Bit pictures: how often each bit of a full register was 1, over all operands that name it.

use std::collections::BTreeMap;

use iced_x86::{Instruction, OpKind, Register};

use crate::facts::Access;
use crate::register::Reg;

/// How often one bit was 1 and 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BitCount {
    /// Values that had it set.
    pub ones: u64,
    /// Values that had it clear.
    pub zeros: u64,
}

impl BitCount {
    /// The share of ones, if the bit was ever seen.
    pub fn share(self) -> Option<f64> {
        let seen = self.ones + self.zeros;
        (seen > 0).then(|| self.ones as f64 / seen as f64)
    }

    fn add(&mut self, other: BitCount) {
        self.ones += other.ones;
        self.zeros += other.zeros;
    }
}

/// The bits of one full register, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterPicture {
    /// Values that instructions read from it.
    pub read: Vec<BitCount>,
    /// Values that instructions wrote to it.
    pub written: Vec<BitCount>,
}

impl RegisterPicture {
    /// Reads and writes together.
    pub fn both(&self) -> Vec<BitCount> {
        let mut both = self.read.clone();
        add_at(&mut both, 0, self.written.iter().copied());
        both
    }
}

/// Bit pictures of all registers that explicit operands name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pictures {
    /// By full register.
    pub registers: BTreeMap<Reg, RegisterPicture>,
}

impl Pictures {
    /// Adds the bits of one operand, lowest first, if it is a register.
    pub fn add(
        &mut self,
        instruction: &Instruction,
        operand: u8,
        access: Access,
        bits: impl IntoIterator<Item = BitCount>,
    ) {
        let Some(register) = operand_register(instruction, operand) else {
            return;
        };
        let Some(full) = Reg::of(register) else {
            return;
        };
        let picture = self.registers.entry(full).or_default();
        let counts = match access {
            Access::Read => &mut picture.read,
            Access::Written => &mut picture.written,
        };
        add_at(counts, first_bit(register), bits);
    }
}

/// The register that is an operand, or none for memory and other operands.
pub fn operand_register(instruction: &Instruction, operand: u8) -> Option<Register> {
    let index = u32::from(operand);
    let is_register =
        index < instruction.op_count() && instruction.op_kind(index) == OpKind::Register;
    is_register.then(|| instruction.op_register(index))
}

/// Where a part of a register lies in the full one.
fn first_bit(register: Register) -> usize {
    match register {
        Register::AH | Register::BH | Register::CH | Register::DH => 8,
        _ => 0,
    }
}

fn add_at(counts: &mut Vec<BitCount>, first: usize, bits: impl IntoIterator<Item = BitCount>) {
    for (bit, count) in bits.into_iter().enumerate() {
        let at = first + bit;
        if counts.len() <= at {
            counts.resize(at + 1, BitCount::default());
        }
        counts[at].add(count);
    }
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    fn decoded(bytes: &[u8]) -> Instruction {
        Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode()
    }

    #[test]
    fn high_byte_registers_are_bits_8_to_15() {
        let mut pictures = Pictures::default();
        let one = BitCount { ones: 1, zeros: 0 };
        let mov_ah_al = decoded(&[0x88, 0xc4]);
        pictures.add(&mov_ah_al, 0, Access::Written, [one; 8]);
        pictures.add(&mov_ah_al, 1, Access::Read, [one; 8]);
        let rax = &pictures.registers[&Reg::of(Register::RAX).unwrap()];
        assert_eq!(rax.written.len(), 16);
        assert_eq!(rax.written[7].share(), None);
        assert_eq!(rax.written[8].share(), Some(1.0));
        assert_eq!(rax.read.len(), 8);
        assert_eq!(rax.both()[0], one);
    }

    #[test]
    fn memory_operands_are_no_registers() {
        let mut pictures = Pictures::default();
        let load = decoded(&[0x48, 0x8b, 0x03]);
        pictures.add(&load, 1, Access::Read, [BitCount { ones: 1, zeros: 0 }; 64]);
        pictures.add(&load, 9, Access::Read, [BitCount { ones: 1, zeros: 0 }; 64]);
        assert!(pictures.registers.is_empty());
    }
}
