//! Counting outcomes: raw, and weighted by how much of the fault space each experiment stands for.

use std::collections::BTreeMap;

use super::row::{Dimension, Key, Row};
use crate::campaign::statistics::{Interval, weighted, wilson};
use crate::experiment::outcome::Outcome;

/// Confidence of all intervals of a report.
pub const CONFIDENCE: f64 = 0.95;

/// How often each outcome came up among some experiments.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tally {
    counts: BTreeMap<Outcome, u64>,
    weights: BTreeMap<Outcome, f64>,
    squares: f64,
}

impl Tally {
    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome, weight: f64) {
        *self.counts.entry(outcome).or_default() += 1;
        *self.weights.entry(outcome).or_default() += weight;
        if outcome.is_counted() {
            self.squares += weight * weight;
        }
    }

    /// Experiments with this outcome.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts.get(&outcome).copied().unwrap_or_default()
    }

    /// Points of the fault space that they stand for.
    #[must_use]
    pub fn weight(&self, outcome: Outcome) -> f64 {
        self.weights.get(&outcome).copied().unwrap_or_default()
    }

    /// Experiments that say something about the program.
    #[must_use]
    pub fn valid(&self) -> u64 {
        self.sum(Outcome::is_counted)
    }

    /// Points of the fault space that those stand for.
    #[must_use]
    pub fn valid_weight(&self) -> f64 {
        let counted = self
            .weights
            .iter()
            .filter(|(outcome, _)| outcome.is_counted());
        counted.map(|(_, weight)| weight).sum()
    }

    /// All.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.sum(|_| true)
    }

    /// Those with an outcome that `fits`.
    pub fn sum(&self, fits: impl Fn(Outcome) -> bool) -> u64 {
        let fitting = self.counts.iter().filter(|(outcome, _)| fits(**outcome));
        fitting.map(|(_, count)| count).sum()
    }

    /// The share of the valid experiments with an outcome that `fits`, with its interval; `None` without any.
    pub fn share(&self, fits: impl Fn(Outcome) -> bool) -> Option<Interval> {
        let valid = self.valid();
        (valid > 0).then(|| {
            let count = self.sum(|outcome| outcome.is_counted() && fits(outcome));
            wilson(count, valid, CONFIDENCE)
        })
    }

    /// The same share of the fault space.
    pub fn weighted_share(&self, fits: impl Fn(Outcome) -> bool) -> Option<Interval> {
        let total = self.valid_weight();
        (total > 0.0).then(|| {
            let fitting = self.weights.iter();
            let fitting = fitting.filter(|(outcome, _)| outcome.is_counted() && fits(**outcome));
            // The sum of nothing is -0.
            let part = fitting.map(|(_, weight)| weight).sum::<f64>() + 0.0;
            weighted(part / total, total * total / self.squares, CONFIDENCE)
        })
    }
}

/// All experiments of a campaign, counted in every way.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tallies {
    /// All of them.
    pub total: Tally,
    /// By dimension and key.
    pub groups: Vec<(Dimension, Vec<(Key, Tally)>)>,
    /// Whether every experiment stands for the same share of the fault space.
    pub uniform: bool,
    /// Signals that ended crashes.
    pub signals: BTreeMap<String, u64>,
    /// How many were not run, by how they are known.
    pub known: BTreeMap<String, u64>,
    /// Activated, by outcome: yes, no, unknown.
    pub activated: BTreeMap<(Outcome, String), u64>,
    /// Instructions from the fault to the end, of crashes and detections, ascending.
    pub latencies: Vec<u64>,
    /// Processor time of all runs, seconds.
    pub cpu_seconds: f64,
    /// Experiments that were run.
    pub ran: u64,
}

impl Tallies {
    /// Counts `rows`; `length` is the number of instructions of the longest thread.
    #[must_use]
    pub fn of(rows: &[Row], length: u64) -> Self {
        let first = rows.first().map_or(1.0, |row| row.weight);
        let mut all = Self {
            uniform: rows.iter().all(|row| row.weight == first),
            ..Self::default()
        };
        for row in rows {
            all.add(row);
        }
        all.latencies.sort_unstable();
        all.groups = Dimension::ALL
            .into_iter()
            .map(|dimension| (dimension, group(rows, dimension, length)))
            .filter(|(_, groups)| !groups.is_empty())
            .collect();
        all
    }

    fn add(&mut self, row: &Row) {
        self.total.add(row.outcome, row.weight);
        self.cpu_seconds += row.cpu_seconds;
        match &row.known {
            Some(known) => *self.known.entry(known.clone()).or_default() += 1,
            None => self.ran += 1,
        }
        if row.outcome == Outcome::Crash {
            let signal = row.signal.as_deref().unwrap_or("exit status");
            *self.signals.entry(signal.to_owned()).or_default() += 1;
        }
        if matches!(row.outcome, Outcome::Crash | Outcome::Detected) {
            self.latencies.extend(row.latency);
        }
        if !row.activated.is_empty() && row.outcome.is_counted() {
            let key = (row.outcome, row.activated.clone());
            *self.activated.entry(key).or_default() += 1;
        }
    }
}

/// In the order of the keys where they have one, otherwise the largest first.
fn group(rows: &[Row], dimension: Dimension, length: u64) -> Vec<(Key, Tally)> {
    let mut groups: BTreeMap<Key, Tally> = BTreeMap::new();
    for row in rows {
        if let Some(key) = row.key(dimension, length) {
            groups.entry(key).or_default().add(row.outcome, row.weight);
        }
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|(a, left), (b, right)| {
        a.order
            .cmp(&b.order)
            .then(right.all().cmp(&left.all()))
            .then_with(|| a.text.cmp(&b.text))
    });
    groups
}
