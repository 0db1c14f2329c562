//! Carrying a campaign out: from the start, or from where it was left.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use fits_injectors::campaign::file::{Campaign, Shard, Size};
use fits_injectors::campaign::run::{
    Conditions, Finished, Order, RunError, Sites, Until, carry_out,
};
use fits_injectors::campaign::statistics::wilson;
use fits_injectors::campaign::store::{Archive, Part, Provenance, StoreError, Work, split_off};
use fits_injectors::experiment::outcome::Outcome;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::conduct::{conduct, enter, identity};
use super::folder::{self, Scratch};
use super::plan::{Asked, input, plan};
use super::progress::Progress;
use super::{provenance, table};
use crate::cli::CliError;
use crate::cli::experiments::replay;
use crate::exit_code;

/// What is told, and for how long workers are waited for.
#[derive(Debug, Args)]
pub(crate) struct Watching {
    /// Seconds that a worker may be silent, beyond five times what a run may take, before its experiment is given up
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        help_heading = "Campaign"
    )]
    silence: u64,
    /// What is told while it runs
    #[arg(long, value_enum, default_value_t = ProgressForm::Auto, help_heading = "Campaign")]
    progress: ProgressForm,
}

/// What may be another each time that a campaign is gone on with. What is absent is as the campaign file says.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Means {
    /// Experiments at the same time [default: what the campaign file says, or as many as there are processors]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZeroUsize>,
    /// Run so many of the faults whose outcome is known without it, and fail if one disagrees
    #[arg(long, value_name = "K")]
    validate_pruning: Option<u64>,
    /// Only the part I of N of the plan, which is the same for all parts (fits campaign merge puts them together)
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<Shard>,
    /// Carry out invalid experiments once more
    #[arg(long)]
    retry_invalid: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressForm {
    /// A line on a terminal, otherwise nothing
    Auto,
    /// Lines of JSON on standard error, about one a second
    Json,
    /// Nothing
    None,
}

/// Plan a campaign and carry it out
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    asked: Asked,
    #[command(flatten)]
    watching: Watching,
}

/// Go on with a campaign that was planned, stopped or killed
///
/// Loses nothing and repeats nothing: what was told as done is done, and what is left gives what it would have given.
#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The folder of the campaign
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    #[command(flatten)]
    means: Means,
    #[command(flatten)]
    watching: Watching,
    /// Carry it out in a new folder, which gets the plan, and none of the results
    #[arg(long, value_name = "DIR2", requires = "shard", value_hint = clap::ValueHint::DirPath)]
    out: Option<PathBuf>,
}

fn shard(text: &str) -> Result<Shard, String> {
    let refused = || "it must be I/N, with I from 1 to N (2/8)".to_owned();
    let (number, of) = text.split_once('/').ok_or_else(refused)?;
    let (number, of) = (number.parse(), of.parse());
    match (number, of) {
        (Ok(number), Ok(of)) if (1..=of).contains(&number) => Ok(Shard { number, of }),
        _ => Err(refused()),
    }
}

pub(crate) fn run(args: &RunArgs) -> Result<u8, CliError> {
    let quiet = args.watching.progress != ProgressForm::Auto;
    let folder = plan(&args.asked, quiet)?;
    carry(&folder, &Means::default(), &args.watching)
}

pub(crate) fn resume(args: &ResumeArgs) -> Result<u8, CliError> {
    let folder = absolute(&args.folder)?;
    let Some(out) = &args.out else {
        return carry(&folder, &args.means, &args.watching);
    };
    let out = absolute(out)?;
    part(&folder, &out)?;
    carry(&out, &args.means, &args.watching)
}

/// A new folder with the plan of a campaign, for a part of it.
pub(super) fn part(folder: &Path, out: &Path) -> Result<(), CliError> {
    std::fs::create_dir_all(out).map_err(CliError::file("make", out))?;
    let copied = folder.join(folder::CAMPAIGN);
    std::fs::copy(&copied, out.join(folder::CAMPAIGN)).map_err(CliError::file("copy", &copied))?;
    Ok(split_off(folder, out)?)
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(CliError::file("find", path))
}

