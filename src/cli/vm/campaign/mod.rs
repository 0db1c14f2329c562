//! `fits vm campaign`: very many faults in a machine, each in a run of its own from one snapshot, and what kernel and programs made of them.
//!
//! `guest` is one machine that is taken back to the snapshot again and again, `carry` shares the experiments among workers, `results` writes the folder.

mod carry;
mod guest;
mod results;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use fits_injectors::kernel::Kind;
use fits_injectors::kernel::space::Drawn;
use fits_injectors::machine::MachineFault;
use fits_injectors::machine::symbols::Symbols;
use fits_sysemu::snapshot::file;

use super::hardware::HardwareFlags;
use crate::cli::CliError;
use guest::{Base, Golden, Guest};

/// Inject very many faults into a machine, each in a run of its own from one snapshot
///
/// The machine goes on from the snapshot without a fault first, which shows what it prints and when it ends: let the guest switch itself off
/// (poweroff -f) when its work is done, or write to the exit port. Then each fault has a run of its own, judged by the console and by how the machine
/// ends: masked, recovered, sdc (an output differs), io-error, killed (a program), hang, oops, reset, panic. The same snapshot, seed and flags give the
/// same faults and the same tables, whatever the number of workers.
#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    /// The snapshot that every run begins with (fits vm --snapshot)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    restore: PathBuf,
    /// What is typed then, for a snapshot at a prompt
    #[arg(long = "type", value_name = "TEXT")]
    typed: Option<String>,
    #[command(flatten)]
    hardware: HardwareFlags,
    /// How many faults are drawn, the kinds in turn
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 1000,
        conflicts_with = "faults"
    )]
    experiments: usize,
    /// What the draws come from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Kinds of faults, with commas: register, flag, control, kernel-text, kernel-data, page-table, kernel-memory, user-memory, mce-scrubber, mce-read,
    /// mce-corrected, disk, network; without it, all but machine checks, disks that are read, and network cards that frames go through
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = Kind::of_name, conflicts_with = "faults")]
    kinds: Vec<Kind>,
    /// Faults by hand instead: a file with one on each line, as fits vm --fault takes them
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    faults: Option<PathBuf>,
    /// The kernel's symbols, for faults that name some
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    symbols: Option<PathBuf>,
    /// A run hangs when it has used so many times the instructions, or the exceptions and interrupts, of the one without a fault
    #[arg(long, value_name = "FACTOR", default_value_t = 2.0, value_parser = factor)]
    hang_factor: f64,
    /// The run without a fault must end within so many instructions
    #[arg(long, value_name = "N", default_value_t = 4_000_000_000)]
    max_instructions: u64,
    /// How many machines run at the same time; as many as there are processors
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// The folder for the results: experiments.csv, tables.txt, campaign.json, console.txt
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
}

fn factor(text: &str) -> Result<f64, String> {
    let fine = text
        .parse::<f64>()
        .ok()
        .filter(|factor| *factor > 1.0 && *factor <= 1000.0);
    fine.ok_or_else(|| format!("\"{text}\" is no factor: a number above 1, at most 1000"))
}

/// A fault with its kind and its text.
pub(super) struct Point {
    kind: Kind,
    text: String,
    fault: MachineFault,
}

pub(crate) fn run(args: &CampaignArgs) -> Result<u8, CliError> {
    results::check(&args.out)?;
    let symbols = match &args.symbols {
        Some(path) => Symbols::read(path).map_err(CliError::Usage)?,
        None => Symbols::default(),
    };
    let given = args.faults.as_deref().map(read).transpose()?;
    let snapshot = file::read(&args.restore)?;
    let base = Base::new(&snapshot, &args.hardware, args.typed.as_deref())?;
    let golden = Guest::new(&base)?.golden(args.max_instructions)?;
    let points = match given {
        Some(points) => checked(points, &base)?,
        None => draw(args, &base, &golden)?,
    };
    let started = Instant::now();
    let plan = carry::Plan {
        base: &base,
        golden: &golden.observation,
        points: &points,
        symbols: &symbols,
        seed: args.seed,
        limit: golden.limit(args.hang_factor),
        workers: args.workers.or(std::thread::available_parallelism().ok()),
    };
    let rows = plan.carry_out()?;
    let campaign = results::Campaign {
        snapshot: &args.restore,
        typed: args.typed.as_deref(),
        seed: args.seed,
        booted: base.retired(),
        golden: &golden,
        rows: &rows,
    };
    crate::cli::print(&campaign.write(&args.out)?)?;
    eprintln!(
        "fits: {} experiments in {:.1} s; {}",
        rows.len(),
        started.elapsed().as_secs_f64(),
        campaign.cost()
    );
    Ok(0)
}

/// Faults by hand, all of which name what the machine has.
fn checked(points: Vec<Point>, base: &Base) -> Result<Vec<Point>, CliError> {
    let mut guest = Guest::new(base)?;
    for point in &points {
        guest
            .check(&point.fault)
            .map_err(|sentence| CliError::Usage(format!("fault '{}': {sentence}", point.text)))?;
    }
    Ok(points)
}

const DEFAULT: [Kind; 8] = [
    Kind::Register,
    Kind::Flag,
    Kind::Control,
    Kind::KernelText,
    Kind::KernelData,
    Kind::PageTable,
    Kind::KernelMemory,
    Kind::UserMemory,
];

fn draw(args: &CampaignArgs, base: &Base, golden: &Golden) -> Result<Vec<Point>, CliError> {
    let space = base.space(golden)?;
    let mut kinds = args.kinds.clone();
    if kinds.is_empty() {
        kinds.extend(DEFAULT);
        kinds.extend(space.traffic_kinds());
    }
    let drawn = space
        .draw(&kinds, args.experiments, args.seed)
        .map_err(CliError::Usage)?;
    drawn.into_iter().map(point).collect()
}

fn point(drawn: Drawn) -> Result<Point, CliError> {
    let fault = drawn.fault.parse();
    let fault = fault
        .map_err(|error: fits_injectors::fault::ParseError| CliError::Usage(error.to_string()))?;
    Ok(Point {
        kind: drawn.kind,
        text: drawn.fault,
        fault,
    })
}

/// Faults from a file; empty lines and what comes after # do not count.
fn read(path: &Path) -> Result<Vec<Point>, CliError> {
    let text = std::fs::read_to_string(path).map_err(CliError::file("read", path))?;
    let mut points = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let drawn = Drawn {
            kind: Kind::Given,
            fault: line.to_owned(),
        };
        let place =
            |error: CliError| CliError::Usage(format!("{}:{number}: {error}", path.display()));
        points.push(point(drawn).map_err(place)?);
    }
    if points.is_empty() {
        return Err(CliError::Usage(format!(
            "{} has no faults in it",
            path.display()
        )));
    }
    Ok(points)
}
