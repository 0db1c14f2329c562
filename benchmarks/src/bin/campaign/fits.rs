//! Running programs and `fits campaign`, and what that takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use nix::sys::resource::{UsageWho, getrusage};

/// The command line that is measured.
pub(crate) struct Fits {
    pub(crate) executable: PathBuf,
    pub(crate) jobs: usize,
}

/// Seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) wall: f64,
    /// Of the process and all that it has waited for.
    pub(crate) cpu: f64,
}

/// Runs a command to its end; its standard output, and what it took.
pub(crate) fn timed(command: &mut Command) -> Result<(String, Time)> {
    let processor = || -> Result<f64> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot read processor times")?;
        let seconds =
            |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(seconds(usage.user_time()) + seconds(usage.system_time()))
    };
    let (start, before) = (Instant::now(), processor()?);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let time = Time {
        wall: start.elapsed().as_secs_f64(),
        cpu: processor()? - before,
    };
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {told}", output.status);
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), time))
}

/// The median of some native runs.
pub(crate) fn native(executable: &str, arguments: &[String]) -> Result<Time> {
    const RUNS: usize = 5;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        times.push(timed(Command::new(executable).args(arguments))?.1);
    }
    let median = |of: fn(&Time) -> f64| {
        let mut all: Vec<f64> = times.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all[RUNS / 2]
    };
    Ok(Time {
        wall: median(|time| time.wall),
        cpu: median(|time| time.cpu),
    })
}

impl Fits {
    /// `fits campaign` with these words.
    pub(crate) fn campaign(&self, words: &[&str]) -> Result<(String, Time)> {
        timed(Command::new(&self.executable).arg("campaign").args(words))
    }

    /// Plans the campaign that `toml` asks for, in a new folder of this name.
    pub(crate) fn plan(&self, scratch: &Path, name: &str, toml: &str) -> Result<(PathBuf, Time)> {
        let (file, folder) = (scratch.join(format!("{name}.toml")), scratch.join(name));
        std::fs::write(&file, toml).context("cannot write a campaign file")?;
        let (file, out) = (file.display().to_string(), folder.display().to_string());
        let (_, time) = self.campaign(&["plan", &file, "--out", &out])?;
        Ok((folder, time))
    }

    /// Carries it out.
    pub(crate) fn carry_out(&self, folder: &Path) -> Result<Time> {
        let (folder, jobs) = (folder.display().to_string(), self.jobs.to_string());
        Ok(self.campaign(&["resume", &folder, "--jobs", &jobs])?.1)
    }

    /// The table of a campaign, each row by column.
    pub(crate) fn rows(&self, folder: &Path) -> Result<Vec<BTreeMap<String, String>>> {
        let (text, _) = self.campaign(&["export", &folder.display().to_string()])?;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let rows = reader.deserialize();
        rows.collect::<Result<_, _>>()
            .context("cannot understand what fits campaign export wrote")
    }
}

/// A run hangs after three times the fault-free one, as in the field's reference experiment, and a fifth of a second: hangs cost the
/// most by far.
const LIMITS: &str = "[limits]\nhang-factor = 3\nhang-floor = 0.2\n";

/// A campaign file: program and arguments, further lines, limits.
pub(crate) fn campaign_file(executable: &str, arguments: &[String], further: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let arguments: Vec<String> = arguments.iter().map(|argument| quoted(argument)).collect();
    format!(
        "program = {}\narguments = [{}]\n{further}{LIMITS}",
        quoted(executable),
        arguments.join(", ")
    )
}
