//! The interval of one share.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Beta, ContinuousCDF};

use super::quantile;

/// An estimate with its interval. The interval of a share lies within 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// What was observed.
    pub estimate: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// From end to end.
    #[must_use]
    pub fn width(&self) -> f64 {
        self.high - self.low
    }

    /// Whether it has `value` in it.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    /// Estimate, low and high end in per cent: with two decimals, or as many as it takes to tell a share from none and from all.
    #[must_use]
    pub fn percents(&self) -> [String; 3] {
        [self.estimate, self.low, self.high].map(|share| {
            let told = |decimals: usize| format!("{:.decimals$}", 100.0 * share);
            let is_exact = share == 0.0 || share == 1.0;
            let says_more = |text: &String| {
                is_exact || !matches!(text.parse::<f64>(), Ok(0.0 | 100.0 | -100.0))
            };
            (2..=9).map(told).find(says_more).unwrap_or_else(|| told(2))
        })
    }

    /// `12.34 % (10.42 to 14.55)`.
    #[must_use]
    pub fn in_percent(&self) -> String {
        let [estimate, low, high] = self.percents();
        format!("{estimate} % ({low} to {high})")
    }

    /// Nothing is known of a share.
    const UNKNOWN: Self = Self {
        estimate: f64::NAN,
        low: 0.0,
        high: 1.0,
    };
}

/// Wilson's score interval of a share (Wilson, JASA 1927). Without trials: 0 to 1, and the estimate is not a number.
#[must_use]
pub fn wilson(successes: u64, trials: u64, confidence: f64) -> Interval {
    if trials == 0 {
        return Interval::UNKNOWN;
    }
    score(successes as f64 / trials as f64, trials as f64, confidence)
}

/// [`wilson`] of a sample without replacement out of `population`: the variance shrinks by (N−n)/(N−1), which is the same as more trials.
/// When all of the population was tried, the share is known.
#[must_use]
pub fn wilson_finite(successes: u64, trials: u64, population: u128, confidence: f64) -> Interval {
    if trials == 0 {
        return Interval::UNKNOWN;
    }
    let share = successes as f64 / trials as f64;
    if u128::from(trials) >= population {
        return Interval {
            estimate: share,
            low: share,
            high: share,
        };
    }
    let (size, population) = (trials as f64, population as f64);
    let shrinks = (population - size) / (population - 1.0);
    score(share, size / shrinks, confidence)
}

/// Wilson's interval of a share that was estimated with weights, from the effective number of trials ([`effective_trials`], Kish 1965).
#[must_use]
pub fn weighted(share: f64, effective_trials: f64, confidence: f64) -> Interval {
    if effective_trials.is_nan() || effective_trials <= 0.0 || share.is_nan() {
        return Interval::UNKNOWN;
    }
    score(share.clamp(0.0, 1.0), effective_trials, confidence)
}

fn score(share: f64, trials: f64, confidence: f64) -> Interval {
    let z = quantile(confidence);
    let square = z * z / trials;
    let middle = (share + square / 2.0) / (1.0 + square);
    let half = (share * (1.0 - share) * square + square * square / 4.0).sqrt() / (1.0 + square);
    Interval {
        estimate: share,
        // The ends are exact there; the arithmetic is not.
        low: if share == 0.0 {
            0.0
        } else {
            (middle - half).max(0.0)
        },
        high: if share == 1.0 {
            1.0
        } else {
            (middle + half).min(1.0)
        },
    }
}

/// The exact interval of Clopper and Pearson (Biometrika 1934): it covers the share at least as often as it says, mostly more often.
#[must_use]
pub fn clopper_pearson(successes: u64, trials: u64, confidence: f64) -> Interval {
    if trials == 0 {
        return Interval::UNKNOWN;
    }
    let tail = (1.0 - confidence) / 2.0;
    let (yes, no) = (successes as f64, (trials - successes.min(trials)) as f64);
    let beta = |a: f64, b: f64, at: f64| Beta::new(a, b).map(|beta| beta.inverse_cdf(at)).ok();
    let low = if successes == 0 {
        Some(0.0)
    } else {
        beta(yes, no + 1.0, tail)
    };
    let high = if successes >= trials {
        Some(1.0)
    } else {
        beta(yes + 1.0, no, 1.0 - tail)
    };
    Interval {
        estimate: yes / trials as f64,
        low: low.unwrap_or(0.0),
        high: high.unwrap_or(1.0),
    }
}

/// How many trials of equal weight would say as much: (Σw)² / Σw² (Kish, Survey Sampling, 1965).
#[must_use]
pub fn effective_trials(weights: impl IntoIterator<Item = f64>) -> f64 {
    let (sum, squares) = weights
        .into_iter()
        .fold((0.0, 0.0), |(sum, squares), weight| {
            (sum + weight, squares + weight * weight)
        });
    if squares > 0.0 {
        sum * sum / squares
    } else {
        0.0
    }
}

