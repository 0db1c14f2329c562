//! Watches what an experiment's processes use together, which the kernel limits for each alone at best.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::{Pid, SysconfVar, getppid, sysconf};
use serde::{Deserialize, Serialize};

use super::kill::Scope;
use super::sys;
use crate::experiment::limits::HostLimits;

/// The limit that an experiment was ended for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exceeded {
    /// Too many processes and threads.
    Processes,
    /// Too much memory.
    Memory,
}

/// A thread that watches until this is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    over: Arc<AtomicBool>,
    exceeded: Arc<Mutex<Option<Exceeded>>>,
    thread: Option<JoinHandle<()>>,
}

impl Guard {
    /// Starts to watch.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(scope: Scope, limits: HostLimits) -> std::io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let exceeded = Arc::new(Mutex::new(None));
        let watch = Watch {
            scope,
            limits,
            parent: getppid(),
            over: Arc::clone(&over),
            exceeded: Arc::clone(&exceeded),
        };
        let thread = std::thread::Builder::new().spawn(move || watch.run())?;
        Ok(Self {
            over,
            exceeded,
            thread: Some(thread),
        })
    }

    /// What the experiment was ended for, if it was.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        *self.exceeded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to fail with.
            let _ = thread.join();
        }
    }
}

struct Watch {
    scope: Scope,
    limits: HostLimits,
    parent: Pid,
    over: Arc<AtomicBool>,
    exceeded: Arc<Mutex<Option<Exceeded>>>,
}

impl Watch {
    fn run(self) {
        sys::run_first();
        // Finding descendants means reading all of `/proc`.
        let interval = Duration::from_millis(match self.scope {
            Scope::Namespace => 20,
            Scope::Descendants => 100,
        });
        while !self.over.load(Ordering::Relaxed) {
            std::thread::park_timeout(interval);
            if getppid() != self.parent {
                self.scope.end();
                sys::exit_now(1);
            }
            if let Some(what) = self.look() {
                *self.exceeded.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
                self.scope.end();
            }
        }
    }

    fn look(&self) -> Option<Exceeded> {
        let members = self.scope.members();
        let uses: Vec<_> = members.iter().filter_map(|pid| uses(*pid)).collect();
        let (tasks, pages) = uses
            .iter()
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if tasks > self.limits.processes {
            Some(Exceeded::Processes)
        } else if pages.saturating_mul(page_size()) > self.limits.memory {
            Some(Exceeded::Memory)
        } else {
            None
        }
    }
}

fn page_size() -> u64 {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.map_or(4096, |size| size.unsigned_abs())
}

/// Threads and resident pages of a process: fields 20 and 24 of its line, counted from 1.
fn uses(pid: Pid) -> Option<(u64, u64)> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, the second field, may hold anything; what follows its last parenthesis may not.
fn parse(line: &str) -> Option<(u64, u64)> {
    let mut rest = line.rsplit_once(')')?.1.split_whitespace();
    let threads = rest.nth(17)?.parse().ok()?;
    let resident = rest.nth(3)?.parse().ok()?;
    Some((threads, resident))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_and_pages_are_found_behind_any_name() {
        let line = "7 (a) b (c) S 1 7 7 0 -1 4194560 5 6 7 8 9 10 11 12 20 0 3 0 99 8192 55 18446744073709551615 1";
        assert_eq!(parse(line), Some((3, 55)));
        let (threads, pages) = uses(Pid::this()).unwrap();
        assert!(threads >= 1 && pages > 10);
    }
}
