//! Random numbers for a list of faults.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Streams 0 to 2 belong to the draws of single faults.
const STREAM: u64 = 3;

/// The numbers of a seed.
#[derive(Debug, Clone)]
pub(super) struct Random(ChaCha8Rng);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(STREAM);
        Self(generator)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, all exactly alike; 0 if the bound is.
    pub(super) fn below(&mut self, bound: u128) -> u128 {
        if bound <= 1 {
            return 0;
        }
        // As many bits as the largest number has; what is too large is drawn again.
        let bits = 128 - (bound - 1).leading_zeros();
        loop {
            let number = if bits <= 64 {
                u128::from(self.number() >> (64 - bits))
            } else {
                let wide = u128::from(self.number()) << 64 | u128::from(self.number());
                wide >> (128 - bits)
            };
            if number < bound {
                return number;
            }
        }
    }

    /// A number above 0 and up to 1.
    pub(super) fn part(&mut self) -> f64 {
        ((self.number() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_below_and_all_alike() {
        let mut random = Random::new(1);
        for bound in [1, 2, 3, 10, 1 << 40, (1 << 64) + 3, u128::MAX] {
            for _ in 0..100 {
                assert!(random.below(bound) < bound);
            }
        }
        let mut counts = [0u32; 12];
        for _ in 0..120_000 {
            counts[random.below(12) as usize] += 1;
        }
        // Chi-square with 11 degrees of freedom: 31.3 at 0.001.
        let chi: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - 10_000.0).powi(2) / 10_000.0)
            .sum();
        assert!(chi < 31.3, "{chi} {counts:?}");
        let mut high = Random::new(2);
        let upper = (0..2000).filter(|_| high.below(3 << 70) >= 1 << 71).count();
        assert!((567..767).contains(&upper), "a third: {upper}");
    }

    #[test]
    fn a_seed_gives_the_same_numbers_for_ever() {
        let mut random = Random::new(42);
        let numbers = [
            random.below(1000),
            random.below(1000),
            random.below(1 << 70),
        ];
        assert_eq!(numbers, FIRST);
    }

    const FIRST: [u128; 3] = [370, 606, 861_950_297_362_076_135_391];
}
