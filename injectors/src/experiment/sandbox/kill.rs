//! Everything that a program started, found and ended.

use fits_tracer::process::descendants;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};
use rustc_hash::FxHashSet;

/// Whom an experiment's processes can be told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// They are all that there is in this process namespace, whose first process we are.
    Namespace,
    /// They descend from us, and come to us when their parents end.
    Descendants,
}

impl Scope {
    /// Those alive.
    pub(crate) fn members(self) -> Vec<Pid> {
        let own = Pid::this();
        match self {
            Self::Descendants => descendants(own),
            Self::Namespace => {
                let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
                entries
                    .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
                    .map(Pid::from_raw)
                    .filter(|pid| *pid != own)
                    .collect()
            }
        }
    }

    /// Ends them, however fast they multiply.
    pub(crate) fn end(self) {
        match self {
            // From the first process of a namespace this reaches all others, at once.
            Self::Namespace => drop(kill(Pid::from_raw(-1), Signal::SIGKILL)),
            Self::Descendants => end_descendants(),
        }
    }

    /// Ends them and waits until none is left. Only for the thread that traces.
    pub(crate) fn end_and_reap(self) {
        loop {
            self.end();
            if !reap(WaitPidFlag::empty()) {
                return;
            }
            while reap(WaitPidFlag::WNOHANG) {}
        }
    }
}

/// Takes note of one that has ended or stopped; false when there is none.
fn reap(flags: WaitPidFlag) -> bool {
    match waitpid(None, Some(flags | WaitPidFlag::__WALL)) {
        Err(nix::errno::Errno::EINTR) => true,
        Err(_) | Ok(WaitStatus::StillAlive) => false,
        Ok(status) => {
            release(status);
            true
        }
    }
}

/// A traced one stops once more before its end.
fn release(status: WaitStatus) {
    if let WaitStatus::PtraceEvent(pid, ..) | WaitStatus::Stopped(pid, _) = status {
        // Gone already: nothing to release.
        let _ = nix::sys::ptrace::cont(pid, None);
    }
}

/// Group after group, since a signal to a group reaches all that are in it at once, however fast they multiply; then whoever is in none of
/// them. Ends when a search finds nobody new.
fn end_descendants() {
    const ROUNDS: usize = 1000;
    let own = getpgrp();
    let mut found: FxHashSet<Pid> = FxHashSet::default();
    for _ in 0..ROUNDS {
        let fresh: Vec<_> = descendants(Pid::this())
            .into_iter()
            .filter(|pid| found.insert(*pid))
            .collect();
        if fresh.is_empty() {
            return;
        }
        let mut groups: Vec<_> = fresh.iter().flat_map(|pid| getpgid(Some(*pid))).collect();
        groups.sort_unstable();
        groups.dedup();
        // Those that are gone already need no signal.
        for group in groups.into_iter().filter(|group| *group != own) {
            let _ = killpg(group, Signal::SIGKILL);
        }
        for pid in fresh {
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}
