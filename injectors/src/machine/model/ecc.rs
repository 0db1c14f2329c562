//! What an error-correcting code makes of wrong bits, by real decoding.
//!
//! A module has 18 devices of 4 bits: 16 with data, 2 with check bits, 72 bits a beat.
//!
//! - SECDED: Hsiao's (72, 64) code over one beat. Columns of the check matrix are the 8 of weight 1 (check bits), all 56 of weight 3, and 8 of weight 5;
//!   M. Y. Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes", 1970.
//! - ChipKill: a Reed-Solomon code (18, 16) over GF(256): a symbol is what one device gives in two beats, so that any error of one device is
//!   corrected.

use std::sync::LazyLock;

/// Devices of a module.
pub const DEVICES: usize = 18;
/// Those that hold data.
pub const DATA_DEVICES: usize = 16;
/// Bits of a device in a beat.
pub const LANE: u32 = 4;

/// A code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Nothing is checked.
    None,
    /// One wrong bit of 72 is corrected, two are detected.
    Secded,
    /// One wrong device is corrected.
    ChipKill,
}

/// What becomes of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// There is none.
    Clean,
    /// It is corrected.
    Corrected,
    /// It is noticed, and can't be corrected.
    Detected,
    /// It is not noticed, or corrected wrongly.
    Silent,
}

/// Wrong bits of two beats: in each, device d has bits 4d to 4d + 3, data first.
pub type Pattern = [u128; 2];

impl Code {
    /// What becomes of wrong bits.
    #[must_use]
    pub fn judge(self, pattern: Pattern) -> Verdict {
        match self {
            _ if pattern == [0, 0] => Verdict::Clean,
            Code::None => Verdict::Silent,
            Code::Secded => worst(secded(pattern[0]), secded(pattern[1])),
            Code::ChipKill => chip_kill(symbols(pattern)),
        }
    }

    /// How many beats make a code word.
    #[must_use]
    pub fn beats(self) -> u64 {
        match self {
            Code::None | Code::Secded => 1,
            Code::ChipKill => 2,
        }
    }
}

/// Of two code words of one access: a detected error stops it, before a silent one is used.
fn worst(one: Verdict, other: Verdict) -> Verdict {
    let rank = |verdict| match verdict {
        Verdict::Clean => 0,
        Verdict::Corrected => 1,
        Verdict::Silent => 2,
        Verdict::Detected => 3,
    };
    if rank(one) >= rank(other) { one } else { other }
}

/// Columns of the check matrix, by bit.
static COLUMNS: LazyLock<[u8; 72]> = LazyLock::new(|| {
    let weight = |wanted: u32| (0..=255_u8).filter(move |column| column.count_ones() == wanted);
    let data = weight(3).chain(weight(5).take(8));
    let mut columns = [0; 72];
    for (column, value) in columns.iter_mut().zip(data.chain(weight(1))) {
        *column = value;
    }
    columns
});

fn bits(pattern: u128) -> impl Iterator<Item = usize> {
    (0..72).filter(move |bit| pattern >> bit & 1 != 0)
}

/// Decodes one beat.
fn secded(pattern: u128) -> Verdict {
    let syndrome = bits(pattern).fold(0, |sum, bit| sum ^ COLUMNS[bit]);
    match (syndrome, pattern) {
        (0, 0) => Verdict::Clean,
        (0, _) => Verdict::Silent,
        _ => match COLUMNS.iter().position(|&column| column == syndrome) {
            Some(bit) if pattern == 1 << bit => Verdict::Corrected,
            Some(_) => Verdict::Silent,
            None => Verdict::Detected,
        },
    }
}

/// What each device gives in two beats.
fn symbols(pattern: Pattern) -> [u8; DEVICES] {
    std::array::from_fn(|device| {
        let nibble = |beat: u128| (beat >> (4 * device) & 15) as u8;
        nibble(pattern[0]) | nibble(pattern[1]) << 4
    })
}

/// Powers of the generator 2 of GF(256) with x^8 + x^4 + x^3 + x^2 + 1, and their logarithms.
static FIELD: LazyLock<([u8; 510], [u8; 256])> = LazyLock::new(|| {
    let (mut powers, mut logarithms) = ([0; 510], [0; 256]);
    let mut value = 1_u16;
    for exponent in 0..255 {
        powers[exponent] = value as u8;
        powers[exponent + 255] = value as u8;
        logarithms[value as usize] = exponent as u8;
        value <<= 1;
        if value > 255 {
            value ^= 0x11d;
        }
    }
    (powers, logarithms)
});

