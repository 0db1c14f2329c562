//! What the framework for faults of the machine costs while nothing happens: boots of one kernel without it, with one fault that never comes, and with a
//! thousand addresses armed, in turn, by processor time.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Measure what armed faults cost
#[derive(Debug, Parser)]
struct Arguments {
    /// The program to be measured: a release build
    #[arg(long, default_value = "target/release/fits")]
    fits: PathBuf,
    /// The kernel to boot
    #[arg(long)]
    kernel: PathBuf,
    /// Its initial RAM disk
    #[arg(long)]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, default_value = "console=ttyS0 nokaslr")]
    append: String,
    /// Instructions of each run
    #[arg(long, default_value_t = 600_000_000)]
    instructions: u64,
    /// Runs of each kind
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Guest memory, over all of which addresses are spread.
const MEMORY: u64 = 256 << 20;
/// Addresses that are armed.
const ARMED: u64 = 1000;

/// The kinds of runs with their faults.
fn kinds() -> [(&'static str, Vec<String>); 3] {
    // Neighbours in this sequence are far from each other, and all over memory.
    let address = |number: u64| (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % MEMORY) & !7;
    // A thousand million accesses of one address do not come.
    let armed = (0..ARMED).map(|number| {
        let place = address(number);
        format!("mem:phys={place:#x}:0@access=phys={place:#x}:1000000000,bytes=8")
    });
    [
        ("none", Vec::new()),
        ("one", vec!["power@time=1000000".to_owned()]),
        ("armed", armed.collect()),
    ]
}

fn run(arguments: &Arguments, faults: &[String]) -> Result<f64> {
    let mut command = Command::new(&arguments.fits);
    command.arg("vm").arg("--kernel").arg(&arguments.kernel);
    if let Some(initrd) = &arguments.initrd {
        command.arg("--initrd").arg(initrd);
    }
    command.args(["--append", &arguments.append, "--memory", "256M"]);
    command.args(["--max-instructions", &arguments.instructions.to_string()]);
    for fault in faults {
        command.args(["--fault", fault]);
    }
    let before = spent()?;
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .with_context(|| format!("cannot start {}", arguments.fits.display()))?;
    ensure!(
        status.code().is_some_and(|code| code != 2),
        "fits refused: {status}"
    );
    Ok(spent()? - before)
}

/// Processor time of finished children, in seconds.
fn spent() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let sum = usage.user_time() + usage.system_time();
    Ok(sum.num_microseconds() as f64 / 1e6)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kinds = kinds();
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..arguments.rounds {
        for ((name, faults), times) in kinds.iter().zip(&mut times) {
            let seconds = run(&arguments, faults)?;
            println!("round {round} {name} {seconds:.3} s");
            times.push(seconds);
        }
    }
    let [none, one, armed] = times.each_mut().map(|times| median(times));
    println!("median without {none:.3} s");
    println!(
        "median with a fault that never comes {one:.3} s, ratio {:.3}",
        one / none
    );
    println!(
        "median with {ARMED} addresses armed {armed:.3} s, ratio {:.3}",
        armed / none
    );
    Ok(())
}
