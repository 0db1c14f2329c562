//! A thread that keeps privileges which the rest of its process has given up.
//!
//! In a user namespace the keeper of an ordinary user's program begins with all privileges there, and the program has none. Then the kernel does not let the
//! program open memory that the keeper shares with it (a process may only look into one that has no privileges beyond its own). So the keeper's
//! main thread gives them up, and what still needs them is done here: new layers for a command that is run again, and numbers of processes.

use std::fs;
use std::io;
use std::sync::mpsc::{Sender, channel};

use nix::sys::prctl;
use nix::unistd::geteuid;

use super::sys;

type Work = Box<dyn FnOnce() + Send>;

/// Whoever does what needs privileges.
#[derive(Debug)]
pub(crate) enum Privileged {
    /// The calling thread, which has them or needs none.
    Caller,
    /// A thread.
    Thread(Sender<Work>),
}

/// As `fits_tracer::process::PidPlan` has them, where it may choose.
const FIRST_NUMBER: i64 = 300_000;
const ROOM: i64 = 2768;

impl Privileged {
    /// Keeps the privileges of this process in a thread and gives them up otherwise, if they are those of an ordinary user's namespace.
    pub(crate) fn keep() -> io::Result<Self> {
        if geteuid().is_root() {
            return Ok(Self::Caller);
        }
        let (send, receive) = channel::<Work>();
        std::thread::Builder::new().spawn(move || receive.into_iter().for_each(|work| work()))?;
        sys::drop_all_capabilities()?;
        // Having made a user namespace had taken this away.
        prctl::set_dumpable(true)?;
        Ok(Self::Thread(send))
    }

    /// Does something that needs privileges; none if nobody can.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let Self::Thread(thread) = self else {
            return Some(work());
        };
        let (answer, wait) = channel();
        let work = Box::new(move || {
            // Whoever asked is waiting.
            let _ = answer.send(work());
        });
        thread.send(work).ok()?;
        wait.recv().ok()
    }

    /// Gives the next process the number that a golden run has, as far as that is not done when it is made.
    pub(crate) fn choose_number(&self) {
        if let Self::Caller = self {
            return;
        }
        // Without it, numbers are those of the namespace: other ones, but the same in every run.
        let _ = self.run(|| {
            let limit = fs::read_to_string("/proc/sys/kernel/pid_max").ok();
            let limit = limit.and_then(|text| text.trim().parse::<i64>().ok());
            let first = FIRST_NUMBER.min(limit.unwrap_or(32768) - ROOM);
            fs::write("/proc/sys/kernel/ns_last_pid", (first - 1).to_string())
        });
    }

    /// Whether it is a thread.
    pub(crate) fn is_thread(&self) -> bool {
        matches!(self, Self::Thread(_))
    }
}
