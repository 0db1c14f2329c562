//! Raw numbers as CSV; medians and ratios as a table.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::measure::Sample;
use crate::plan::{Method, unit};

/// Writes every sample.
pub fn write_raw(path: &Path, samples: &[Sample]) -> Result<()> {
    let mut writer =
        csv::Writer::from_path(path).with_context(|| format!("cannot write {}", path.display()))?;
    for sample in samples {
        writer.serialize(sample)?;
    }
    writer.flush()?;
    Ok(())
}

/// Medians of the runs of a point.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Wall time in seconds.
    pub wall: f64,
    /// User and system time in seconds.
    pub processor: f64,
    /// Highest peak memory: target, fits, fits-stats, in KiB.
    pub memory: [u64; 3],
    /// Instructions counted.
    pub instructions: Option<u64>,
}

/// Medians by program, size and method.
pub struct Table {
    cells: BTreeMap<(String, u64), BTreeMap<Method, Cell>>,
}

impl Table {
    /// Takes the medians.
    pub fn of(samples: &[Sample]) -> Table {
        let mut groups: BTreeMap<(String, u64, Method), Vec<&Sample>> = BTreeMap::new();
        for sample in samples {
            let method = Method::ALL
                .into_iter()
                .find(|method| method.name() == sample.method);
            if let Some(method) = method {
                let key = (sample.program.clone(), sample.size, method);
                groups.entry(key).or_default().push(sample);
            }
        }
        let mut cells: BTreeMap<(String, u64), BTreeMap<Method, Cell>> = BTreeMap::new();
        for ((program, size, method), group) in groups {
            cells
                .entry((program, size))
                .or_default()
                .insert(method, cell(&group));
        }
        Table { cells }
    }

    /// The programs that were measured over sizes.
    pub fn programs(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .cells
            .keys()
            .filter(|(name, _)| !unit(name).is_empty())
            .map(|(name, _)| name.clone())
            .collect();
        names.dedup();
        names
    }

    /// Sizes and wall times of a program under a method.
    pub fn series(&self, program: &str, method: Method) -> Vec<(u64, f64)> {
        self.cells
            .iter()
            .filter(|((name, _), _)| name == program)
            .filter_map(|((_, size), methods)| Some((*size, methods.get(&method)?.wall)))
            .collect()
    }
}

fn cell(group: &[&Sample]) -> Cell {
    let median_of = |value: fn(&Sample) -> f64| median(group.iter().map(|s| value(s)).collect());
    let highest = |value: fn(&Sample) -> u64| group.iter().map(|s| value(s)).max().unwrap_or(0);
    Cell {
        wall: median_of(|s| s.wall),
        processor: median_of(|s| s.user + s.system),
        memory: [
            highest(|s| s.target_kib),
            highest(|s| s.fits_kib),
            highest(|s| s.stats_kib),
        ],
        instructions: group.iter().find_map(|s| s.instructions),
    }
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| program | size | method | wall s | user+sys s | wall / native | user+sys / native | instructions | peak MiB target, fits, fits-stats |"
        )?;
        writeln!(f, "|---|---:|---|---:|---:|---:|---:|---:|---|")?;
        for ((program, size), methods) in &self.cells {
            let native = methods.get(&Method::Native);
            for (method, cell) in methods {
                let ratio = |value: fn(&Cell) -> f64| match native {
                    Some(native) => format!("{:.2}", value(cell) / value(native)),
                    None => "-".to_owned(),
                };
                let [target, fits, stats] = cell.memory.map(|kib| kib as f64 / 1024.0);
                let instructions = cell.instructions.map_or("-".to_owned(), |n| n.to_string());
                writeln!(
                    f,
                    "| {program} | {size} {} | {} | {:.4} | {:.4} | {} | {} | {instructions} | {target:.1}, {fits:.1}, {stats:.1} |",
                    unit(program),
                    method.name(),
                    cell.wall,
                    cell.processor,
                    ratio(|cell| cell.wall),
                    ratio(|cell| cell.processor),
                )?;
            }
        }
        Ok(())
    }
}

/// Writes the table with what it was measured on.
pub fn write_text(path: &Path, table: &Table, host: &str) -> Result<()> {
    let text = format!(
        "# A run of the benchmarks\n\n`cargo run --release -p fits-benchmarks`, all in one run; medians; raw numbers in `raw.csv`.\n\n{host}\n{table}\n\
         Figures: [fib](time-fib.svg), [aes](time-aes.svg), [md5](time-md5.svg): time over size;\n\
         [ratio](ratio.svg): the translator's time over the time of single-stepping.\n"
    );
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn median_of_odd_and_even() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
