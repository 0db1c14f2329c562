//! Resuming and stopping all threads.

use nix::unistd::Pid;

use super::Live;
use super::events::{Happened, forgive_gone};
use super::thread::At;
use crate::backend::BackendError;
use crate::ptrace::{self, Anybody, Resume, Stop, Waited, interrupt, wait_anybody};

impl Live {
    /// Lets every stopped thread but `except` go on natively.
    pub(super) fn resume_all(&mut self, except: Option<Pid>) -> Result<(), BackendError> {
        let tids: Vec<_> = self.threads.keys().copied().collect();
        for tid in tids {
            if Some(tid) != except {
                self.resume(tid)?;
            }
        }
        Ok(())
    }

    /// Lets a stopped thread go on natively.
    pub(super) fn resume(&mut self, tid: Pid) -> Result<(), BackendError> {
        let Some(mut thread) = self.threads.remove(&tid) else {
            return Ok(());
        };
        let result = match std::mem::replace(&mut thread.at, At::Running) {
            At::Running => Ok(()),
            At::Boundary(stopped) => stopped.resume(thread.how(), 0).map_err(Into::into),
            At::Unseen(stopped) => match self.on_thread_stop(&mut thread, stopped) {
                Ok(Happened::Nothing) => Ok(()),
                Ok(happened) => {
                    self.found.push_back(happened);
                    Ok(())
                }
                Err(error) => Err(error),
            },
        };
        self.threads.insert(tid, thread);
        forgive_gone(result, ())
    }

    /// Stops every thread. What comes meanwhile and is no interruption of ours is left unseen until the thread goes on.
    pub(super) fn stop_all(&mut self) -> Result<(), BackendError> {
        self.halting = true;
        let result = self.stop_running();
        self.halting = false;
        result
    }

    fn stop_running(&mut self) -> Result<(), BackendError> {
        for thread in self.threads.values().filter(|thread| thread.is_running()) {
            forgive_gone(interrupt(thread.tid).map_err(Into::into), ())?;
        }
        while self.over.is_none()
            && self
                .threads
                .values()
                .any(|thread| thread.is_running() && !thread.leaving)
        {
            let waited = match self.queue.pop_front() {
                Some(waited) => waited,
                None => match wait_anybody(true)? {
                    Anybody::Waited(waited) => waited,
                    Anybody::Nothing => continue,
                    Anybody::Nobody => {
                        return Err(crate::Error::Gone { tid: self.leader }.into());
                    }
                },
            };
            self.park(waited)?;
        }
        Ok(())
    }

    fn park(&mut self, waited: Waited) -> Result<(), BackendError> {
        let stopped = match waited {
            Waited::Stopped(stopped) => stopped,
            ended => return self.on_waited(ended).map(drop),
        };
        let leaves = matches!(
            stopped.stop(),
            Stop::Event(ptrace::Event::Exit | ptrace::Event::Exec)
        );
        match self.threads.get_mut(&stopped.tid()) {
            Some(thread) if !leaves => {
                thread.at = match stopped.stop() {
                    Stop::Interrupted => At::Boundary(stopped),
                    _ => At::Unseen(stopped),
                };
                Ok(())
            }
            _ => {
                let tid = stopped.tid();
                let happened = self.on_waited(Waited::Stopped(stopped))?;
                debug_assert_eq!(happened, Happened::Nothing);
                // An `execve` or a newborn: it runs on, and is to be stopped like the rest.
                match self.threads.get(&tid) {
                    Some(thread) if thread.is_running() && !thread.leaving => {
                        forgive_gone(interrupt(tid).map_err(Into::into), ())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Ends the process and everything that is traced with it, and waits for them.
    pub(super) fn kill_everything(&mut self) {
        use nix::sys::signal::{Signal, kill};
        if self.over.is_none() {
            crate::process::end_forwarding();
        }
        let mut doomed: Vec<Pid> = self.children.iter().copied().collect();
        if self.over.is_none() {
            doomed.extend(crate::process::descendants(self.leader));
            doomed.push(self.leader);
        }
        for &pid in &doomed {
            // Those that have ended meanwhile need no signal.
            let _ = kill(pid, Signal::SIGKILL);
        }
        self.threads.clear();
        self.early.clear();
        self.expected.clear();
        while doomed.iter().any(|&pid| kill(pid, None).is_ok()) {
            match wait_anybody(true) {
                // The stop before its end, which it must be let past. One that is gone already needs nothing.
                Ok(Anybody::Waited(Waited::Stopped(stopped))) => {
                    let _ = kill(stopped.tid(), Signal::SIGKILL);
                    let _ = stopped.resume(Resume::Continue, 0);
                }
                Ok(Anybody::Waited(_) | Anybody::Nothing) => {}
                Ok(Anybody::Nobody) | Err(_) => break,
            }
        }
    }
}