/// What was seen in one stratum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stratum {
    /// Points of the space in it.
    pub points: f64,
    /// Experiments in it.
    pub trials: u64,
    /// Those with the outcome.
    pub successes: u64,
}

/// The share of an outcome in a space that was sampled stratum by stratum: Σ points·share / Σ points. Its variance is Σ (points/all)² v, where v is
/// the variance of the stratum's share with one success and one failure added to it (so that a stratum in which nothing was seen does not count as
/// known), with the correction for a finite population; the interval is Wilson's with as many trials as give that variance.
/// Strata without trials are left out: the interval is then one of the rest.
#[must_use]
pub fn stratified(strata: &[Stratum], confidence: f64) -> Interval {
    let tried = || strata.iter().filter(|stratum| stratum.trials > 0);
    let all: f64 = tried().map(|stratum| stratum.points).sum();
    if all <= 0.0 {
        return Interval::UNKNOWN;
    }
    let (mut share, mut smooth, mut variance) = (0.0, 0.0, 0.0);
    for stratum in tried() {
        let part = stratum.points / all;
        let trials = stratum.trials as f64;
        let successes = stratum.successes as f64;
        let plus = (successes + 1.0) / (trials + 2.0);
        let left = ((stratum.points - trials) / (stratum.points - 1.0).max(1.0)).clamp(0.0, 1.0);
        share += part * successes / trials;
        smooth += part * if left > 0.0 { plus } else { successes / trials };
        variance += part * part * plus * (1.0 - plus) / trials * left;
    }
    if variance <= 0.0 {
        return Interval {
            estimate: share,
            low: share,
            high: share,
        };
    }
    weighted(share, smooth * (1.0 - smooth) / variance, confidence)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn shares_are_told_from_none_and_from_all() {
        let told = |hits, trials| wilson(hits, trials, 0.95).in_percent();
        assert_eq!(told(541, 1068), "50.66 % (47.66 to 53.65)");
        assert_eq!(told(0, 1068), "0.00 % (0.00 to 0.36)");
        assert_eq!(told(0, 100_000), "0.00 % (0.00 to 0.004)");
        assert_eq!(told(100_000, 100_000), "100.00 % (99.996 to 100.00)");
        assert_eq!(told(1, 1_000_000), "0.0001 % (0.00002 to 0.001)");
        assert_eq!(told(0, 0), "NaN % (0.00 to 100.00)");
    }

    fn near(found: Interval, low: f64, high: f64) {
        assert!(
            (found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5,
            "{found:?}"
        );
    }

    #[test]
    fn intervals_are_those_of_the_literature() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        near(wilson(81, 263, 0.95), 0.2553, 0.3662);
        near(wilson(15, 148, 0.95), 0.0624, 0.1605);
        near(wilson(0, 20, 0.95), 0.0, 0.1611);
        near(wilson(1, 29, 0.95), 0.0061, 0.1718);
        near(clopper_pearson(81, 263, 0.95), 0.2527, 0.3676);
        near(clopper_pearson(15, 148, 0.95), 0.0578, 0.1617);
        near(clopper_pearson(0, 20, 0.95), 0.0, 0.1684);
        near(clopper_pearson(1, 29, 0.95), 0.0009, 0.1776);
    }

    #[test]
    fn nothing_seen_is_not_nothing_known() {
        let found = wilson(0, 1068, 0.95);
        assert_eq!((found.estimate, found.low), (0.0, 0.0));
        assert!(found.high > 0.0 && found.high <= 0.0036, "{found:?}");
        let all = wilson(1068, 1068, 0.95);
        assert_eq!(all.high, 1.0);
        assert!((all.low + found.high - 1.0).abs() < 1e-12);
        assert!(clopper_pearson(0, 1068, 0.95).high > 0.0);
        let none = wilson(0, 0, 0.95);
        assert_eq!((none.low, none.high), (0.0, 1.0));
        assert!(none.estimate.is_nan());
    }

    #[test]
    fn a_finite_population_narrows_the_interval() {
        let endless = wilson(30, 100, 0.95);
        let large = wilson_finite(30, 100, 1 << 100, 0.95);
        assert!((large.low - endless.low).abs() < 1e-12);
        let small = wilson_finite(30, 100, 200, 0.95);
        assert!(small.width() < 0.75 * endless.width());
        assert_eq!(wilson_finite(30, 100, 100, 0.95).width(), 0.0);
    }

    struct Dice(ChaCha8Rng);

    impl Dice {
        fn new() -> Self {
            Self(ChaCha8Rng::seed_from_u64(20_251_121))
        }

        fn yes(&mut self, share: f64) -> bool {
            (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64 <= share
        }

        fn count(&mut self, share: f64, trials: u64) -> u64 {
            (0..trials).filter(|_| self.yes(share)).count() as u64
        }
    }

    /// How often the interval has the true share in it, over shares also near 0.
    #[test]
    fn wilson_covers_as_often_as_it_says() {
        let mut dice = Dice::new();
        let shares = [
            0.001, 0.003, 0.01, 0.03, 0.07, 0.15, 0.3, 0.5, 0.8, 0.97, 0.995,
        ];
        for trials in [100, 385] {
            let mut covered = Vec::new();
            for share in shares {
                let runs = 1500;
                let hits = (0..runs)
                    .filter(|_| {
                        let seen = dice.count(share, trials);
                        let exact = clopper_pearson(seen, trials, 0.95);
                        let found = wilson(seen, trials, 0.95);
                        assert!(exact.contains(found.estimate) && found.contains(found.estimate));
                        found.contains(share)
                    })
                    .count();
                covered.push(hits as f64 / f64::from(runs));
            }
            let mean = covered.iter().sum::<f64>() / covered.len() as f64;
            let worst = covered.iter().copied().fold(1.0, f64::min);
            assert!((0.93..0.99).contains(&mean), "{trials}: {mean} {covered:?}");
            // Near 0 and 1 Wilson's interval is known to dip (Brown, Cai, DasGupta 2001).
            assert!(worst >= 0.83, "{trials}: {covered:?}");
        }
    }

    #[test]
    fn the_exact_interval_covers_at_least_as_often_as_it_says() {
        let mut dice = Dice::new();
        for share in [0.005, 0.02, 0.2, 0.5] {
            let runs = 2000;
            let hits = (0..runs)
                .filter(|_| clopper_pearson(dice.count(share, 60), 60, 0.95).contains(share))
                .count();
            assert!(hits as f64 / f64::from(runs) >= 0.94, "{share}: {hits}");
        }
    }

    /// Out of a population of 400, half of it.
    #[test]
    fn the_finite_interval_covers_too_and_the_other_would_too_often() {
        let mut dice = Dice::new();
        let shares = [4, 8, 20, 40, 100, 200, 300];
        let mut all = 0;
        for yes in shares {
            let (mut hits, mut wide) = (0, 0);
            for _ in 0..2000 {
                let (mut left, mut yes_left, mut seen) = (400u64, yes, 0);
                for _ in 0..200 {
                    if dice.yes(yes_left as f64 / left as f64) {
                        seen += 1;
                        yes_left -= 1;
                    }
                    left -= 1;
                }
                let share = yes as f64 / 400.0;
                hits += u32::from(wilson_finite(seen, 200, 400, 0.95).contains(share));
                wide += u32::from(wilson(seen, 200, 0.95).contains(share));
            }
            // With four in all there are five possible samples.
            assert!(hits >= 1740, "{yes}: {hits} of 2000");
            assert!(wide > hits, "{yes}: {wide} {hits}");
            all += hits;
        }
        let mean = f64::from(all) / (2000 * shares.len()) as f64;
        assert!((0.93..0.985).contains(&mean), "{mean}");
    }

    #[test]
    fn the_stratified_interval_covers() {
        let mut dice = Dice::new();
        // Points, true share, trials.
        let strata = [
            (1e6, 0.02, 60),
            (2e5, 0.4, 60),
            (5e4, 0.9, 60),
            (1e3, 0.0, 60),
        ];
        let all: f64 = strata.iter().map(|(points, _, _)| points).sum();
        let truth: f64 = strata
            .iter()
            .map(|(points, share, _)| points * share / all)
            .sum();
        let (mut hits, mut sum) = (0, 0.0);
        for _ in 0..3000 {
            let seen = strata.map(|(points, share, trials)| Stratum {
                points,
                trials,
                successes: dice.count(share, trials),
            });
            let found = stratified(&seen, 0.95);
            sum += found.estimate;
            hits += u32::from(found.contains(truth));
        }
        assert!(
            (sum / 3000.0 - truth).abs() < 0.003,
            "unbiased: {} {truth}",
            sum / 3000.0
        );
        assert!((2790..=2985).contains(&hits), "{hits} of 3000");
    }

    #[test]
    fn strata_without_trials_are_left_out_and_exhausted_ones_are_known() {
        let stratum = |points, trials, successes| Stratum {
            points,
            trials,
            successes,
        };
        let found = stratified(&[stratum(100.0, 100, 30), stratum(300.0, 300, 0)], 0.95);
        assert_eq!((found.estimate, found.width()), (0.075, 0.0));
        assert!(stratified(&[], 0.95).estimate.is_nan());
        let found = stratified(&[stratum(1e9, 50, 0), stratum(1e9, 0, 0)], 0.95);
        assert!(found.estimate == 0.0 && found.high > 0.02);
        assert!((effective_trials([1.0; 80]) - 80.0).abs() < 1e-9);
        assert!((effective_trials([3.0, 1.0]) - 1.6).abs() < 1e-9);
        assert_eq!(effective_trials([]), 0.0);
    }
}
