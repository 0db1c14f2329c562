//! Campaigns on ten programs: what comes of faults in them, whether both backends agree, and what an experiment costs against a native run.
//! `cargo run --release -p fits-benchmarks --bin campaign -- --help`.

mod cost;
mod fits;
mod programs;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use fits_benchmarks::host;

/// Runs campaigns on programs of the kinds that the field uses.
#[derive(Parser)]
struct Arguments {
    /// Where the tables go
    #[arg(long)]
    out: Option<PathBuf>,
    /// Outcomes of the reference population, and the agreement of the backends
    #[arg(long)]
    table: bool,
    /// What an experiment costs
    #[arg(long)]
    cost: bool,
    /// Faults of each program in the table
    #[arg(long, default_value_t = 1068)]
    size: u64,
    /// Faults of each program, in a short run, that are carried out under both backends
    #[arg(long, default_value_t = 60)]
    repeated: usize,
    /// Faults of each campaign whose cost is measured
    #[arg(long, default_value_t = 300)]
    cost_size: u64,
    /// Experiments at the same time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only these programs
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let fits = fits::Fits {
        executable: host::build_fits()?,
        jobs: arguments.jobs,
    };
    let scratch = std::env::temp_dir().join(format!("fits-campaigns-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("cannot make a folder for temporary files")?;
    let result = run(&arguments, &fits, &scratch);
    std::fs::remove_dir_all(&scratch).context("cannot remove the temporary files")?;
    result
}

fn run(arguments: &Arguments, fits: &fits::Fits, scratch: &std::path::Path) -> Result<()> {
    let all = programs::build(scratch)?;
    let wanted = |name: &str| {
        arguments.programs.is_empty() || arguments.programs.iter().any(|one| one == name)
    };
    let both = !arguments.table && !arguments.cost;
    let mut text = format!("# Campaigns\n\n{}\n", host::describe()?);
    if arguments.table || both {
        text.push_str(&table::table(arguments, fits, scratch, &all, wanted)?);
    }
    if arguments.cost || both {
        text.push_str(&cost::table(arguments, fits, scratch, &all, wanted)?);
    }
    print!("{text}");
    if let Some(out) = &arguments.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        std::fs::write(out.join("campaign.md"), text).context("cannot write the tables")?;
    }
    Ok(())
}
