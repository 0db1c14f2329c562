//! Two campaigns side by side: a hardened program against the plain one, or one backend against another.
//!
//! Shares of two different programs are not compared alone: a program that runs longer offers faults more points. Absolute failure counts
//! (Schirmeier, Borchert and Spinczyk, DSN 2015) and mean work to failure (Reis et al., ISCA 2005) stand beside them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::metrics::is_failure;
use super::row::Row;
use super::tally::{CONFIDENCE, Tallies, Tally};
use crate::campaign::statistics::{Interval, newcombe, two_proportions};
use crate::experiment::outcome::Outcome;

/// One of two campaigns.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its experiments, in the order of the plan.
    pub rows: &'a [Row],
    /// The same, counted.
    pub tallies: &'a Tallies,
    /// Processor time of the run without faults, seconds.
    pub golden_seconds: f64,
    /// Size of its fault space, where it is known.
    pub points: Option<u128>,
}

/// What they have in common, and what not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Their names.
    pub names: [String; 2],
    /// By outcome.
    pub outcomes: Vec<Difference>,
    /// All that is not masked.
    pub failures: Difference,
    /// Points of the fault space that fail, where both sizes are known.
    pub failure_points: Option<[f64; 2]>,
    /// Mean work to failure of the second over that of the first; `None` where one of them has no failure.
    pub mwtf_ratio: Option<Interval>,
    /// Processor time of the runs without faults, seconds.
    pub golden_seconds: [f64; 2],
    /// Processor time of a run with a fault, seconds, on average.
    pub seconds_each: [f64; 2],
    /// Experiment by experiment, if both have the same plan.
    pub pairs: Option<Pairs>,
    /// What to know before trusting it.
    pub warnings: Vec<String>,
}

/// The shares of one outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The outcome, or `failure`.
    pub outcome: String,
    /// How often.
    pub counts: [u64; 2],
    /// Of the valid experiments of each; none without any.
    pub shares: [Option<Interval>; 2],
    /// The share of the second less that of the first (Newcombe's interval).
    pub difference: Option<Interval>,
    /// How likely a difference as large is if there is none.
    pub p: Option<f64>,
}

/// The same plan carried out twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pairs {
    /// Experiments with the same outcome.
    pub agreeing: u64,
    /// All.
    pub all: u64,
    /// How often each pair of outcomes came up.
    pub table: BTreeMap<String, BTreeMap<String, u64>>,
    /// Those that disagree, with the commands that repeat them.
    pub disagreeing: Vec<Disagreement>,
}

/// An experiment with two outcomes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disagreement {
    /// Its place in the plan.
    pub number: u64,
    /// The fault.
    pub fault: String,
    /// What became of it.
    pub outcomes: [Outcome; 2],
    /// The commands that repeat it.
    pub replay: [String; 2],
}

