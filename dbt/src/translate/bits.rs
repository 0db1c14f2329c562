//! Following single bits: where each bit of a register comes from, as long as instructions only move, invert or fix bits.
//!
//! What such an instruction leaves needs no capture: its bits are bits of the row already. Sums and products are
//! [`Bit::UNKNOWN`] until they are captured.

use fits_stats::template::{Bits, Run, Value};

/// Where one bit comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bit(u32);

impl Bit {
    pub(super) const ZERO: Bit = Bit(0);
    pub(super) const ONE: Bit = Bit(1);
    pub(super) const UNKNOWN: Bit = Bit(u32::MAX);

    /// That bit of the row.
    pub(super) fn row(bit: u32) -> Bit {
        Bit(2 + 2 * bit)
    }

    fn constant(value: bool) -> Bit {
        if value { Bit::ONE } else { Bit::ZERO }
    }

    fn inverse(self) -> Bit {
        if self == Bit::UNKNOWN {
            self
        } else {
            Bit(self.0 ^ 1)
        }
    }

    /// The row bit, and whether this is its inverse.
    fn of_row(self) -> Option<(u32, bool)> {
        (self.0 >= 2 && self != Bit::UNKNOWN).then(|| ((self.0 - 2) / 2, self.0 & 1 == 1))
    }
}

/// The bits of a 64-bit register, lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(pub(super) [Bit; 64]);

impl Word {
    pub(super) const UNKNOWN: Word = Word([Bit::UNKNOWN; 64]);

    pub(super) fn constant(value: u64) -> Word {
        Word(std::array::from_fn(|bit| {
            Bit::constant(value >> bit & 1 == 1)
        }))
    }

    /// The value, if every bit is fixed.
    pub(super) fn as_constant(&self) -> Option<u64> {
        let mut value = 0;
        for (place, &bit) in self.0.iter().enumerate() {
            match bit {
                Bit::ZERO => {}
                Bit::ONE => value |= 1 << place,
                _ => return None,
            }
        }
        Some(value)
    }

    /// The row offset in bytes and the size (1, 2, 4, 8), if this is a number in the row, zero-extended.
    pub(super) fn as_slot(&self) -> Option<(u16, u8)> {
        let (first, false) = self.0[0].of_row()? else {
            return None;
        };
        let length = (1..64)
            .find(|&bit| self.0[bit] != Bit::row(first + bit as u32))
            .unwrap_or(64);
        let rest_is_zero = self.0[length..].iter().all(|&bit| bit == Bit::ZERO);
        let whole = matches!(length, 8 | 16 | 32 | 64) && first % 8 == 0;
        (whole && rest_is_zero).then_some(((first / 8) as u16, (length / 8) as u8))
    }

    pub(super) fn has_unknown(&self, from: usize, to: usize) -> bool {
        self.0[from..to].contains(&Bit::UNKNOWN)
    }

    /// Bits `from..to` are those of the row from `row_bit` on.
    pub(super) fn set_row(&mut self, to: usize, row_bit: u32) {
        for (place, bit) in self.0[..to].iter_mut().enumerate() {
            *bit = Bit::row(row_bit + place as u32);
        }
    }

    pub(super) fn fill(&mut self, from: usize, to: usize, bit: Bit) {
        self.0[from..to].fill(bit);
    }

    /// Bits `from..from + bits` of this register become the low bits of `value`; a 32-bit write clears the upper half.
    pub(super) fn write(&mut self, from: usize, bits: usize, value: &Word) {
        self.0[from..from + bits].copy_from_slice(&value.0[..bits]);
        if bits == 32 {
            self.fill(32, 64, Bit::ZERO);
        }
    }

    /// The `bits` from `from` on, moved down; the rest is zero.
    pub(super) fn part(&self, from: usize, bits: usize) -> Word {
        let mut part = Word([Bit::ZERO; 64]);
        part.0[..bits].copy_from_slice(&self.0[from..from + bits]);
        part
    }

    /// Above the low `bits` everything is a copy of the highest of them.
    pub(super) fn sign_extend(mut self, bits: usize) -> Word {
        let sign = self.0[bits - 1];
        self.fill(bits, 64, sign);
        self
    }

    pub(super) fn invert(self) -> Word {
        Word(self.0.map(Bit::inverse))
    }

    /// Each bit by its place: `f(place, bit)`.
    fn each(self, f: impl Fn(usize, Bit) -> Bit) -> Word {
        Word(std::array::from_fn(|place| f(place, self.0[place])))
    }

    pub(super) fn and(self, mask: u64) -> Word {
        self.each(|place, bit| {
            if mask >> place & 1 == 1 {
                bit
            } else {
                Bit::ZERO
            }
        })
    }

    pub(super) fn or(self, mask: u64) -> Word {
        self.each(|place, bit| {
            if mask >> place & 1 == 1 {
                Bit::ONE
            } else {
                bit
            }
        })
    }

    pub(super) fn xor(self, mask: u64) -> Word {
        self.each(|place, bit| {
            if mask >> place & 1 == 1 {
                bit.inverse()
            } else {
                bit
            }
        })
    }

