//! A value or a mask of up to 512 bits: as wide as the widest register.

use std::fmt;
use std::ops::{BitAnd, BitOr, BitXor, Not, RangeInclusive};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const WORDS: usize = 8;

/// Bit 0 is the least significant one of a register or value; of memory, bit `8*i + j` is bit `j` of byte `i`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct Bits([u64; WORDS]);

impl Bits {
    /// How many bits there are.
    pub const WIDTH: u32 = 512;
    /// None set.
    pub const ZERO: Self = Self([0; WORDS]);

    /// The low 64 bits.
    #[must_use]
    pub fn from_u64(value: u64) -> Self {
        let mut words = [0; WORDS];
        words[0] = value;
        Self(words)
    }

    /// Little-endian bytes; what goes beyond 64 bytes is cut off.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut bits = Self::ZERO;
        for (index, &byte) in bytes.iter().take(8 * WORDS).enumerate() {
            bits.0[index / 8] |= u64::from(byte) << (8 * (index % 8));
        }
        bits
    }

    /// The first `length` bytes, little-endian.
    #[must_use]
    pub fn to_bytes(self, length: usize) -> Vec<u8> {
        let all = self.0.iter().flat_map(|word| word.to_le_bytes());
        all.take(length).collect()
    }

    /// The low 64 bits.
    #[must_use]
    pub fn low(self) -> u64 {
        self.0[0]
    }

    /// The lowest `width` bits set.
    #[must_use]
    pub fn ones(width: u32) -> Self {
        match width {
            0 => Self::ZERO,
            _ => Self::range(0..=width - 1),
        }
    }

    /// These bits set; those beyond the width are left out.
    #[must_use]
    pub fn range(range: RangeInclusive<u32>) -> Self {
        let mut bits = Self::ZERO;
        for bit in *range.start()..=(*range.end()).min(Self::WIDTH - 1) {
            bits.set(bit);
        }
        bits
    }

    /// Sets one bit; one beyond the width is left out.
    pub fn set(&mut self, bit: u32) {
        if let Some(word) = self.0.get_mut(bit as usize / 64) {
            *word |= 1 << (bit % 64);
        }
    }

    /// Whether a bit is set.
    #[must_use]
    pub fn has(self, bit: u32) -> bool {
        self.0
            .get(bit as usize / 64)
            .is_some_and(|word| word >> (bit % 64) & 1 == 1)
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// How many are set.
    #[must_use]
    pub fn count(self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// One more than the number of the highest one that is set, 0 for none.
    #[must_use]
    pub fn width(self) -> u32 {
        (0..Self::WIDTH)
            .rev()
            .find(|&bit| self.has(bit))
            .map_or(0, |bit| bit + 1)
    }

    /// Those that are set, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..Self::WIDTH).filter(move |&bit| self.has(bit))
    }

    /// All moved up; what leaves at the top is gone.
    #[must_use]
    pub fn up(self, by: u32) -> Self {
        let mut bits = Self::ZERO;
        self.iter()
            .filter_map(|bit| bit.checked_add(by))
            .for_each(|bit| bits.set(bit));
        bits
    }

    /// All moved down; what leaves at the bottom is gone.
    #[must_use]
    pub fn down(self, by: u32) -> Self {
        let mut bits = Self::ZERO;
        self.iter()
            .filter_map(|bit| bit.checked_sub(by))
            .for_each(|bit| bits.set(bit));
        bits
    }

    /// The lowest bits of `self` spread over the places that `mask` has, lowest first.
    #[must_use]
    pub fn deposit(self, mask: Self) -> Self {
        let mut bits = Self::ZERO;
        for (from, to) in mask.iter().enumerate() {
            if self.has(from as u32) {
                bits.set(to);
            }
        }
        bits
    }

    /// Runs of neighbours that are set, ascending.
    #[must_use]
    pub fn runs(self) -> Vec<RangeInclusive<u32>> {
        let mut runs: Vec<RangeInclusive<u32>> = Vec::new();
        for bit in self.iter() {
            match runs.last_mut() {
                Some(run) if run.end() + 1 == bit => *run = *run.start()..=bit,
                _ => runs.push(bit..=bit),
            }
        }
        runs
    }
}

impl BitAnd for Bits {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }
}

impl BitOr for Bits {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] | other.0[word]))
    }
}

impl BitXor for Bits {
    type Output = Self;
    fn bitxor(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] ^ other.0[word]))
    }
}

impl Not for Bits {
    type Output = Self;
    fn not(self) -> Self {
        Self(self.0.map(|word| !word))
    }
}

/// As a hexadecimal number with `0x`.
impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let top = self.0.iter().rposition(|&word| word != 0).unwrap_or(0);
        write!(f, "{:#x}", self.0[top])?;
        for word in self.0[..top].iter().rev() {
            write!(f, "{word:016x}")?;
        }
        Ok(())
    }
}

/// In results: the runs of neighbours that are set, each by its first and last bit.
impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.runs().iter().map(|run| (*run.start(), *run.end())))
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let runs = Vec::<(u32, u32)>::deserialize(deserializer)?;
        let bits = runs
            .into_iter()
            .map(|(first, last)| Self::range(first..=last));
        Ok(bits.fold(Self::ZERO, |all, bits| all | bits))
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_cross_words() {
        let mask = Bits::range(60..=67);
        assert_eq!(mask.to_string(), "0xff000000000000000");
        assert_eq!(mask.count(), 8);
        assert_eq!(mask.width(), 68);
        assert_eq!(mask.down(60), Bits::from_u64(0xff));
        assert_eq!(Bits::from_u64(0xff).up(60), mask);
        assert_eq!(mask.runs(), [60..=67]);
    }

    #[test]
    fn depositing_fills_the_places_of_the_mask_from_below() {
        let mask = Bits::range(4..=5) | Bits::range(100..=100);
        let value = Bits::from_u64(0b110).deposit(mask);
        assert_eq!(value.iter().collect::<Vec<_>>(), [5, 100]);
    }

    #[test]
    fn bytes_are_little_endian() {
        let bits = Bits::from_bytes(&[1, 0, 0x80]);
        assert_eq!(bits.iter().collect::<Vec<_>>(), [0, 23]);
        assert_eq!(bits.to_bytes(3), [1, 0, 0x80]);
        assert_eq!(bits.to_string(), "0x800001");
        assert_eq!(Bits::ZERO.to_string(), "0x0");
        assert_eq!((!Bits::ZERO).count(), 512);
    }
}
