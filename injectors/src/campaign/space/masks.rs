//! Which bits are changed together: how many ways there are, and each by its number.

use crate::bits::Bits;
use crate::campaign::file::MaskChoice;

/// In how many ways a mask fits into bits that can be changed.
pub(super) fn count(mask: MaskChoice, bits: Bits) -> u128 {
    match mask {
        MaskChoice::Bit => bits.count().into(),
        MaskChoice::All => u128::from(!bits.is_zero()),
        MaskChoice::Byte => bytes(bits).count() as u128,
        MaskChoice::Burst(length) => {
            let room = |run: std::ops::RangeInclusive<u32>| {
                (run.end() - run.start() + 2).saturating_sub(length)
            };
            bits.runs().into_iter().map(room).sum::<u32>().into()
        }
        MaskChoice::Bits(number) => combinations(bits.count(), number),
    }
}

/// The mask with that number, below [`count`].
pub(super) fn nth(mask: MaskChoice, bits: Bits, number: u128) -> Bits {
    let index = usize::try_from(number).unwrap_or(usize::MAX);
    let one = |bit: Option<u32>| bit.map_or(Bits::ZERO, |bit| Bits::range(bit..=bit));
    match mask {
        MaskChoice::Bit => one(bits.iter().nth(index)),
        MaskChoice::All => bits,
        MaskChoice::Byte => bytes(bits)
            .nth(index)
            .map_or(Bits::ZERO, |byte| Bits::range(8 * byte..=8 * byte + 7)),
        MaskChoice::Burst(length) => {
            let first = bits
                .runs()
                .into_iter()
                .flat_map(|run| {
                    *run.start()..(run.end() + 2).saturating_sub(length).max(*run.start())
                })
                .nth(index);
            first.map_or(Bits::ZERO, |first| Bits::range(first..=first + length - 1))
        }
        MaskChoice::Bits(many) => combination(bits, many, number),
    }
}

/// Numbers of the bytes that can be changed as a whole.
fn bytes(bits: Bits) -> impl Iterator<Item = u32> {
    (0..Bits::WIDTH / 8).filter(move |byte| {
        let whole = Bits::range(8 * byte..=8 * byte + 7);
        bits & whole == whole
    })
}

/// n over k.
fn combinations(n: u32, k: u32) -> u128 {
    if k > n {
        return 0;
    }
    // Each step is whole: it is i over j of smaller numbers.
    (1..=u128::from(k)).fold(1, |product, i| product * (u128::from(n - k) + i) / i)
}

/// The combination with that number in colexicographic order: its highest member is the largest one that leaves the number not below the count of
/// all combinations before it, and so on downwards.
fn combination(bits: Bits, many: u32, number: u128) -> Bits {
    let places: Vec<u32> = bits.iter().collect();
    let mut left = number;
    let mut mask = Bits::ZERO;
    let mut top = places.len() as u32;
    for member in (1..=many).rev() {
        let chosen = (0..top)
            .rev()
            .find(|&place| combinations(place, member) <= left);
        let place = chosen.unwrap_or_default();
        left -= combinations(place, member).min(left);
        if let Some(&bit) = places.get(place as usize) {
            mask.set(bit);
        }
        top = place;
    }
    mask
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_mask_comes_once() {
        let flags = Bits::from_u64(0x4_0cd5);
        let high = Bits::range(3..=20) | Bits::range(64..=70);
        for bits in [Bits::ones(8), Bits::ones(32), flags, high, Bits::ZERO] {
            for (mask, size) in [
                (MaskChoice::Bit, 1),
                (MaskChoice::Byte, 8),
                (MaskChoice::Burst(3), 3),
                (MaskChoice::Bits(2), 2),
                (MaskChoice::Bits(3), 3),
                (MaskChoice::All, bits.count()),
            ] {
                let count = count(mask, bits);
                let all: HashSet<Bits> = (0..count).map(|number| nth(mask, bits, number)).collect();
                assert_eq!(all.len() as u128, count, "{mask} {bits}");
                for found in all {
                    assert_eq!(found.count(), size, "{mask} {bits}");
                    assert_eq!(found & bits, found);
                }
            }
        }
    }

    #[test]
    fn counts_are_those_of_the_books() {
        let ones = Bits::ones;
        assert_eq!(count(MaskChoice::Bits(2), ones(64)), 2016);
        assert_eq!(
            count(MaskChoice::Bits(8), ones(512)),
            110_859_231_254_749_120
        );
        assert_eq!(count(MaskChoice::Burst(4), ones(64)), 61);
        assert_eq!(count(MaskChoice::Burst(9), ones(8)), 0);
        assert_eq!(count(MaskChoice::Byte, ones(64)), 8);
        assert_eq!(count(MaskChoice::Byte, Bits::range(4..=19)), 1);
    }
}
