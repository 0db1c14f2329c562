//! `fits campaign submit`: a campaign in parts, carried out by a batch system.
//!
//! Which parts are done is asked of their databases, not of the batch system: a part that is not is submitted again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use fits_injectors::campaign::file::{Campaign, Size};
use fits_injectors::campaign::store::{Archive, Part, gather};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::run::part;
use super::{folder, table};
use crate::cli::CliError;
use crate::exit_code;

/// Carry a campaign out in parts on a batch system, and put them together
///
/// Writes a job array with one task for each part, submits it, waits for it, submits again what is missing, and merges the parts into the campaign. The
/// machines must have the program and its files at the same places, and see the folder of the campaign.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    /// The folder of the campaign, planned (fits campaign plan)
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// By Slurm: sbatch and squeue
    #[arg(long, required = true)]
    slurm: bool,
    /// How many parts; those of an earlier submission must have been as many
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    shards: u64,
    /// An option for sbatch: --sbatch-option=--time=30
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch_option: Vec<String>,
    /// How often parts are submitted before it is given up
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    attempts: u64,
}

/// How often the queue is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How often in a row it may give no answer.
const PATIENCE: u32 = 60;

pub(crate) fn run(args: &SubmitArgs) -> Result<u8, CliError> {
    let folder = std::path::absolute(&args.folder).map_err(CliError::file("find", &args.folder))?;
    let archive = Archive::open(&folder)?;
    let campaign = Campaign::read(&folder.join(folder::CAMPAIGN), Vec::new())?;
    if matches!(campaign.sampling.size(), Some(Size::UntilWidth { .. })) {
        return Err(CliError::Usage(
            "a part of a campaign cannot know when the whole has seen enough: submit goes with a number of experiments, not with a width".to_owned(),
        ));
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(CliError::file("watch for", Path::new("signals")))?;
    }
    let parts = Parts::new(&folder, args)?;
    let finished = parts.carry_out(args, &stop)?;
    let done = gather(&folder, &parts.folders(), &folder::holder())?;
    crate::cli::print(&table::outcomes(&archive)?)?;
    if !finished {
        super::note(&format!(
            "fits: stopped; the jobs go on, and the same command waits for them ({} points have no outcome yet)",
            done.left
        ));
        return Ok(exit_code::STOPPED);
    }
    Ok(0)
}

/// The parts of a campaign, each in a folder of its own.
struct Parts {
    /// Folder of all that is submitted.
    place: PathBuf,
    of: u64,
}

impl Parts {
    /// Each gets the plan: the machines of the batch system then share no database.
    fn new(campaign: &Path, args: &SubmitArgs) -> Result<Self, CliError> {
        let place = campaign.join("slurm");
        std::fs::create_dir_all(&place).map_err(CliError::file("make", &place))?;
        let parts = Self {
            place,
            of: args.shards,
        };
        for number in 1..=parts.of {
            let folder = parts.folder(number);
            if Archive::open(&folder).is_err() {
                self::part(campaign, &folder)?;
            }
        }
        parts.write_script()?;
        Ok(parts)
    }

    fn folder(&self, number: u64) -> PathBuf {
        self.place.join(format!("part-{number}-of-{}", self.of))
    }

    fn folders(&self) -> Vec<PathBuf> {
        (1..=self.of).map(|number| self.folder(number)).collect()
    }

    fn script(&self) -> PathBuf {
        self.place.join(format!("job-of-{}.sh", self.of))
    }

    fn write_script(&self) -> Result<(), CliError> {
        let own = std::env::current_exe()
            .map_err(CliError::file("find", "the executable of fits".as_ref()))?;
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        let text = format!(
            "#!/bin/sh\n# Carries out one part of a campaign: written by fits campaign submit.\n\
             exec {} campaign resume {}/part-\"$SLURM_ARRAY_TASK_ID\"-of-{of} --shard \"$SLURM_ARRAY_TASK_ID/{of}\" --progress none\n",
            quoted(&own),
            quoted(&self.place),
            of = self.of
        );
        let path = self.script();
        std::fs::write(&path, text).map_err(CliError::file("write", &path))
    }

    /// Numbers of the parts that have something to do.
    fn open(&self) -> Result<Vec<u64>, CliError> {
        let mut open = Vec::new();
        for number in 1..=self.of {
            let part = Part {
                remainder: number - 1,
                of: self.of,
            };
            if Archive::open(&self.folder(number))?.left(part)? > 0 {
                open.push(number);
            }
        }
        Ok(open)
    }

    /// Submits and waits until all is done; false if told to stop before.
    fn carry_out(&self, args: &SubmitArgs, stop: &AtomicBool) -> Result<bool, CliError> {
        // One that an earlier process has submitted, and did not wait for.
        let last = self.place.join("job");
        if let Ok(job) = std::fs::read_to_string(&last)
            && !wait(job.trim(), stop)
        {
            return Ok(false);
        }
        for attempt in 1.. {
            let open = self.open()?;
            if open.is_empty() {
                break;
            }
            if attempt > args.attempts {
                let open: Vec<String> = open.iter().map(u64::to_string).collect();
                return Err(CliError::Batch(format!(
                    "parts {} are not done after {} submissions; {} has what they said",
                    open.join(", "),
                    args.attempts,
                    self.place.display()
                )));
            }
            let job = self.submit(&open, args)?;
            std::fs::write(&last, &job).map_err(CliError::file("write", &last))?;
            super::note(&format!(
                "fits: {} parts submitted as job {job}",
                open.len()
            ));
            if !wait(&job, stop) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The number of the job.
    fn submit(&self, open: &[u64], args: &SubmitArgs) -> Result<String, CliError> {
        let numbers: Vec<String> = open.iter().map(u64::to_string).collect();
        let log = self.place.join("%A_%a.log");
        let output = Command::new("sbatch")
            .args(["--parsable", "--job-name=fits-campaign"])
            .arg(format!("--array={}", numbers.join(",")))
            .arg(format!("--output={}", log.display()))
            .args(&args.sbatch_option)
            .arg(self.script())
            .output()
            .map_err(|error| CliError::Batch(format!("sbatch cannot be run: {error}")))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if !output.status.success() {
            let said = text(&output.stderr);
            return Err(CliError::Batch(format!("sbatch refuses the job: {said}")));
        }
        let told = text(&output.stdout);
        // Behind a semicolon is the cluster.
        Ok(told.split(';').next().unwrap_or_default().to_owned())
    }
}

/// Waits until a job is in the queue no more; false if told to stop before.
fn wait(job: &str, stop: &AtomicBool) -> bool {
    let mut failures = 0;
    loop {
        let output = Command::new("squeue")
            .args(["--noheader", "--format=%T", "--jobs", job])
            .output();
        let running = |output: &std::process::Output| !output.stdout.trim_ascii().is_empty();
        match output {
            Ok(output) if output.status.success() => {
                if !running(&output) {
                    return true;
                }
                failures = 0;
            }
            // One that is long over is unknown.
            Ok(output) if String::from_utf8_lossy(&output.stderr).contains("Invalid job id") => {
                return true;
            }
            // A controller that is restarted answers again.
            _ => failures += 1,
        }
        if failures > PATIENCE {
            return true;
        }
        if stop.load(Ordering::SeqCst) {
            return false;
        }
        std::thread::sleep(LOOK);
    }
}
