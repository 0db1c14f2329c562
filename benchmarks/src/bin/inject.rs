//! What one experiment costs: a run to instruction N, a fault there, and on to the end, against the native run.
//! `cargo run --release -p fits-benchmarks --bin inject -- --help`.
//!
//! Only the experiment itself is measured: what it is compared with (reference run, count of instructions) is taken once for any number of
//! experiments.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use fits_benchmarks::plan::{Method, Point};
use fits_benchmarks::{guests, host};
use fits_dbt::runtime::TranslatorEngine;
use fits_tracer::backend::Ended;
use fits_tracer::engine::{Engine, EngineOptions, HowEnded, Limits, Moment, Reached};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Measures runs with one fault against native runs.
#[derive(Parser)]
struct Arguments {
    /// Where the table goes
    #[arg(long)]
    out: Option<PathBuf>,
    /// How often each point is measured; medians are reported
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Only these programs (fib, aes, md5)
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// After which shares of the instructions the fault is injected, in per cent
    #[arg(long, value_delimiter = ',', default_values_t = [10.0, 50.0, 90.0])]
    shares: Vec<f64>,
    /// Small sizes and one run: checks the runner, measures nothing
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = std::env::temp_dir().join(format!("fits-inject-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("cannot make a folder for temporary files")?;
    let table = table(&arguments, &scratch);
    std::fs::remove_dir_all(&scratch).context("cannot remove the temporary files")?;
    let table = table?;
    print!("{table}");
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let text = format!(
            "# One fault at instruction N, against native\n\n{}\n{table}",
            host::describe()?
        );
        std::fs::write(out.join("inject.md"), text).context("cannot write the table")?;
    }
    Ok(())
}

fn table(arguments: &Arguments, scratch: &Path) -> Result<String> {
    let guests = guests::build(scratch)?;
    let sizes = if arguments.quick {
        [("fib", 30), ("aes", 100_000), ("md5", 4_096)]
    } else {
        [("fib", 46), ("aes", 4_000_000), ("md5", 900_000)]
    };
    let runs = if arguments.quick { 1 } else { arguments.runs };
    let mut table = "| program | fault at | native, wall | with the fault, wall | ratio | beyond native | native, processor | with the fault, processor | ratio | all runs, processor |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    let wanted = |program: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|one| one == program)
    };
    for (program, size) in sizes.into_iter().filter(|one| wanted(one.0)) {
        let point = Point {
            program,
            size,
            method: Method::Native,
        };
        let words = guests.command(&point)?;
        let end = TranslatorEngine.count(&command(&words, scratch)?, &options())?;
        let total = *end
            .instructions
            .first()
            .context("no instruction was counted")?;
        for &share in &arguments.shares {
            let index = (total as f64 * share / 100.0) as u64;
            let (mut native, mut faulty) = (Vec::new(), Vec::new());
            for _ in 0..runs {
                native.push(Took::of(|| run_natively(&words, scratch))?);
                faulty.push(Took::of(|| run_with_fault(&words, scratch, index))?);
            }
            let all: Vec<String> = (native.iter().zip(&faulty))
                .map(|(native, faulty)| format!("{:.3}/{:.3}", native.processor, faulty.processor))
                .collect();
            let [native, faulty] = [native, faulty].map(|all| Took {
                wall: median(&all, |one| one.wall),
                processor: median(&all, |one| one.processor),
            });
            table.push_str(&format!(
                "| {program} {size} | {:.0} % | {:.3} s | {:.3} s | {:.2} | {:+.0} ms | {:.3} s | {:.3} s | {:.2} | {} |\n",
                share,
                native.wall,
                faulty.wall,
                faulty.wall / native.wall,
                1000.0 * (faulty.wall - native.wall),
                native.processor,
                faulty.processor,
                faulty.processor / native.processor,
                all.join(" ")
            ));
        }
    }
    Ok(table)
}

/// What a run took, in seconds.
#[derive(Clone, Copy)]
struct Took {
    wall: f64,
    /// Of the program and of what brings it to the moment.
    processor: f64,
}

impl Took {
    /// What `run` takes.
    fn of(run: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (start, before) = (Instant::now(), processor()?);
        run()?;
        Ok(Self {
            wall: start.elapsed().as_secs_f64(),
            processor: processor()? - before,
        })
    }
}

/// Processor time of this process and its children.
fn processor() -> Result<f64> {
    let seconds = |time: TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let mut sum = 0.0;
    for who in [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN] {
        let usage = getrusage(who).context("cannot read processor times")?;
        sum += seconds(usage.user_time()) + seconds(usage.system_time());
    }
    Ok(sum)
}

fn median(all: &[Took], of: fn(&Took) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    }
}

fn command(words: &[String], scratch: &Path) -> Result<Command> {
    let output = std::fs::File::create(scratch.join("output"))?;
    Ok(Command::new(&words[0])
        .args(&words[1..])
        .stdio(1, Stdio::File(output.into())))
}

fn run_natively(words: &[String], scratch: &Path) -> Result<()> {
    let status = std::process::Command::new(&words[0])
        .args(&words[1..])
        .stdout(std::fs::File::create(scratch.join("output"))?)
        .status()?;
    if !status.success() {
        bail!("{words:?} ended with {status}");
    }
    Ok(())
}

/// A fault that is carried out and does no harm, so that the run does the same work: a register is read, changed and changed back.
fn run_with_fault(words: &[String], scratch: &Path, index: u64) -> Result<()> {
    let moment = Moment { thread: 0, index };
    let Reached::At(mut live) =
        TranslatorEngine.reach(&command(words, scratch)?, &options(), moment)?
    else {
        bail!("{words:?} ended before instruction {index}");
    };
    let before = live.registers()?;
    let mut after = before;
    after.rax ^= 8;
    live.set_registers(&after)?;
    if live.registers()?.rax != after.rax {
        bail!("the fault was not carried out");
    }
    live.set_registers(&before)?;
    let end = live.finish(&Limits::default())?;
    if end.how != HowEnded::Ended(Ended::Exited(0)) {
        bail!("{words:?} ended otherwise: {:?}", end.how);
    }
    Ok(())
}
