//! `fits-fuzz --seed S --cases N`: random sequences until a number of them is done.

use clap::Parser;
use fits_fuzz::error::Error;
use fits_fuzz::fuzz::Fuzzer;
use fits_fuzz::minimise::minimise;
use fits_fuzz::report::render;
use fits_fuzz::soft::{How, Soft, comparable};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run random instruction sequences on the bare CPU and translated, and compare everything after every instruction.
#[derive(Debug, Parser)]
struct Arguments {
    /// The first case; the others follow from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many cases.
    #[arg(long, default_value_t = 10_000)]
    cases: u64,
    /// Stop after this many differences.
    #[arg(long, default_value_t = 5)]
    failures: u64,
    /// Show failing cases as they are, not with as few instructions as possible.
    #[arg(long)]
    whole: bool,
    /// Run the cases on the software processor instead of translated: `step` compares after each instruction, `blocks` at the
    /// end, `translated` at the end of its second stage.
    #[arg(long, value_parser = ["step", "blocks", "translated"])]
    soft: Option<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("fits-fuzz: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Error> {
    fits_tracer::process::CpuPlan::new().pin_tracer();
    if let Some(how) = &arguments.soft {
        let how = match how.as_str() {
            "step" => How::Step,
            "blocks" => How::Blocks,
            _ => How::Translated,
        };
        return run_soft(arguments, how);
    }
    let mut fuzzer = Fuzzer::start()?;
    println!("{} encodings on this CPU", fuzzer.encodings());
    let begin = Instant::now();
    let mut shown = begin;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.cases) {
        let found = fuzzer
            .check(seed)
            .inspect_err(|_| eprintln!("at seed {seed}:"))?;
        if let Some((case, mismatch)) = found {
            let (case, mismatch) = if arguments.whole {
                (case, mismatch)
            } else {
                minimise(&mut fuzzer, case, mismatch)?
            };
            println!("{}", render(&case, &mismatch));
            if fuzzer.totals.differences >= arguments.failures {
                break;
            }
        }
        if shown.elapsed() > Duration::from_secs(60) {
            shown = Instant::now();
            progress(&fuzzer, begin);
        }
    }
    progress(&fuzzer, begin);
    Ok(fuzzer.totals.differences == 0)
}

fn run_soft(arguments: &Arguments, how: How) -> Result<bool, Error> {
    let mut fuzzer = Fuzzer::start_with(comparable)?;
    let mut soft = Soft::new(how)?;
    println!("{} encodings on this CPU", fuzzer.encodings());
    let begin = Instant::now();
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.cases) {
        if let Some(found) = fuzzer.check_soft(&mut soft, seed)? {
            println!("{found}");
            if fuzzer.totals.differences >= arguments.failures {
                break;
            }
        }
    }
    progress(&fuzzer, begin);
    Ok(fuzzer.totals.differences == 0)
}

fn progress(fuzzer: &Fuzzer, begin: Instant) {
    let totals = fuzzer.totals;
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "{} sequences, {} instructions of {} encodings, {} ended by a fault, {} translated runs, {} differences; {:.0} sequences/s",
        totals.cases,
        totals.instructions,
        fuzzer.retired(),
        totals.faults,
        totals.runs,
        totals.differences,
        totals.cases as f64 / seconds
    );
}