impl Comparison {
    /// Compares them.
    #[must_use]
    pub fn of(a: Side<'_>, b: Side<'_>) -> Self {
        let totals = [&a.tallies.total, &b.tallies.total];
        let outcomes = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.is_counted());
        let mut warnings = Vec::new();
        for side in [a, b] {
            if !side.tallies.uniform {
                warnings.push(format!(
                    "{}: its experiments stand for different shares of the fault space: counts are of experiments, failure points and mean work to failure of the fault space",
                    side.name
                ));
            }
        }
        Self {
            names: [a.name, b.name].map(str::to_owned),
            outcomes: outcomes
                .map(|outcome| difference(outcome.name(), totals, |one| one == outcome))
                .collect(),
            failures: difference("failure", totals, is_failure),
            failure_points: a.points.zip(b.points).and_then(|(first, second)| {
                let of = |tally: &Tally, points: u128| {
                    Some(tally.weighted_share(is_failure)?.estimate * points as f64)
                };
                Some([of(totals[0], first)?, of(totals[1], second)?])
            }),
            mwtf_ratio: mwtf_ratio(a, b),
            golden_seconds: [a.golden_seconds, b.golden_seconds],
            seconds_each: [a, b].map(|side| match side.tallies.ran {
                0 => 0.0,
                ran => side.tallies.cpu_seconds / ran as f64,
            }),
            pairs: pairs(a.rows, b.rows),
            warnings,
        }
    }

    /// For programs: one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings, numbers and lists can always be written as JSON");
        text.push('\n');
        text
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        for warning in &self.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        let [a, b] = &self.names;
        writeln!(out, "A: {a}\nB: {b}\n")?;
        let heads = [
            "outcome",
            "A",
            "share of A",
            "B",
            "share of B",
            "B - A",
            "p",
        ];
        let mut lines = vec![heads.map(str::to_owned).to_vec()];
        for row in self.outcomes.iter().chain([&self.failures]) {
            lines.push(row.cells());
        }
        columns(out, &lines)?;
        writeln!(out)?;
        if let Some([first, second]) = self.failure_points {
            writeln!(
                out,
                "points of the fault space that fail: {first:.3e} and {second:.3e}, B/A {:.3}",
                second / first
            )?;
        }
        if let Some(ratio) = self.mwtf_ratio {
            let (low, high) = (ratio.low, ratio.high);
            writeln!(
                out,
                "mean work to failure, B/A: {:.3} ({low:.3} to {high:.3})",
                ratio.estimate
            )?;
        }
        let [first, second] = self.golden_seconds;
        writeln!(
            out,
            "run without faults: {first:.3} s and {second:.3} s of processor time"
        )?;
        let [first, second] = self.seconds_each;
        writeln!(
            out,
            "run with a fault, on average: {first:.3} s and {second:.3} s of processor time"
        )?;
        if let Some(pairs) = &self.pairs {
            writeln!(
                out,
                "\nthe same plan: {} of {} experiments have the same outcome",
                pairs.agreeing, pairs.all
            )?;
            for one in &pairs.disagreeing {
                let [first, second] = one.outcomes;
                writeln!(out, "  {} {}: {first} and {second}", one.number, one.fault)?;
                for replay in &one.replay {
                    writeln!(out, "    {replay}")?;
                }
            }
        }
        Ok(())
    }
}

impl Difference {
    fn cells(&self) -> Vec<String> {
        let share = |one: &Option<Interval>| one.map_or(String::new(), |share| share.in_percent());
        vec![
            self.outcome.clone(),
            self.counts[0].to_string(),
            share(&self.shares[0]),
            self.counts[1].to_string(),
            share(&self.shares[1]),
            share(&self.difference),
            self.p.map_or(String::new(), |p| format!("{p:.3}")),
        ]
    }
}

