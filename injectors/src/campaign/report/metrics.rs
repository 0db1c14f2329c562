//! What follows from the shares: vulnerability factors, rates, failures in time.
//!
//! Sources: program vulnerability factor, Sridharan and Kaeli, HPCA 2009 (the share of register bits × instructions in which a fault changes
//! what the program does); FIT and MTTF as JEDEC JESD89 has them: failures in 10⁹ hours; absolute failure counts in place of
//! coverage: Schirmeier, Borchert and Spinczyk, DSN 2015.

use super::row::Dimension;
use super::tally::{Tallies, Tally};
use crate::campaign::statistics::Interval;
use crate::experiment::outcome::Outcome;

/// Hours in which failures in time are counted.
const FIT_HOURS: f64 = 1e9;

/// A rate of raw faults, and what it strikes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RawRate {
    /// Raw faults of one bit in 10⁹ hours.
    pub fit_per_bit: f64,
    /// Bits that faults can strike.
    pub bits: u64,
}

/// One figure with its interval.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name in tables.
    pub name: &'static str,
    /// What it is, for people.
    pub title: &'static str,
    /// The figure.
    pub value: Interval,
    /// Its unit; empty for a share.
    pub unit: &'static str,
}

/// Silent data corruption.
pub fn is_sdc(outcome: Outcome) -> bool {
    outcome == Outcome::Sdc
}

/// Detected, unrecoverable: the program's own check, a crash, or a hang.
pub fn is_due(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Detected | Outcome::Crash | Outcome::Hang)
}

/// Everything but masked.
pub fn is_failure(outcome: Outcome) -> bool {
    is_sdc(outcome) || is_due(outcome)
}

/// The figures of a campaign, with respect to the fault space (weighted). `points` is the size of the fault space, where it is known.
#[must_use]
pub fn metrics(tallies: &Tallies, points: Option<u128>, raw: Option<RawRate>) -> Vec<Metric> {
    let total = &tallies.total;
    let share = |fits: fn(Outcome) -> bool| total.weighted_share(fits);
    let (Some(sdc), Some(due), Some(failure)) = (share(is_sdc), share(is_due), share(is_failure))
    else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut add = |name, title, value, unit| {
        all.push(Metric {
            name,
            title,
            value,
            unit,
        });
    };
    add(
        "pvf",
        "Program vulnerability factor (not masked)",
        failure,
        "",
    );
    add("sdc_rate", "Silent data corruption", sdc, "");
    add(
        "due_rate",
        "Detected or ended: detected, crash, hang",
        due,
        "",
    );
    if let Some(covered) = coverage(total) {
        add(
            "detection_coverage",
            "Detected by the program's own check, of all failures",
            covered,
            "",
        );
    }
    if let Some(points) = points {
        let points = points as f64;
        add(
            "sdc_points",
            "Points of the fault space that end in SDC",
            times(sdc, points),
            "points",
        );
        add(
            "failure_points",
            "Points of the fault space that fail",
            times(failure, points),
            "points",
        );
    }
    if let Some(raw) = raw {
        let rate = raw.fit_per_bit * raw.bits as f64;
        for (name, title, share) in [
            ("fit_sdc", "SDC failures in time", sdc),
            ("fit_due", "DUE failures in time", due),
            ("fit", "Failures in time", failure),
        ] {
            add(name, title, times(share, rate), "FIT");
        }
        add(
            "mttf",
            "Mean time to failure",
            mttf(times(failure, rate)),
            "hours",
        );
    }
    all
}

/// The vulnerability factor of each register: the share of its faults that are not masked.
#[must_use]
pub fn register_factors(tallies: &Tallies) -> Vec<(&str, Interval)> {
    let groups = tallies.groups.iter();
    let registers = groups.filter(|(dimension, _)| *dimension == Dimension::Register);
    registers
        .flat_map(|(_, groups)| groups)
        .filter_map(|(key, tally)| Some((key.text.as_str(), tally.weighted_share(is_failure)?)))
        .collect()
}

/// Of the faults that are not masked, those that the program itself detected.
fn coverage(total: &Tally) -> Option<Interval> {
    let mut failures = Tally::default();
    for outcome in [
        Outcome::Sdc,
        Outcome::Detected,
        Outcome::Crash,
        Outcome::Hang,
    ] {
        let count = total.count(outcome);
        for _ in 0..count {
            failures.add(outcome, total.weight(outcome) / count as f64);
        }
    }
    failures.weighted_share(|outcome| outcome == Outcome::Detected)
}

fn times(share: Interval, factor: f64) -> Interval {
    Interval {
        estimate: share.estimate * factor,
        low: share.low * factor,
        high: share.high * factor,
    }
}

/// The more failures, the shorter the time: its bounds change places. Without failures it is infinite.
fn mttf(fit: Interval) -> Interval {
    Interval {
        estimate: FIT_HOURS / fit.estimate,
        low: FIT_HOURS / fit.high,
        high: FIT_HOURS / fit.low,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tallies(counts: &[(Outcome, u64)]) -> Tallies {
        let mut all = Tallies::default();
        for (outcome, count) in counts {
            for _ in 0..*count {
                all.total.add(*outcome, 1.0);
            }
        }
        all
    }

    fn value(all: &[Metric], name: &str) -> Interval {
        all.iter().find(|metric| metric.name == name).unwrap().value
    }

    #[test]
    fn rates_follow_from_shares() {
        let counts = [
            (Outcome::Masked, 600),
            (Outcome::Sdc, 200),
            (Outcome::Crash, 150),
            (Outcome::Detected, 50),
            (Outcome::Invalid, 500),
        ];
        let raw = RawRate {
            fit_per_bit: 1e-3,
            bits: 2000,
        };
        let all = metrics(&tallies(&counts), Some(1_000_000), Some(raw));
        let close = |name, wanted: f64| {
            let got = value(&all, name).estimate;
            assert!((got - wanted).abs() < 1e-9 * wanted.abs(), "{name}: {got}");
        };
        close("pvf", 0.4);
        close("sdc_rate", 0.2);
        close("due_rate", 0.2);
        close("detection_coverage", 0.125);
        close("sdc_points", 200_000.0);
        close("fit", 0.8);
        close("mttf", 1.25e9);
        let time = value(&all, "mttf");
        assert!(time.low < time.estimate && time.estimate < time.high);
    }

    #[test]
    fn no_failure_seen_does_not_mean_that_there_is_none() {
        let all = metrics(&tallies(&[(Outcome::Masked, 1068)]), None, None);
        let sdc = value(&all, "sdc_rate");
        assert_eq!(sdc.estimate, 0.0);
        assert!(sdc.high > 0.0 && sdc.high < 0.0037);
        assert!(metrics(&Tallies::default(), None, None).is_empty());
    }
}
