//! Two shares: how much they differ, and whether that can be chance.

use statrs::distribution::{Discrete, Hypergeometric};

use super::interval::{Interval, weighted, wilson};

/// The interval of the difference of two shares, a − b: Newcombe's hybrid of the two Wilson intervals (Statistics in Medicine 1998, method 10).
/// The difference lies within −1 to 1.
#[must_use]
pub fn newcombe(ka: u64, na: u64, kb: u64, nb: u64, confidence: f64) -> Interval {
    hybrid(wilson(ka, na, confidence), wilson(kb, nb, confidence))
}

/// [`newcombe`] of two shares that were estimated with weights, each with its effective number of trials.
#[must_use]
pub fn weighted_difference(
    (share_a, trials_a): (f64, f64),
    (share_b, trials_b): (f64, f64),
    confidence: f64,
) -> Interval {
    hybrid(
        weighted(share_a, trials_a, confidence),
        weighted(share_b, trials_b, confidence),
    )
}

fn hybrid(a: Interval, b: Interval) -> Interval {
    let estimate = a.estimate - b.estimate;
    if estimate.is_nan() {
        return Interval {
            estimate,
            low: -1.0,
            high: 1.0,
        };
    }
    let below = (a.estimate - a.low).hypot(b.high - b.estimate);
    let above = (a.high - a.estimate).hypot(b.estimate - b.low);
    Interval {
        estimate,
        low: (estimate - below).max(-1.0),
        high: (estimate + above).min(1.0),
    }
}

/// The two-sided p-value that two shares are the same: Fisher's exact test with the mid-p correction (the observed table counts half), which is
/// less timid than the exact one. All tables that are not likelier than the observed one count. 1 without trials.
#[must_use]
pub fn two_proportions(ka: u64, na: u64, kb: u64, nb: u64) -> f64 {
    let (all, yes) = (na + nb, ka + kb);
    let Ok(tables) = Hypergeometric::new(all, yes, na) else {
        return 1.0;
    };
    let observed = tables.ln_pmf(ka);
    let (first, last) = (yes.saturating_sub(nb), yes.min(na));
    let mut p = 0.0;
    for table in first..=last {
        let likely = tables.ln_pmf(table);
        // Likelihoods that are equal but for rounding are equal.
        if (likely - observed).abs() < 1e-7 {
            p += likely.exp() / 2.0;
        } else if likely < observed {
            p += likely.exp();
        }
    }
    p.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    use super::*;

    #[test]
    fn differences_are_those_of_the_literature() {
        // Newcombe 1998b, table II, method 10: 56/70 − 48/80, 9/10 − 3/10, 10/10 − 0/10.
        let near = |found: Interval, low: f64, high: f64| {
            assert!(
                (found.low - low).abs() < 5e-5 && (found.high - high).abs() < 5e-5,
                "{found:?}"
            );
        };
        near(newcombe(56, 70, 48, 80, 0.95), 0.0524, 0.3339);
        near(newcombe(9, 10, 3, 10, 0.95), 0.1705, 0.8090);
        near(newcombe(10, 10, 0, 10, 0.95), 0.6075, 1.0);
        near(newcombe(0, 10, 0, 10, 0.95), -0.2775, 0.2775);
        let none = newcombe(3, 10, 0, 0, 0.95);
        assert_eq!((none.low, none.high), (-1.0, 1.0));
        let same = weighted_difference((0.8, 70.0), (0.6, 80.0), 0.95);
        near(same, 0.0524, 0.3339);
    }

    /// Counted by hand: 3 of 4 against 1 of 4 has tables with 1, 16, 36, 16, 1 of 70 ways.
    #[test]
    fn the_test_counts_tables() {
        let p = two_proportions(3, 4, 1, 4);
        assert!((p - (16.0 + 1.0 + 1.0) / 70.0).abs() < 1e-9, "{p}");
        assert!((two_proportions(5, 10, 5, 10) - (1.0 - 0.5 * 63504.0 / 184_756.0)).abs() < 1e-9);
        assert!(two_proportions(300, 1000, 200, 1000) < 1e-6);
        assert_eq!(two_proportions(0, 0, 3, 10), two_proportions(3, 10, 0, 0));
        assert!((0.0..=1.0).contains(&two_proportions(0, 10, 0, 10)));
    }

    #[test]
    fn the_interval_of_the_difference_covers_and_the_test_errs_as_often_as_it_may() {
        let mut generator = ChaCha8Rng::seed_from_u64(7);
        let mut count = |share: f64, trials: u64| {
            let yes = |random: u64| (random >> 11) as f64 / (1u64 << 53) as f64 <= share;
            (0..trials).filter(|_| yes(generator.next_u64())).count() as u64
        };
        for (a, b) in [(0.02, 0.02), (0.1, 0.05), (0.5, 0.4), (0.0, 0.01)] {
            let runs = 1000;
            let (mut hits, mut rejected) = (0, 0);
            for _ in 0..runs {
                let (ka, kb) = (count(a, 200), count(b, 150));
                hits += u32::from(newcombe(ka, 200, kb, 150, 0.95).contains(a - b));
                rejected += u32::from(two_proportions(ka, 200, kb, 150) < 0.05);
            }
            assert!(hits >= 930, "{a} {b}: {hits}");
            assert!(a != b || rejected <= 70, "{a}: {rejected}");
        }
    }
}
