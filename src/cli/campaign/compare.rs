//! `fits campaign compare`: two campaigns side by side.

use std::path::PathBuf;

use clap::Args;
use fits_injectors::campaign::report::compare::{Comparison, Side};
use fits_injectors::campaign::report::load::Loaded;

use crate::cli::CliError;
use crate::exit_code;

/// Compare two campaigns: a hardened program against the plain one, or one backend against the other
///
/// Shares with the interval of their difference (Newcombe) and a test, points of the fault space that fail, mean work to failure, and cost. With
/// the same plan also experiment by experiment; the exit status is 1 then if an outcome differs.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// The folder of one campaign
    #[arg(value_hint = clap::ValueHint::DirPath)]
    a: PathBuf,
    /// The folder of the other
    #[arg(value_hint = clap::ValueHint::DirPath)]
    b: PathBuf,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &CompareArgs) -> Result<u8, CliError> {
    let folders = [&args.a, &args.b];
    let names = folders.map(|folder| folder.display().to_string());
    let [a, b] = [Loaded::open(&args.a)?, Loaded::open(&args.b)?];
    let comparison = Comparison::of(side(&names[0], &a), side(&names[1], &b));
    let text = match args.json {
        true => comparison.to_json(),
        false => comparison.to_text(),
    };
    crate::cli::print(&text)?;
    Ok(match &comparison.pairs {
        Some(pairs) if !pairs.disagreeing.is_empty() => exit_code::DIFFERENT,
        _ => 0,
    })
}

fn side<'a>(name: &'a str, loaded: &'a Loaded) -> Side<'a> {
    Side {
        name,
        rows: &loaded.rows,
        tallies: &loaded.tallies,
        golden_seconds: loaded.provenance.reference.cpu_seconds,
        points: loaded.points(),
    }
}
