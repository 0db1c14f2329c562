//! The benchmark runner: `cargo run --release -p fits-benchmarks -- --help`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use fits_benchmarks::{figures, guests, host, measure, plan, report};

/// Measures native runs, the translator and single-stepping on fib, aes and md5.
#[derive(Parser)]
struct Arguments {
    /// Where the numbers and figures go; default benchmarks/runs/DATE-HOSTKIND
    #[arg(long)]
    out: Option<PathBuf>,
    /// How often each point is measured; medians are reported
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Small sizes and one run: checks the runner, measures nothing
    #[arg(long)]
    quick: bool,
    /// Only these programs
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,
    /// Only these methods: native, counts, full, ptrace
    #[arg(long, value_delimiter = ',')]
    methods: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let fits = host::build_fits()?;
    let scratch = std::env::temp_dir().join(format!("fits-benchmarks-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).context("cannot make a folder for temporary files")?;
    let result = run(&arguments, &fits, &scratch);
    std::fs::remove_dir_all(&scratch).context("cannot remove the temporary files")?;
    result
}

fn run(arguments: &Arguments, fits: &std::path::Path, scratch: &std::path::Path) -> Result<()> {
    let out = match &arguments.out {
        Some(out) => out.clone(),
        None => PathBuf::from("benchmarks/runs").join(host::run_name()?),
    };
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let programs = guests::build(scratch)?;
    let points = plan::points(arguments.quick)
        .into_iter()
        .filter(|point| selected(&arguments.programs, point.program))
        .filter(|point| selected(&arguments.methods, point.method.name()));
    let runs = if arguments.quick { 1 } else { arguments.runs };
    let mut samples = Vec::new();
    for point in points {
        let command = programs.command(&point)?;
        let repeats = if point.method == plan::Method::Ptrace {
            runs.min(2)
        } else {
            runs
        };
        for run in 0..repeats {
            let sample = measure::measure(&command, &point, run, fits, scratch)?;
            println!("{sample}");
            samples.push(sample);
        }
    }
    report::write_raw(&out.join("raw.csv"), &samples)?;
    let table = report::Table::of(&samples);
    print!("{table}");
    report::write_text(&out.join("README.md"), &table, &host::describe()?)?;
    figures::draw_all(&out, &table)?;
    println!("written to {}", out.display());
    Ok(())
}

fn selected(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|wanted| wanted == name)
}
