//! The table of outcomes, with an interval for every share.

use std::fmt::Write;

use fits_injectors::campaign::statistics::{Interval, weighted, wilson};
use fits_injectors::campaign::store::Archive;
use fits_injectors::experiment::outcome::Outcome;
use serde_json::{Value, json};

use crate::cli::CliError;

/// Of all intervals.
pub(super) const CONFIDENCE: f64 = 0.95;

/// For people. Shares are of the outcomes that are known, without what was not reached or is invalid; where points stand for several others, weighted
/// shares of the fault space are beside the raw ones.
pub(super) fn outcomes(archive: &Archive) -> Result<String, CliError> {
    let table = Table::of(archive)?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = table.write(&mut out);
    Ok(out)
}

/// For programs.
pub(super) fn json(archive: &Archive) -> Result<Value, CliError> {
    let table = Table::of(archive)?;
    let rows = table.rows.iter().map(|row| {
        json!({
            "outcome": row.outcome.name(),
            "count": row.count,
            "share": row.share.map(interval),
            "weight": row.weight,
            "weighted_share": row.weighted.map(interval),
        })
    });
    Ok(json!({
        "points": archive.provenance().points,
        "size": archive.size()?,
        "missing": table.missing,
        "outcomes": rows.collect::<Vec<_>>(),
        "confidence": CONFIDENCE,
        "known": archive.known()?,
    }))
}

fn interval(interval: Interval) -> Value {
    json!([interval.estimate, interval.low, interval.high])
}

struct Table {
    rows: Vec<Row>,
    missing: u64,
    unweighted: bool,
}

struct Row {
    outcome: Outcome,
    count: u64,
    share: Option<Interval>,
    weight: f64,
    weighted: Option<Interval>,
}

impl Table {
    fn of(archive: &Archive) -> Result<Self, CliError> {
        let counts = archive.weighted()?;
        let unweighted = archive.is_unweighted()?;
        let of = |outcome: Outcome| counts.get(&Some(outcome)).copied().unwrap_or_default();
        let counted = Outcome::ALL.into_iter().filter(|one| one.is_counted());
        let (all, weight) = counted.fold((0, 0.0), |(all, weight), one| {
            (all + of(one).0, weight + of(one).1)
        });
        // How many equally weighted experiments say as much (Kish).
        let effective = match unweighted {
            true => all as f64,
            false => archive.effective()?,
        };
        let rows = Outcome::ALL.into_iter().map(|outcome| {
            let (count, own) = of(outcome);
            let shown = outcome.is_counted() && all > 0;
            Row {
                outcome,
                count,
                share: shown.then(|| wilson(count, all, CONFIDENCE)),
                weight: own,
                weighted: (shown && !unweighted)
                    .then(|| weighted(own / weight, effective, CONFIDENCE)),
            }
        });
        Ok(Self {
            rows: rows.collect(),
            missing: counts.get(&None).map_or(0, |(count, _)| *count),
            unweighted,
        })
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let weighted = match self.unweighted {
            true => "",
            false => "   weighted share of the fault space",
        };
        writeln!(
            out,
            "{:<12} {:>9}  {:<25}{weighted}",
            "outcome", "count", "share (95 % interval)"
        )?;
        for row in &self.rows {
            let share = row
                .share
                .map(|share| share.in_percent())
                .unwrap_or_default();
            let weighted = match row.weighted {
                Some(interval) => format!("   {}", interval.in_percent()),
                None => String::new(),
            };
            let line = format!(
                "{:<12} {:>9}  {share:<25}{weighted}",
                row.outcome.name(),
                row.count
            );
            writeln!(out, "{}", line.trim_end())?;
        }
        if self.missing > 0 {
            writeln!(out, "{:<12} {:>9}", "(no outcome)", self.missing)?;
        }
        Ok(())
    }
}
