//! The tables of a report as CSV files.

use std::path::{Path, PathBuf};

use super::metrics::{Metric, register_factors};
use super::row::Row;
use super::tally::{Tallies, Tally};
use crate::campaign::statistics::Interval;
use crate::experiment::outcome::Outcome;

/// Why a table could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {source}", path.display())]
pub struct TableError {
    path: PathBuf,
    source: csv::Error,
}

/// Columns of a table of tallies, behind its key.
const TALLY: [&str; 18] = [
    "experiments",
    "valid",
    "masked",
    "sdc",
    "detected",
    "crash",
    "hang",
    "not_reached",
    "invalid",
    "masked_share",
    "masked_low",
    "masked_high",
    "sdc_share",
    "sdc_low",
    "sdc_high",
    "weighted_points",
    "weighted_masked_share",
    "weighted_sdc_share",
];

/// Writes all tables into `folder`, which exists; their names.
///
/// # Errors
/// When a file cannot be written.
pub fn write_all(
    folder: &Path,
    rows: &[Row],
    tallies: &Tallies,
    metrics: &[Metric],
) -> Result<Vec<String>, TableError> {
    let mut names = Vec::new();
    let mut write = |name: &str, fill: &dyn Fn(&mut Writer) -> csv::Result<()>| {
        let name = format!("{name}.csv");
        let path = folder.join(&name);
        let failed = |source| TableError {
            path: path.clone(),
            source,
        };
        let mut writer = csv::Writer::from_path(&path).map_err(failed)?;
        fill(&mut writer).map_err(failed)?;
        writer.flush().map_err(|error| failed(error.into()))?;
        names.push(name);
        Ok(())
    };
    write("outcomes", &|out| outcomes(out, &tallies.total))?;
    for (dimension, groups) in &tallies.groups {
        write(&format!("by_{}", dimension.name()), &|out| {
            let head = [dimension.name()].into_iter().chain(TALLY);
            out.write_record(head)?;
            for (key, tally) in groups {
                let cells = std::iter::once(key.text.clone()).chain(cells(tally));
                out.write_record(cells)?;
            }
            Ok(())
        })?;
    }
    write("signals", &|out| {
        out.write_record(["signal", "crashes"])?;
        let mut each = tallies.signals.iter();
        each.try_for_each(|(signal, count)| out.write_record([signal, &count.to_string()]))
    })?;
    write("latencies", &|out| {
        out.write_record(["percentile", "instructions"])?;
        let mut each = percentiles(&tallies.latencies).into_iter();
        each.try_for_each(|(share, value)| out.write_record([share.to_string(), value.to_string()]))
    })?;
    write("metrics", &|out| {
        out.write_record(["metric", "value", "low", "high", "unit"])?;
        for metric in metrics {
            let [value, low, high] = numbers(Some(metric.value));
            out.write_record([metric.name, &value, &low, &high, metric.unit])?;
        }
        Ok(())
    })?;
    write("register_factors", &|out| {
        out.write_record(["register", "pvf", "low", "high"])?;
        for (register, factor) in register_factors(tallies) {
            let [value, low, high] = numbers(Some(factor));
            out.write_record([register, &value, &low, &high])?;
        }
        Ok(())
    })?;
    write("experiments", &|out| experiments(out, rows))?;
    Ok(names)
}

type Writer = csv::Writer<std::fs::File>;

fn outcomes(out: &mut Writer, total: &Tally) -> csv::Result<()> {
    out.write_record([
        "outcome",
        "experiments",
        "share",
        "low",
        "high",
        "weighted_points",
        "weighted_share",
        "weighted_low",
        "weighted_high",
    ])?;
    for outcome in Outcome::ALL {
        let is = |one| one == outcome;
        let counted = outcome.is_counted();
        let raw = numbers(total.share(is).filter(|_| counted));
        let weighted = numbers(total.weighted_share(is).filter(|_| counted));
        let mut record = vec![outcome.name().to_owned(), total.count(outcome).to_string()];
        record.extend(raw);
        record.push(total.weight(outcome).to_string());
        record.extend(weighted);
        out.write_record(record)?;
    }
    Ok(())
}

fn cells(tally: &Tally) -> Vec<String> {
    let mut cells = vec![tally.all().to_string(), tally.valid().to_string()];
    cells.extend(Outcome::ALL.map(|outcome| tally.count(outcome).to_string()));
    for outcome in [Outcome::Masked, Outcome::Sdc] {
        cells.extend(numbers(tally.share(|one| one == outcome)));
    }
    cells.push(tally.valid_weight().to_string());
    for outcome in [Outcome::Masked, Outcome::Sdc] {
        let [share, ..] = numbers(tally.weighted_share(|one| one == outcome));
        cells.push(share);
    }
    cells
}

/// Estimate, lower and upper bound; empty where there is nothing to estimate.
fn numbers(interval: Option<Interval>) -> [String; 3] {
    let of = |take: fn(&Interval) -> f64| {
        interval
            .as_ref()
            .map(take)
            .filter(|number| number.is_finite())
            .map_or(String::new(), |number| format!("{number:.9}"))
    };
    [
        of(|one| one.estimate),
        of(|one| one.low),
        of(|one| one.high),
    ]
}

/// Of ascending values, by the nearest rank.
pub(super) fn percentiles(values: &[u64]) -> Vec<(u32, u64)> {
    let at = |share: u32| {
        let rank = (values.len() * share as usize).div_ceil(100).max(1);
        values.get(rank - 1).map(|value| (share, *value))
    };
    [1, 5, 10, 25, 50, 75, 90, 95, 99, 100]
        .into_iter()
        .filter_map(at)
        .collect()
}

fn experiments(out: &mut Writer, rows: &[Row]) -> csv::Result<()> {
    out.write_record([
        "number",
        "fault",
        "outcome",
        "reason",
        "known",
        "weight",
        "stratum",
        "thread",
        "index",
        "pc",
        "function",
        "source",
        "instruction",
        "signal",
        "activated",
        "latency",
        "cpu_seconds",
        "replay",
    ])?;
    let text = |value: Option<String>| value.unwrap_or_default();
    for row in rows {
        out.write_record([
            row.number.to_string(),
            row.fault.clone(),
            row.outcome.name().to_owned(),
            row.reason.clone(),
            text(row.known.clone()),
            row.weight.to_string(),
            text(row.stratum.clone()),
            text(row.moment.map(|moment| moment.thread.to_string())),
            text(row.moment.map(|moment| moment.index.to_string())),
            text(row.pc.map(|pc| format!("{pc:#x}"))),
            row.site.function.clone(),
            row.site.source.clone(),
            row.site.text.clone(),
            text(row.signal.clone()),
            row.activated.clone(),
            text(row.latency.map(|latency| latency.to_string())),
            format!("{:.6}", row.cpu_seconds),
            row.replay.clone(),
        ])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=200).collect();
        let found = percentiles(&values);
        assert!(found.contains(&(50, 100)) && found.contains(&(99, 198)));
        assert_eq!(percentiles(&[7]).last(), Some(&(100, 7)));
        assert!(percentiles(&[]).is_empty());
    }
}
