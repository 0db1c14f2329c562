//! `/proc/PID/status`: signal sets, thread group, parent, tracer.

use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use crate::error::{Error, Result};

/// What `/proc/PID/status` says. In signal sets bit 0 is signal 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// The process that the thread belongs to.
    pub tgid: i32,
    /// The parent process.
    pub parent: i32,
    /// The tracer, 0 for none.
    pub tracer: i32,
    /// Signals with a handler.
    pub caught: u64,
    /// Signals ignored.
    pub ignored: u64,
    /// Signals blocked by this thread.
    pub blocked: u64,
    /// Signals pending for this thread.
    pub pending: u64,
    /// Signals pending for the process.
    pub shared_pending: u64,
    /// The seccomp mode: 0 for none.
    pub seccomp: i32,
}

impl Status {
    /// Whether `signal` is in `set`.
    #[must_use]
    pub fn holds(set: u64, signal: i32) -> bool {
        (1..=64).contains(&signal) && set >> (signal - 1) & 1 == 1
    }
}

/// The status of a thread.
///
/// # Errors
/// When it is gone.
pub fn status(tid: Pid) -> Result<Status> {
    let path = format!("/proc/{tid}/status");
    match std::fs::read(&path) {
        Ok(text) => Ok(parse(&String::from_utf8_lossy(&text))),
        Err(source) => Err(Error::Proc { path, source }),
    }
}

/// The process that a thread belongs to.
///
/// # Errors
/// When it is gone.
pub fn thread_group(tid: Pid) -> Result<Pid> {
    Ok(Pid::from_raw(status(tid)?.tgid))
}

/// Processor time in seconds of a process, its threads and the children that it has waited for, to a hundredth; none when it is gone.
#[must_use]
pub fn cpu_seconds(pid: Pid) -> Option<f64> {
    const TICKS: f64 = 100.0;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name, which may hold blanks and brackets; utime, stime, cutime and cstime are the 14th to 17th.
    let (_, rest) = text.rsplit_once(") ")?;
    let ticks: Option<u64> = rest
        .split(' ')
        .skip(11)
        .take(4)
        .map(|field| field.parse::<u64>().ok())
        .sum();
    Some(ticks? as f64 / TICKS)
}

/// Whether a thread sleeps in the kernel; not when it is gone.
#[must_use]
pub fn sleeps(tid: Pid) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{tid}/stat")).unwrap_or_default();
    text.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with(['S', 'D']))
}

/// The living children of `root`, and theirs, and so on, `root` left out.
#[must_use]
pub fn descendants(root: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut children: FxHashMap<i32, Vec<i32>> = FxHashMap::default();
    for pid in numbers {
        if let Ok(status) = status(Pid::from_raw(pid)) {
            children.entry(status.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root.as_raw()];
    let mut done = 0;
    while done < found.len() {
        found.extend(children.remove(&found[done]).into_iter().flatten());
        done += 1;
    }
    found.into_iter().skip(1).map(Pid::from_raw).collect()
}

fn parse(text: &str) -> Status {
    let mut status = Status::default();
    for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        let set = || u64::from_str_radix(value, 16).unwrap_or_default();
        let number = || value.parse().unwrap_or_default();
        match key {
            "Tgid" => status.tgid = number(),
            "PPid" => status.parent = number(),
            "TracerPid" => status.tracer = number(),
            "SigCgt" => status.caught = set(),
            "SigIgn" => status.ignored = set(),
            "SigBlk" => status.blocked = set(),
            "SigPnd" => status.pending = set(),
            "Seccomp" => status.seccomp = number(),
            "ShdPnd" => status.shared_pending = set(),
            _ => {}
        }
    }
    status
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_numbers_are_read() {
        let status =
            parse("Tgid:\t12\nPPid:\t3\nSigCgt:\t0000000000000402\nSigBlk:\t8000000000000000\n");
        assert_eq!((status.tgid, status.parent), (12, 3));
        assert!(Status::holds(status.caught, 2) && Status::holds(status.caught, 11));
        assert!(Status::holds(status.blocked, 64) && !Status::holds(status.blocked, 63));
    }
}
