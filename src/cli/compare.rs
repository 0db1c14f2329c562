//! `fits compare`: two golden folders, or two lists of experiments, side by side.

use std::path::{Path, PathBuf};

use clap::Args;
use fits_injectors::experiment::record::{FILE, Results};
use fits_stats::compare::compare;

use super::CliError;
use crate::exit_code;

/// Compare two golden runs file by file, or two lists of experiments pair by pair
///
/// Experiments (folders of `fits inject --out`, or files of `fits inject --json`) belong together by their faults. Compared are the state right
/// after the injection, the outcome, the end, the outputs, activation and latency.
///
/// Rows belong together by their keys (address, register, number), not by their place. Times, process numbers, paths, the environment, the
/// backend and the version of fits may differ. The exit status is 0 when everything else is equal, 1 when something differs, 2 when a folder
/// is missing or is not that of a golden run.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The folder of one run
    #[arg(value_hint = clap::ValueHint::DirPath)]
    a: PathBuf,
    /// The folder of the other
    #[arg(value_hint = clap::ValueHint::DirPath)]
    b: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print one line for each difference, comma-separated
    #[arg(long)]
    csv: bool,
    /// Show at most this many differences of each file; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit: usize,
}

pub(crate) fn run(args: &CompareArgs) -> Result<u8, CliError> {
    let limit = if args.limit == 0 {
        usize::MAX
    } else {
        args.limit
    };
    if is_experiments(&args.a) && is_experiments(&args.b) {
        return experiments(args, limit);
    }
    let comparison = compare(&args.a, &args.b, limit)?;
    let text = match (args.json, args.csv) {
        (true, _) => comparison.to_json(),
        (_, true) => comparison.to_csv(),
        _ => comparison.to_text(),
    };
    super::print(&text)?;
    Ok(if comparison.equal {
        0
    } else {
        exit_code::DIFFERENT
    })
}

fn is_experiments(path: &Path) -> bool {
    path.is_file() || path.join(FILE).is_file()
}

fn experiments(args: &CompareArgs, limit: usize) -> Result<u8, CliError> {
    let (a, b) = (Results::read(&args.a)?, Results::read(&args.b)?);
    let paths = [&args.a, &args.b].map(|path| path.display().to_string());
    let paths = paths.each_ref().map(String::as_str);
    let comparison = fits_injectors::experiment::compare::compare(&a, &b, paths)?;
    let text = match (args.json, args.csv) {
        (true, _) => comparison.to_json(),
        (_, true) => comparison.to_csv(),
        _ => comparison.to_text(limit),
    };
    super::print(&text)?;
    Ok(if comparison.equal {
        0
    } else {
        exit_code::DIFFERENT
    })
}
