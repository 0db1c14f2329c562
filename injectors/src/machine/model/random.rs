//! Random numbers of a model: the same seed gives the same errors, in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// ChaCha with 8 rounds, its key made of the seed; each part of a model has a stream of its own.
#[derive(Clone, Debug)]
pub struct Random(ChaCha8Rng);

/// Streams below belong to single faults and to campaigns.
const FIRST_STREAM: u64 = 16;

impl Random {
    /// The numbers of a part of a model.
    #[must_use]
    pub fn new(seed: u64, part: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(FIRST_STREAM + part);
        Self(generator)
    }

    /// Between 0 and 1, never either: 53 bits.
    pub fn fraction(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// A number below `bound`; 0 if the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Exponentially distributed with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.fraction().ln()
    }
}
