//! Measuring one run: wall and processor time, and the peak memory of each process that took part.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde::Serialize;

use crate::plan::{Method, Point};

/// What one run took.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Program.
    pub program: String,
    /// Its size.
    pub size: u64,
    /// Method.
    pub method: String,
    /// Number of the run.
    pub run: usize,
    /// Wall time in seconds.
    pub wall: f64,
    /// User time of all processes in seconds.
    pub user: f64,
    /// System time of all processes in seconds.
    pub system: f64,
    /// Peak memory of the target in KiB.
    pub target_kib: u64,
    /// Peak memory of `fits`.
    pub fits_kib: u64,
    /// Peak memory of `fits-stats`.
    pub stats_kib: u64,
    /// Instructions that fits counted.
    pub instructions: Option<u64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>8} {:>9} {:>7} #{}: {:9.4} s wall, {:9.4} s user, {:8.4} s system, KiB: target {}, fits {}, fits-stats {}",
            self.program,
            self.size,
            self.method,
            self.run,
            self.wall,
            self.user,
            self.system,
            self.target_kib,
            self.fits_kib,
            self.stats_kib
        )
    }
}

/// Runs the command once.
pub fn measure(
    words: &[String],
    point: &Point,
    run: usize,
    fits: &Path,
    scratch: &Path,
) -> Result<Sample> {
    let golden = scratch.join("golden");
    if golden.exists() {
        fs::remove_dir_all(&golden)?;
    }
    let mut command = command_of(words, point.method, fits, &golden);
    let output = scratch.join("output");
    command
        .stdin(Stdio::null())
        .stdout(File::create(&output)?)
        .stderr(Stdio::inherit());
    let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let start = Instant::now();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let peaks = watch(&mut child, point.method, &command)?;
    let wall = start.elapsed();
    let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok(Sample {
        program: point.program.to_owned(),
        size: point.size,
        method: point.method.name().to_owned(),
        run,
        wall: wall.as_secs_f64(),
        user: seconds(&after, Usage::user_time) - seconds(&before, Usage::user_time),
        system: seconds(&after, Usage::system_time) - seconds(&before, Usage::system_time),
        target_kib: peaks.target,
        fits_kib: peaks.fits,
        stats_kib: peaks.stats,
        instructions: instructions(&golden),
    })
}

fn command_of(words: &[String], method: Method, fits: &Path, golden: &Path) -> Command {
    let (backend, level) = match method {
        Method::Native => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]);
            return command;
        }
        Method::Counts => ("dbt", "counts"),
        Method::Full => ("dbt", "full"),
        Method::Ptrace => ("ptrace", "full"),
    };
    let mut command = Command::new(fits);
    command
        .args([
            "golden",
            "--quiet",
            "--backend",
            backend,
            "--stats",
            level,
            "--out",
        ])
        .arg(golden)
        .arg("--")
        .args(words);
    command
}

fn seconds(usage: &Usage, time: fn(&Usage) -> nix::sys::time::TimeVal) -> f64 {
    let time = time(usage);
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}

/// Highest resident sizes seen, in KiB.
#[derive(Default)]
struct Peaks {
    target: u64,
    fits: u64,
    stats: u64,
}

/// Waits for the end and looks at the memory of the processes meanwhile: often at first, then rarely, so that
/// looking costs nothing.
fn watch(child: &mut Child, method: Method, command: &Command) -> Result<Peaks> {
    let start = Instant::now();
    let mut highest: HashMap<u32, (String, u64)> = HashMap::new();
    let mut next_look = Duration::from_millis(10);
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{command:?} ended with {status}");
            }
            break;
        }
        if start.elapsed() >= next_look {
            look(child.id(), &mut highest);
            next_look = start.elapsed()
                + (start.elapsed() / 4)
                    .clamp(Duration::from_millis(10), Duration::from_millis(500));
        }
        std::thread::sleep(Duration::from_micros(
            if start.elapsed().as_millis() < 200 {
                200
            } else {
                2000
            },
        ));
    }
    let mut peaks = Peaks::default();
    for (pid, (name, kib)) in highest {
        let slot = match (method, name.as_str()) {
            (Method::Native, _) => &mut peaks.target,
            (_, "fits-stats") => &mut peaks.stats,
            _ if pid == child.id() => &mut peaks.fits,
            _ => &mut peaks.target,
        };
        *slot = (*slot).max(kib);
    }
    Ok(peaks)
}

/// Notes the peak memory of a process and of its children.
fn look(pid: u32, highest: &mut HashMap<u32, (String, u64)>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim().trim_end_matches(" kB").to_owned())
    };
    if let (Some(name), Some(peak)) = (field("Name:"), field("VmHWM:")) {
        highest.insert(pid, (name, peak.parse().unwrap_or(0)));
    }
    let children = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    for task in children {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        for child in list.split_whitespace().filter_map(|word| word.parse().ok()) {
            look(child, highest);
        }
    }
}

/// The number of instructions in the summary of a golden run.
fn instructions(golden: &Path) -> Option<u64> {
    let text = fs::read(golden.join("summary.json")).ok()?;
    let summary: serde_json::Value = serde_json::from_slice(&text).ok()?;
    summary.get("instructions")?.as_u64()
}