    /// Within the low `bits`: shifted up by `count`.
    pub(super) fn shift_left(self, bits: usize, count: usize) -> Word {
        self.take(bits, |place| place.checked_sub(count))
    }

    /// Within the low `bits`: shifted down by `count`.
    pub(super) fn shift_right(self, bits: usize, count: usize) -> Word {
        self.take(bits, |place| {
            Some(place + count).filter(|&from| from < bits)
        })
    }

    /// Within the low `bits`: shifted down by `count`, the sign staying.
    pub(super) fn shift_signed(self, bits: usize, count: usize) -> Word {
        self.take(bits, |place| Some((place + count).min(bits - 1)))
    }

    /// Within the low `bits`: rotated up by `count`.
    pub(super) fn rotate_left(self, bits: usize, count: usize) -> Word {
        self.take(bits, |place| Some((place + bits - count % bits) % bits))
    }

    /// The low `bytes` in reverse order.
    pub(super) fn swap_bytes(self, bytes: usize) -> Word {
        self.take(8 * bytes, |place| {
            Some(8 * (bytes - 1 - place / 8) + place % 8)
        })
    }

    fn take(self, bits: usize, from: impl Fn(usize) -> Option<usize>) -> Word {
        let mut word = Word([Bit::ZERO; 64]);
        for place in 0..bits {
            word.0[place] = from(place).map_or(Bit::ZERO, |from| self.0[from]);
        }
        word
    }
}

/// Bits that lie in the row one after the other.
pub(super) fn in_row(row_bit: u32, bits: u16) -> Value {
    vec![Run {
        source: Bits::Row(row_bit),
        length: bits,
    }]
}

/// The template's description of these bits, none of which is unknown.
pub(super) fn value(bits: &[Bit]) -> Value {
    let mut runs: Vec<Run> = Vec::new();
    for &bit in bits {
        let source = match (bit, bit.of_row()) {
            (Bit::ZERO, _) => Bits::Zeros,
            (_, Some((row, false))) => Bits::Row(row),
            (_, Some((row, true))) => Bits::NotRow(row),
            _ => Bits::Ones,
        };
        if !runs.last_mut().is_some_and(|last| extend(last, source)) {
            runs.push(Run { source, length: 1 });
        }
    }
    runs
}

/// Makes `run` one bit longer if the next bit's source continues it.
fn extend(run: &mut Run, next: Bits) -> bool {
    let length = u32::from(run.length);
    let source = match (run.source, next) {
        (Bits::Zeros, Bits::Zeros) => Bits::Zeros,
        (Bits::Ones, Bits::Ones) => Bits::Ones,
        (Bits::Row(first), Bits::Row(row)) if row == first + length => Bits::Row(first),
        (Bits::NotRow(first), Bits::NotRow(row)) if row == first + length => Bits::NotRow(first),
        (Bits::Row(first), Bits::Row(row)) if length == 1 && row == first => Bits::Repeat(first),
        (Bits::NotRow(first), Bits::NotRow(row)) if length == 1 && row == first => {
            Bits::NotRepeat(first)
        }
        (Bits::Repeat(first), Bits::Row(row)) if row == first => Bits::Repeat(first),
        (Bits::NotRepeat(first), Bits::NotRow(row)) if row == first => Bits::NotRepeat(first),
        _ => return false,
    };
    *run = Run {
        source,
        length: run.length + 1,
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(bits: usize) -> Word {
        let mut word = Word::constant(0);
        word.set_row(bits, 64);
        word
    }

    #[test]
    fn a_rotated_word_is_two_runs() {
        let value = value(&row(32).rotate_left(32, 8).0[..32]);
        let expected = [(Bits::Row(88), 8), (Bits::Row(64), 24)];
        assert_eq!(
            value,
            expected.map(|(source, length)| Run { source, length })
        );
    }

    #[test]
    fn sign_extension_repeats_one_bit() {
        let value = value(&row(8).sign_extend(8).0);
        let expected = [(Bits::Row(64), 8), (Bits::Repeat(71), 56)];
        assert_eq!(
            value,
            expected.map(|(source, length)| Run { source, length })
        );
    }

    #[test]
    fn constants_and_inverses_come_out() {
        let value = value(&row(8).xor(0xff).and(0x0f).or(0x80).0[..8]);
        let expected = [(Bits::NotRow(64), 4), (Bits::Zeros, 3), (Bits::Ones, 1)];
        assert_eq!(
            value,
            expected.map(|(source, length)| Run { source, length })
        );
    }

    #[test]
    fn only_whole_numbers_are_slots() {
        assert_eq!(row(32).as_slot(), Some((8, 4)));
        assert_eq!(row(64).as_slot(), Some((8, 8)));
        assert_eq!(row(33).as_slot(), None);
        assert_eq!(row(64).shift_right(64, 4).as_slot(), None);
        assert_eq!(Word::constant(42).as_constant(), Some(42));
        assert_eq!(row(16).swap_bytes(2).swap_bytes(2), row(16));
    }
}
