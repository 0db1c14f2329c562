//! Whether rcx is a certain address, with no flag and no other register changed: rcx becomes what it differs by, so that `jrcxz` can tell.
//!
//! A displacement has 32 bits, an address 48. So its lower half is subtracted, then the order of the bytes is turned around, and the upper half has come to where the
//! displacement of another subtraction reaches it.

use super::assembler::Assembler;
use super::registers::RCX;

/// What rcx is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What is added before the bytes are turned around.
    before: i32,
    /// What is added afterwards; nothing if they need not be.
    after: Vec<i32>,
}

impl Difference {
    /// From the address `pc`.
    pub(super) fn from(pc: u64) -> Self {
        if let Ok(before) = i32::try_from(pc.wrapping_neg() as i64) {
            let after = Vec::new();
            return Self { before, after };
        }
        let before = (pc as i32).wrapping_neg();
        let mut rest = pc.wrapping_add(before as i64 as u64).swap_bytes();
        let mut after = Vec::new();
        while rest != 0 {
            let step = rest.min(i32::MAX as u64) as i32;
            after.push(-step);
            rest -= step as u64;
        }
        Self { before, after }
    }

    /// Emits the subtraction: rcx is 0 afterwards if it was the address.
    pub(super) fn take(&self, asm: &mut Assembler) {
        asm.add(RCX, RCX, self.before);
        if !self.after.is_empty() {
            asm.swap_bytes(RCX);
        }
        for &step in &self.after {
            asm.add(RCX, RCX, step);
        }
    }

    /// Emits the opposite of [`Difference::take`].
    pub(super) fn give_back(&self, asm: &mut Assembler) {
        for &step in self.after.iter().rev() {
            asm.add(RCX, RCX, -step);
        }
        if !self.after.is_empty() {
            asm.swap_bytes(RCX);
        }
        for step in self.steps_back() {
            asm.add(RCX, RCX, step);
        }
    }

    /// What takes back what was added before the bytes were turned around.
    fn steps_back(&self) -> [i32; 2] {
        // Half of it, and the other half: the whole may be one more than a displacement can be.
        let half = self.before / 2;
        [-half, half - self.before]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(difference: &Difference, rcx: u64) -> u64 {
        let mut value = rcx.wrapping_add(difference.before as i64 as u64);
        if !difference.after.is_empty() {
            value = value.swap_bytes();
        }
        (difference.after.iter()).fold(value, |value, &step| value.wrapping_add(step as i64 as u64))
    }

    fn given_back(difference: &Difference, left: u64) -> u64 {
        let back = |value: u64, step: i32| value.wrapping_add(step as i64 as u64);
        let mut value = (difference.after.iter()).fold(left, |value, &step| back(value, -step));
        if !difference.after.is_empty() {
            value = value.swap_bytes();
        }
        difference.steps_back().into_iter().fold(value, back)
    }

    #[test]
    fn only_the_address_itself_differs_by_nothing() {
        let addresses = [
            0,
            0x40_1000,
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0001,
            0x1_8000_0000,
            0x5555_5555_52e2,
            0x5555_d555_52e2,
            0x7fff_f7fd_da7a,
            0x7fff_7fff_0000,
            0x7f80_0000_0000,
            0xffff_ffff_8000_0000,
            u64::MAX,
        ];
        for pc in addresses {
            let difference = Difference::from(pc);
            for other in addresses {
                let left = taken(&difference, other);
                assert_eq!(left == 0, pc == other, "{pc:#x} and {other:#x}");
                assert_eq!(given_back(&difference, left), other, "{pc:#x}");
            }
            for bit in 0..64 {
                assert_ne!(taken(&difference, pc ^ 1 << bit), 0, "{pc:#x}, bit {bit}");
            }
        }
    }
}
