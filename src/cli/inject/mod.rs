//! `fits inject`: faults in a program, and what becomes of it.
//!
//! - `options`: what can be typed; `shorthand`: flags that are another way to write one fault; `lists`: the faults of each experiment.
//! - `carry`: from there to the results, with what `crate::cli::experiments` has for campaigns too.

mod carry;
mod lists;
mod options;
mod shorthand;
mod store;

use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{FILE, Results};

use super::CliError;
use crate::exit_code;
pub(crate) use options::InjectArgs;

pub(crate) fn run(args: &InjectArgs) -> Result<u8, CliError> {
    let results = carry::run(args)?;
    if args.json {
        super::print(&results.to_json())?;
    } else {
        tell(args, &results)?;
    }
    Ok(status(args, &results))
}

fn tell(args: &InjectArgs, results: &Results) -> Result<(), CliError> {
    for warning in &results.warnings {
        eprintln!("fits: warning: {warning}");
    }
    let mut text = String::new();
    for record in &results.experiments {
        text.push_str(&record.to_text());
        text.push('\n');
    }
    if results.experiments.len() > 1 {
        text.push_str(&results.counts_to_text());
    }
    super::print(&text)?;
    if let Some(out) = &args.out {
        eprintln!("Results in {}", out.join(FILE).display());
    }
    Ok(())
}

fn status(args: &InjectArgs, results: &Results) -> u8 {
    let of = |outcome| match outcome {
        Outcome::Masked => 0,
        Outcome::Sdc => exit_code::SDC,
        Outcome::Detected => exit_code::DETECTED,
        Outcome::Crash => exit_code::CRASH,
        Outcome::Hang => exit_code::HANG,
        Outcome::NotReached => exit_code::NOT_REACHED,
        Outcome::Invalid => exit_code::INVALID,
    };
    let worst = results.experiments.iter().map(|record| of(record.outcome));
    match worst.max().unwrap_or_default() {
        0 => 0,
        _ if args.dry_run => exit_code::NOT_REPRODUCIBLE,
        worst if args.exit_code => worst,
        _ => 0,
    }
}
