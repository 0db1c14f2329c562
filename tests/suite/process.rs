//! Running a command to its end, with its outputs caught in files and a limit on its time.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How a command ended, and what it wrote.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The exit status as a shell sees it: 128 + signal for a command that a signal ended.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs the command in its own process group, its outputs in files of `scratch`.
pub(crate) fn run(
    command: &mut Command,
    scratch: &Path,
    limit: Duration,
) -> Result<Outcome, String> {
    let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
    let create = |path: &Path| {
        File::create(path).map_err(|error| format!("cannot create {}: {error}", path.display()))
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(create(&out)?)
        .stderr(create(&err)?)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot start {command:?}: {error}"))?;
    let status = wait(&mut child, limit);
    let read = |path: &Path| fs::read(path).map_err(|error| error.to_string());
    let (stdout, stderr) = (read(&out)?, read(&err)?);
    match status? {
        Some(status) => Ok(Outcome {
            status: shell_status(status),
            stdout,
            stderr,
        }),
        None => Err(format!(
            "not at its end after {} s: {command:?}\nstandard output so far:\n{}\nstandard error so far:\n{}",
            limit.as_secs(),
            tail(&stdout),
            tail(&stderr)
        )),
    }
}

/// Waits for the end; kills the process group when the time is over.
fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Ok(Some(status));
        }
        if start.elapsed() > limit {
            let group = Pid::from_raw(child.id() as i32);
            killpg(group, Signal::SIGKILL).map_err(|error| format!("cannot kill: {error}"))?;
            child.wait().map_err(|error| error.to_string())?;
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn shell_status(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The last kilobytes of an output as text.
pub(crate) fn tail(bytes: &[u8]) -> String {
    let from = bytes.len().saturating_sub(2000);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// Says in which ways two outcomes differ; `None` when they do not.
pub(crate) fn difference(native: &Outcome, other: &Outcome) -> Option<String> {
    let mut text = String::new();
    if native.status != other.status {
        text += &format!("exit status {}, natively {}\n", other.status, native.status);
    }
    for (name, expected, got) in [
        ("standard output", &native.stdout, &other.stdout),
        ("standard error", &native.stderr, &other.stderr),
    ] {
        if let Some(what) = first_difference(expected, got) {
            text += &format!("{name}: {what}\n");
        }
    }
    if text.is_empty() {
        return None;
    }
    text += &format!("standard error: {}\n", tail(&other.stderr));
    Some(text)
}

/// The first line in which two texts differ.
pub(crate) fn first_difference(expected: &[u8], got: &[u8]) -> Option<String> {
    if expected == got {
        return None;
    }
    let split =
        |text: &[u8]| -> Vec<Vec<u8>> { text.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect() };
    let (expected_lines, got_lines) = (split(expected), split(got));
    let line = expected_lines
        .iter()
        .zip(&got_lines)
        .position(|(a, b)| a != b)
        .unwrap_or(expected_lines.len().min(got_lines.len()));
    let show = |lines: &[Vec<u8>]| match lines.get(line) {
        Some(text) => format!(
            "{:?}",
            String::from_utf8_lossy(&text[..text.len().min(300)])
        ),
        None => "its end".to_owned(),
    };
    Some(format!(
        "line {} is {}, natively {} ({} bytes, natively {})",
        line + 1,
        show(&got_lines),
        show(&expected_lines),
        got.len(),
        expected.len()
    ))
}