/// Carries out what is left of the campaign in `folder`.
fn carry(folder: &Path, means: &Means, watching: &Watching) -> Result<u8, CliError> {
    let archive = Archive::open(folder)?;
    let provenance = archive.provenance();
    let campaign = read(folder, provenance)?;
    let shard = means.shard.or(campaign.shard);
    let mut work = Work::open(folder, &folder::holder())?;
    let unchanged = provenance::check(folder, provenance)?;
    if means.retry_invalid {
        work.forget_invalid()?;
    }
    enter(&campaign)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends fits as if it were not caught.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(CliError::file("watch for", Path::new("signals")))?;
    }
    let scratch = Scratch::new(folder)?;
    let conduct = conduct(&campaign);
    let input = input(&campaign)?;
    let mut setup = conduct.setup(&input, scratch.path())?;
    setup.environment = Some(variables(&provenance.environment));
    let flag = input.flag.clone();
    let replay = |faults: &[String]| replay::command(&conduct, flag.as_deref(), faults);
    let conditions = Conditions {
        executable: "/proc/self/exe".into(),
        setup,
        isolate: conduct.isolate,
        manner: conduct.manner(false),
        report: provenance.report.clone(),
        reproducible: provenance.reference.reproducible != Some(false),
        start: campaign.start,
        isolated: provenance.isolation.namespaces,
        checkpoints: checkpoints(folder, scratch.path()),
        instructions: provenance.reference.instructions.clone(),
        scratch: scratch.path().to_owned(),
        silence: Duration::from_secs(watching.silence),
        replay: &replay,
    };
    let until = until(&campaign, shard)?;
    let order = Order {
        jobs: jobs(means, &campaign),
        part: shard.map_or(Part::WHOLE, |shard| Part {
            remainder: shard.number - 1,
            of: shard.of,
        }),
        size: archive.size()?,
        until: until.as_ref().map(|(sizes, enough)| Until {
            sizes: sizes.clone(),
            enough,
        }),
        validate: means.validate_pruning.unwrap_or(campaign.validate_pruning),
    };
    let mut progress = Progress::new(watching.progress, work.counts(order.size)?);
    let mut sites = Sites::new(modules(provenance));
    let result = carry_out(
        &mut work,
        &order,
        &conditions,
        &unchanged,
        &mut sites,
        &stop,
        &mut |event| progress.hear(event),
    );
    progress.finish();
    drop(work);
    let _ = std::fs::remove_dir_all(&conditions.checkpoints);
    drop(scratch);
    tell(&archive, folder, result, watching.progress)
}

/// Counts of outcomes, in the order of [`Outcome::ALL`].
type Counts = [u64; Outcome::ALL.len()];

/// At which sizes it is looked whether a campaign has seen enough, and whether it has.
#[expect(clippy::type_complexity, reason = "a closure has no name")]
fn until(
    campaign: &Campaign,
    shard: Option<Shard>,
) -> Result<Option<(Vec<u64>, impl Fn(&Counts) -> bool + use<>)>, CliError> {
    let Some(Size::UntilWidth {
        width,
        outcome,
        confidence,
        maximum,
    }) = campaign.sampling.size()
    else {
        return Ok(None);
    };
    if shard.is_some_and(|shard| shard.of > 1) {
        return Err(CliError::Usage(
            "a part of a campaign cannot know when the whole has seen enough: --shard goes with a number of experiments, not with a width".to_owned(),
        ));
    }
    let enough = move |counts: &Counts| {
        let all = Outcome::ALL.into_iter().zip(counts);
        let counted: u64 = all
            .clone()
            .filter(|(one, _)| one.is_counted())
            .map(|(_, count)| count)
            .sum();
        let own: u64 = all
            .filter(|(one, _)| *one == outcome)
            .map(|(_, count)| count)
            .sum();
        counted > 0 && wilson(own, counted, confidence).width() <= width
    };
    Ok(Some((sizes(maximum), enough)))
}

