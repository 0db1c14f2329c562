//! Random draws: the same seed gives the same fault, in every version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::bits::Bits;

/// Draws of one fault: ChaCha with 8 rounds, its key made of the seed by `seed_from_u64`. Moment, address and values come from streams of their
/// own (0, 1 and 2), so that deciding one of them by hand leaves the others as they are.
#[derive(Clone, Debug)]
pub struct Draw {
    moment: ChaCha8Rng,
    address: ChaCha8Rng,
    values: ChaCha8Rng,
}

impl Draw {
    /// The draws of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let stream = |number| {
            let mut generator = ChaCha8Rng::seed_from_u64(seed);
            generator.set_stream(number);
            generator
        };
        Self {
            moment: stream(0),
            address: stream(1),
            values: stream(2),
        }
    }

    /// A number below `bound` for a moment; 0 if the bound is.
    pub fn moment(&mut self, bound: u64) -> u64 {
        below(self.moment.next_u64(), bound)
    }

    /// A number below `bound` for an address; 0 if the bound is.
    pub fn address(&mut self, bound: u64) -> u64 {
        below(self.address.next_u64(), bound)
    }

    /// 512 bits for a value.
    pub fn bits(&mut self) -> Bits {
        let mut bytes = [0; 64];
        self.values.fill_bytes(&mut bytes);
        Bits::from_bytes(&bytes)
    }
}

/// The high half of the product: all numbers alike but for a part in 2^64/bound.
fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_draws_for_ever() {
        let mut draw = Draw::new(42);
        let moments = [draw.moment(1_000_000), draw.moment(1_000_000)];
        let address = draw.address(4096);
        let value = draw.bits().low();
        let mut again = Draw::new(42);
        assert_eq!(again.bits().low(), value);
        assert_eq!(again.address(4096), address);
        assert_eq!([again.moment(1_000_000), again.moment(1_000_000)], moments);
        assert_eq!(
            (moments, address, value),
            ([681_896, 950_275], 2935, 3_387_013_202_841_124_863)
        );
        assert_eq!(Draw::new(1).moment(0), 0);
    }

    #[test]
    fn draws_reach_the_whole_range() {
        let drawn: Vec<u64> = (0..1000).map(|seed| Draw::new(seed).moment(10)).collect();
        for number in 0..10 {
            let count = drawn.iter().filter(|&&other| other == number).count();
            assert!((60..140).contains(&count), "{number}: {count} of 1000");
        }
    }
}