/// Decodes by two syndromes: S0 is the sum of the wrong symbols, S1 that of symbol times place.
fn chip_kill(wrong: [u8; DEVICES]) -> Verdict {
    let (powers, logarithms) = &*FIELD;
    let mut syndromes = [0_u8; 2];
    for (place, &symbol) in wrong.iter().enumerate() {
        if symbol != 0 {
            syndromes[0] ^= symbol;
            syndromes[1] ^= powers[usize::from(logarithms[usize::from(symbol)]) + place];
        }
    }
    match syndromes {
        [0, 0] => Verdict::Silent,
        [0, _] | [_, 0] => Verdict::Detected,
        [sum, weighted] => {
            let place = (usize::from(logarithms[usize::from(weighted)]) + 255
                - usize::from(logarithms[usize::from(sum)]))
                % 255;
            let mut right = wrong;
            match right.get_mut(place) {
                None => Verdict::Detected,
                Some(symbol) => {
                    *symbol ^= sum;
                    if right == [0; DEVICES] {
                        Verdict::Corrected
                    } else {
                        Verdict::Silent
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::model::random::Random;

    fn draw_bits(random: &mut Random, count: u32) -> u128 {
        let mut pattern = 0_u128;
        while pattern.count_ones() < count {
            pattern |= 1 << random.below(72);
        }
        pattern
    }

    #[test]
    fn columns_are_odd_and_different() {
        let mut columns = COLUMNS.to_vec();
        assert!(columns.iter().all(|column| column.count_ones() % 2 == 1));
        columns.sort_unstable();
        columns.dedup();
        assert_eq!(columns.len(), 72);
    }

    #[test]
    fn secded_corrects_every_bit_and_detects_every_pair() {
        for one in 0..72 {
            assert_eq!(Code::Secded.judge([1 << one, 0]), Verdict::Corrected);
            for two in 0..one {
                let pair = 1_u128 << one | 1 << two;
                assert_eq!(Code::Secded.judge([0, pair]), Verdict::Detected);
            }
        }
    }

    /// Of three wrong bits, those are corrected wrongly that lie in a code word of weight 4: 4 for each such word. They are counted by pairs
    /// of columns with the same sum: each word is made of three such pairs of pairs.
    #[test]
    fn secded_miscorrects_triples_at_the_analytical_rate() {
        let mut pairs = [0_u64; 256];
        for one in 0..72 {
            for two in 0..one {
                pairs[usize::from(COLUMNS[one] ^ COLUMNS[two])] += 1;
            }
        }
        let words = pairs
            .iter()
            .map(|&n| n * n.saturating_sub(1) / 2)
            .sum::<u64>()
            / 3;
        let expected = 4.0 * words as f64 / (72.0 * 71.0 * 70.0 / 6.0);
        let mut random = Random::new(1, 0);
        let trials = 200_000;
        let silent = (0..trials)
            .filter(|_| secded(draw_bits(&mut random, 3)) == Verdict::Silent)
            .count();
        let measured = silent as f64 / f64::from(trials);
        assert!(
            (measured / expected - 1.0).abs() < 0.01,
            "{measured} and not {expected}"
        );
    }

    #[test]
    fn chip_kill_corrects_every_error_of_one_device() {
        for device in 0..DEVICES {
            for error in 1..256_u128 {
                let pattern = [(error & 15) << (4 * device), (error >> 4) << (4 * device)];
                assert_eq!(Code::ChipKill.judge(pattern), Verdict::Corrected);
            }
        }
    }

    /// A pair of wrong symbols is corrected wrongly where it is a code word of weight 3 without one symbol. A maximum distance separable code
    /// (18, 16) has C(18, 3) · 255 such words, each of which leaves 3 pairs.
    #[test]
    fn chip_kill_miscorrects_pairs_at_the_analytical_rate() {
        let words = 816.0 * 255.0;
        let expected = 3.0 * words / (153.0 * 255.0 * 255.0);
        let mut random = Random::new(2, 0);
        let trials = 1_000_000;
        let mut silent = 0;
        for _ in 0..trials {
            let one = random.below(18) as usize;
            let two = (one + 1 + random.below(17) as usize) % DEVICES;
            let mut wrong = [0; DEVICES];
            wrong[one] = 1 + random.below(255) as u8;
            wrong[two] = 1 + random.below(255) as u8;
            silent += u32::from(chip_kill(wrong) == Verdict::Silent);
        }
        let measured = f64::from(silent) / f64::from(trials);
        assert!(
            (measured / expected - 1.0).abs() < 0.01,
            "{measured} and not {expected}"
        );
    }

    #[test]
    fn nothing_wrong_is_clean_and_no_code_is_silent() {
        for code in [Code::None, Code::Secded, Code::ChipKill] {
            assert_eq!(code.judge([0, 0]), Verdict::Clean);
        }
        assert_eq!(Code::None.judge([1, 0]), Verdict::Silent);
    }
}
