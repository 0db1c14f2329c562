//! How often a protected module fails in the field: by simulation of faults and real decoding, and by formula.
//!
//! A module of one rank and [`DEVICES`] devices runs for a time without scrubbing; it fails when the code can't correct something. Faults arrive
//! as a Poisson process, each with the mode and place of the field study.

use super::dram::{Extent, Mode, Rates};
use super::ecc::{Code, DEVICES, LANE, Verdict};
use super::random::Random;
use crate::machine::geometry::Geometry;

/// A module and how long it runs.
#[derive(Clone, Copy, Debug)]
pub struct Mission {
    /// Of each device.
    pub rates: Rates,
    /// Its cells; one rank.
    pub geometry: Geometry,
    /// Its code.
    pub code: Code,
    /// Hours.
    pub hours: f64,
}

impl Mission {
    /// Expected number of faults of all devices.
    #[must_use]
    pub fn faults(&self) -> f64 {
        self.rates.total() * 1e-9 * self.hours * DEVICES as f64
    }

    /// The probability of failure, estimated by `trials` modules that have as many faults as a Poisson distribution gives, with modules that have
    /// fewer than `least` faults left out of the draw: they are known not to fail.
    #[must_use]
    pub fn simulate(&self, trials: u64, least: u64, seed: u64) -> f64 {
        let mean = self.faults();
        let below: f64 = (0..least).map(|count| poisson(mean, count)).sum();
        let mut random = Random::new(seed, 0);
        let failed = (0..trials)
            .filter(|_| {
                let count = self.draw_count(below, least, &mut random);
                self.fails(count, &mut random)
            })
            .count();
        (1.0 - below) * failed as f64 / trials as f64
    }

    fn draw_count(&self, below: f64, least: u64, random: &mut Random) -> u64 {
        let mean = self.faults();
        let mut rest = random.fraction() * (1.0 - below);
        let mut count = least;
        loop {
            rest -= poisson(mean, count);
            if rest < 0.0 || count > least + 1000 {
                return count;
            }
            count += 1;
        }
    }

    fn fails(&self, count: u64, random: &mut Random) -> bool {
        let mut present: Vec<Extent> = Vec::new();
        for _ in 0..count {
            let kind = self.rates.draw(random);
            let fault = Extent::draw(kind, &self.geometry, random);
            let bad = |verdict| matches!(verdict, Verdict::Detected | Verdict::Silent);
            let alone = if many_words(fault.mode) {
                // Of very many words with independent bits, one has the worst pattern.
                self.code.judge([15 << (LANE as usize * fault.device), 0])
            } else {
                fault.judge(self.code)
            };
            let together = present.iter().any(|other| {
                other.device != fault.device
                    && fault.meet(other, self.code).is_some()
                    && bad(fault.judge_with(other, self.code))
            });
            if bad(alone) || together {
                return true;
            }
            present.push(fault);
        }
        false
    }

    /// The probability of failure by formula, to second order in the rates.
    #[must_use]
    pub fn analytical(&self) -> f64 {
        let devices = DEVICES as f64;
        let expected = |mode: usize| self.rates.0[mode].iter().sum::<f64>() * 1e-9 * self.hours;
        let first: f64 = (0..7)
            .map(|mode| devices * expected(mode) * self.alone(Mode::ALL[mode]))
            .sum();
        let pairs = devices * (devices - 1.0) / 2.0;
        let second: f64 = (0..7)
            .flat_map(|one| (0..7).map(move |two| (one, two)))
            .map(|(one, two)| {
                let (a, b) = (Mode::ALL[one], Mode::ALL[two]);
                let corrected = (1.0 - self.alone(a)) * (1.0 - self.alone(b));
                pairs * expected(one) * expected(two) * corrected * self.overlap(a, b)
            })
            .sum();
        1.0 - (-(first + second)).exp()
    }

    /// The probability that a fault of one device is more than the code corrects.
    fn alone(&self, mode: Mode) -> f64 {
        match (self.code, mode) {
            (Code::ChipKill, _) | (Code::Secded, Mode::Bit | Mode::Column) => 0.0,
            // Of the 15 patterns of a word's 4 bits, 4 have one bit.
            (Code::Secded, Mode::Word) => 11.0 / 15.0,
            (Code::Secded, _) | (Code::None, _) => 1.0,
        }
    }

    /// The probability that faults of two devices hit a common code word.
    fn overlap(&self, a: Mode, b: Mode) -> f64 {
        let geometry = &self.geometry;
        let banks = f64::from(1_u32 << geometry.bank_bits);
        let rows = f64::from(1_u32 << geometry.row_bits);
        let words = (1_u64 << geometry.column_bits) as f64 / self.code.beats() as f64;
        let all_rows = |mode| !matches!(mode, Mode::Bit | Mode::Word | Mode::Row);
        let all_columns = |mode| !matches!(mode, Mode::Bit | Mode::Word | Mode::Column);
        let row = if all_rows(a) || all_rows(b) {
            1.0
        } else {
            1.0 / rows
        };
        let column = if all_columns(a) || all_columns(b) {
            1.0
        } else {
            1.0 / words
        };
        let bank = match (a, b) {
            (Mode::MultiRank, _) | (_, Mode::MultiRank) => 1.0,
            (Mode::MultiBank, Mode::MultiBank) => {
                1.0 - (banks - 2.0) * (banks - 3.0) / (banks * (banks - 1.0))
            }
            (Mode::MultiBank, _) | (_, Mode::MultiBank) => 2.0 / banks,
            _ => 1.0 / banks,
        };
        bank * row * column
    }
}

fn many_words(mode: Mode) -> bool {
    matches!(
        mode,
        Mode::Row | Mode::Bank | Mode::MultiBank | Mode::MultiRank
    )
}

fn poisson(mean: f64, count: u64) -> f64 {
    (1..=count).fold((-mean).exp(), |share, k| share * mean / k as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mission(code: Code, hours: f64) -> Mission {
        Mission {
            rates: Rates::FIELD_2012,
            geometry: Geometry {
                rank_bits: 0,
                ..Geometry::default()
            },
            code,
            hours,
        }
    }

    #[track_caller]
    fn agree(measured: f64, expected: f64) {
        assert!(
            (measured / expected - 1.0).abs() < 0.01,
            "simulated {measured}, by formula {expected}"
        );
    }

    #[test]
    fn secded_fails_at_the_analytical_rate() {
        // Seven years.
        let mission = mission(Code::Secded, 61_320.0);
        agree(mission.simulate(400_000, 1, 1), mission.analytical());
    }

    #[test]
    fn chip_kill_fails_at_the_analytical_rate() {
        let mission = mission(Code::ChipKill, 10_000.0);
        agree(mission.simulate(400_000, 2, 2), mission.analytical());
    }

    #[test]
    fn chip_kill_fails_less_than_secded_and_secded_less_than_nothing() {
        let by = |code| mission(code, 61_320.0).analytical();
        assert!(by(Code::ChipKill) < by(Code::Secded) / 10.0);
        assert!(by(Code::Secded) < by(Code::None));
    }

    #[test]
    fn without_a_code_any_fault_is_a_failure() {
        let mission = mission(Code::None, 61_320.0);
        agree(
            mission.simulate(200_000, 1, 3),
            1.0 - (-mission.faults()).exp(),
        );
    }
}