/// From 100 on, a fifth more each time: the same for everybody, and few, since each look is a chance to stop by luck.
fn sizes(maximum: u64) -> Vec<u64> {
    let next = |size: &u64| Some((size + size.div_ceil(5)).next_multiple_of(10));
    std::iter::successors(Some(100), next)
        .take_while(|size| *size < maximum)
        .collect()
}

/// Says how it ended.
fn tell(
    archive: &Archive,
    folder: &Path,
    result: Result<Finished, RunError>,
    progress: ProgressForm,
) -> Result<u8, CliError> {
    let how = format!("fits campaign resume {} goes on", folder.display());
    match result {
        Ok(Finished::Whole) => {
            if progress != ProgressForm::None {
                crate::cli::print(&table::outcomes(archive)?)?;
            }
            Ok(0)
        }
        Ok(Finished::Stopped) => {
            super::note(&format!(
                "fits: stopped, and everything that was done is kept; {how}"
            ));
            Ok(exit_code::STOPPED)
        }
        Err(error @ RunError::Pruning { .. }) => Err(error.into()),
        Err(error) => {
            super::note(&format!(
                "fits: everything that was done is kept; {how} when this is settled:"
            ));
            Err(error.into())
        }
    }
}

/// Where checkpoints lie: in memory if there is room, in a folder that the next process finds again if this one is killed.
fn checkpoints(folder: &Path, scratch: &Path) -> PathBuf {
    const ENOUGH: u64 = 2 << 30;
    let memory = Path::new("/dev/shm");
    let free = nix::sys::statvfs::statvfs(memory)
        .map(|found| found.blocks_available() * found.fragment_size())
        .unwrap_or_default();
    if free < ENOUGH {
        return scratch.join("checkpoints");
    }
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(folder, &mut hasher);
    let name = std::hash::Hasher::finish(&hasher);
    memory.join(format!("fits-checkpoints-{name:016x}"))
}

/// What the campaign's file says, which must be what was planned.
fn read(folder: &Path, provenance: &Provenance) -> Result<Campaign, CliError> {
    let path = folder.join(folder::CAMPAIGN);
    let campaign = Campaign::read(&path, Vec::new())?;
    if identity(&campaign) == provenance.campaign {
        return Ok(campaign);
    }
    Err(StoreError::Another {
        path: folder.to_owned(),
        what: format!(
            "was planned with another {}: make a new campaign of it in another folder",
            folder::CAMPAIGN
        ),
    }
    .into())
}

fn jobs(means: &Means, campaign: &Campaign) -> NonZeroUsize {
    let asked = campaign
        .jobs
        .and_then(|jobs| NonZeroUsize::new(usize::try_from(jobs).ok()?));
    means
        .jobs
        .or(asked)
        .or_else(|| std::thread::available_parallelism().ok())
        .unwrap_or(NonZeroUsize::MIN)
}

/// Variables of the environment as they were recorded.
fn variables(recorded: &[String]) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.into(), value.into())
    };
    recorded.iter().map(pair).collect()
}

/// Files with code, as they lay in the reference run.
fn modules(provenance: &Provenance) -> Vec<fits_stats::model::Module> {
    fits_injectors::experiment::session::modules(&provenance.report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_by_a_fifth() {
        assert!(sizes(100).is_empty());
        assert_eq!(sizes(300), [100, 120, 150, 180, 220, 270]);
    }

    #[test]
    fn a_shard_is_a_part_from_one_on() {
        assert_eq!(shard("2/3"), Ok(Shard { number: 2, of: 3 }));
        for wrong in ["0/3", "4/3", "3", "a/b", "1/0"] {
            assert!(shard(wrong).is_err(), "{wrong}");
        }
    }
}
