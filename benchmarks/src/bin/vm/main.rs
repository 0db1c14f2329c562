//! The virtual machine: time to the shell of a stock kernel and speed of loops in the guest, in both stages of the software processor and in QEMU with
//! software translation. `cargo run --release -p fits-benchmarks --bin vm -- --help`.

mod guest;
mod machine;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use fits_benchmarks::host;

use machine::{Engine, Measured};

/// Boots the same guest in several emulators and takes the time.
#[derive(Parser)]
struct Arguments {
    /// Where the table and the raw numbers go
    #[arg(long)]
    out: Option<PathBuf>,
    /// How often each engine boots, taking turns; medians are reported
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// One run with short loops: checks the runner, measures nothing
    #[arg(long)]
    quick: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let scratch = std::env::temp_dir().join(format!("fits-vm-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("cannot make a folder for temporary files")?;
    let result = run(&arguments, &scratch);
    std::fs::remove_dir_all(&scratch).context("cannot remove the temporary files")?;
    result
}

fn run(arguments: &Arguments, scratch: &std::path::Path) -> Result<()> {
    let fits = host::build_fits()?;
    let guest = guest::build(scratch)?;
    let (runs, divisor) = if arguments.quick {
        (1, 100)
    } else {
        (arguments.runs, 1)
    };
    let mut all: Vec<(Engine, Measured)> = Vec::new();
    for _ in 0..runs {
        for engine in Engine::ALL {
            let measured = machine::measure(engine, &fits, &guest, divisor)
                .with_context(|| format!("measuring {}", engine.name()))?;
            all.push((engine, measured));
        }
    }
    let text = format!(
        "# The virtual machine beside QEMU\n\n{}- {}\n\n{}",
        host::describe()?,
        machine::qemu_version(),
        table::render(&all)
    );
    print!("{text}");
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        std::fs::write(out.join("vm.md"), text).context("cannot write the table")?;
        table::write_raw(&all, &out.join("vm.csv"))?;
    }
    Ok(())
}
