//! Counts of ones, each as narrow as all of them allow: most instructions are executed a few times only, and there is a count for every bit
//! of every operand.

use serde::{Deserialize, Serialize};

/// One count for each bit, lowest bit first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ones(Counts);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Counts {
    Bytes(Box<[u8]>),
    Words(Box<[u16]>),
    Doubles(Box<[u32]>),
    Quads(Box<[u64]>),
}

macro_rules! with {
    ($counts:expr, $name:ident => $use:expr) => {
        match $counts {
            Counts::Bytes($name) => $use,
            Counts::Words($name) => $use,
            Counts::Doubles($name) => $use,
            Counts::Quads($name) => $use,
        }
    };
}

impl Ones {
    /// As many zeros.
    pub fn new(bits: u16) -> Self {
        Ones(Counts::Bytes(vec![0; usize::from(bits)].into()))
    }

    /// How many counts there are.
    pub fn bits(&self) -> usize {
        with!(&self.0, counts => counts.len())
    }

    /// The count of a bit.
    ///
    /// # Panics
    /// If there is no such bit.
    pub fn get(&self, bit: usize) -> u64 {
        match &self.0 {
            Counts::Bytes(counts) => counts[bit].into(),
            Counts::Words(counts) => counts[bit].into(),
            Counts::Doubles(counts) => counts[bit].into(),
            Counts::Quads(counts) => counts[bit],
        }
    }

    /// All counts.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0..self.bits()).map(|bit| self.get(bit))
    }

    /// Adds to the counts, from the lowest bit on. Afterwards none is more than `limit`, which is no less than in the call before.
    pub fn add(&mut self, limit: u64, counts: impl Iterator<Item = u64>) {
        self.widen(limit);
        with!(&mut self.0, ones => for (one, count) in ones.iter_mut().zip(counts) {
            // Within `limit`, and so within the type.
            *one = one.wrapping_add(count as _);
        });
    }

    /// Makes room for counts up to `limit`.
    fn widen(&mut self, limit: u64) {
        let wide = |ones: &Self| {
            if limit > u64::from(u32::MAX) {
                Counts::Quads(ones.iter().collect())
            } else if limit > u64::from(u16::MAX) {
                Counts::Doubles(ones.iter().map(|count| count as u32).collect())
            } else {
                Counts::Words(ones.iter().map(|count| count as u16).collect())
            }
        };
        let most = match &self.0 {
            Counts::Bytes(_) => u64::from(u8::MAX),
            Counts::Words(_) => u64::from(u16::MAX),
            Counts::Doubles(_) => u64::from(u32::MAX),
            Counts::Quads(_) => u64::MAX,
        };
        if limit > most {
            self.0 = wide(self);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ones;

    #[test]
    fn counts_widen_and_keep_their_values() {
        let mut ones = Ones::new(3);
        let (mut limit, mut expected) = (0, [0u64; 3]);
        for step in [1, 200, 55, 60_000, 5_279, 1 << 31, 1 << 32, 1 << 60] {
            limit += step;
            let more = [step, 0, step / 2];
            ones.add(limit, more.into_iter());
            for (sum, more) in expected.iter_mut().zip(more) {
                *sum += more;
            }
            assert!(ones.iter().eq(expected), "{ones:?} {expected:?}");
        }
        assert_eq!(ones.bits(), 3);
    }
}