/// Lines of cells, each column as wide as its widest cell.
fn columns(out: &mut String, lines: &[Vec<String>]) -> std::fmt::Result {
    let count = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for line in lines {
        let cells = line.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn difference(name: &str, totals: [&Tally; 2], fits: impl Fn(Outcome) -> bool) -> Difference {
    let counts = totals.map(|total| total.sum(|one| one.is_counted() && fits(one)));
    let valid = totals.map(Tally::valid);
    let both = valid[0] > 0 && valid[1] > 0;
    Difference {
        outcome: name.to_owned(),
        counts,
        shares: totals.map(|total| total.share(&fits)),
        difference: both.then(|| newcombe(counts[1], valid[1], counts[0], valid[0], CONFIDENCE)),
        p: both.then(|| two_proportions(counts[0], valid[0], counts[1], valid[1])),
    }
}

/// Work is done once a run: mean work to failure is the inverse of vulnerability × time, and the rate of raw faults cancels out. The interval
/// is that of a ratio of two proportions by logarithms (Katz et al., Biometrics 1978).
fn mwtf_ratio(a: Side<'_>, b: Side<'_>) -> Option<Interval> {
    const Z: f64 = 1.959_963_984_540_054;
    let share = |side: Side<'_>| {
        let share = side.tallies.total.weighted_share(is_failure)?.estimate;
        let valid = side.tallies.total.valid() as f64;
        (share > 0.0 && side.golden_seconds > 0.0)
            .then_some((share, (1.0 - share) / (valid * share)))
    };
    let ((first, spread), (second, other)) = (share(a)?, share(b)?);
    let ratio = first * a.golden_seconds / (second * b.golden_seconds);
    let factor = (Z * (spread + other).sqrt()).exp();
    Some(Interval {
        estimate: ratio,
        low: ratio / factor,
        high: ratio * factor,
    })
}

/// `None` unless both have the same faults in the same order.
fn pairs(a: &[Row], b: &[Row]) -> Option<Pairs> {
    let same = |(a, b): (&Row, &Row)| a.number == b.number && a.fault == b.fault;
    if a.is_empty() || a.len() != b.len() || !a.iter().zip(b).all(same) {
        return None;
    }
    let mut pairs = Pairs {
        agreeing: 0,
        all: a.len() as u64,
        table: BTreeMap::new(),
        disagreeing: Vec::new(),
    };
    for (a, b) in a.iter().zip(b) {
        let row = pairs.table.entry(a.outcome.name().to_owned()).or_default();
        *row.entry(b.outcome.name().to_owned()).or_default() += 1;
        if a.outcome == b.outcome {
            pairs.agreeing += 1;
        } else {
            pairs.disagreeing.push(Disagreement {
                number: a.number,
                fault: a.fault.clone(),
                outcomes: [a.outcome, b.outcome],
                replay: [a.replay.clone(), b.replay.clone()],
            });
        }
    }
    Some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::point::Point;
    use crate::campaign::report::row::Site;

    fn rows(outcomes: &[Outcome]) -> Vec<Row> {
        let row = |(number, outcome): (usize, &Outcome)| {
            let point = Point {
                number: number as u64,
                fault: format!("reg:rax:{number}@7"),
                found: None,
                weight: 1.0,
                stratum: None,
                class: None,
                verdict: None,
            };
            Row::known(&point, *outcome, None, Site::default())
        };
        outcomes.iter().enumerate().map(row).collect()
    }

    fn side<'a>(rows: &'a [Row], tallies: &'a Tallies, golden_seconds: f64) -> Side<'a> {
        Side {
            name: "one",
            rows,
            tallies,
            golden_seconds,
            points: Some(1000),
        }
    }

    #[test]
    fn a_program_that_fails_half_as_often_but_runs_twice_as_long_is_no_better() {
        use Outcome::{Masked, Sdc};
        let (a, b) = (
            rows(&[Sdc, Sdc, Masked, Masked]),
            rows(&[Sdc, Masked, Masked, Masked]),
        );
        let (of_a, of_b) = (Tallies::of(&a, 10), Tallies::of(&b, 10));
        let both = Comparison::of(side(&a, &of_a, 1.0), side(&b, &of_b, 2.0));
        assert!((both.mwtf_ratio.unwrap().estimate - 1.0).abs() < 1e-12);
        assert_eq!(both.failures.counts, [2, 1]);
        assert!((both.failures.difference.unwrap().estimate + 0.25).abs() < 1e-12);
        assert_eq!(both.failure_points, Some([500.0, 250.0]));
        let pairs = both.pairs.as_ref().unwrap();
        assert_eq!((pairs.agreeing, pairs.all), (3, 4));
        assert_eq!(pairs.disagreeing[0].number, 1);
        assert!(both.to_text().contains("3 of 4 experiments"));
    }

    #[test]
    fn other_plans_have_no_pairs() {
        let (a, b) = (
            rows(&[Outcome::Masked]),
            rows(&[Outcome::Masked, Outcome::Hang]),
        );
        let (of_a, of_b) = (Tallies::of(&a, 10), Tallies::of(&b, 10));
        let both = Comparison::of(side(&a, &of_a, 1.0), side(&b, &of_b, 1.0));
        assert!(both.pairs.is_none() && both.mwtf_ratio.is_none());
    }
}
