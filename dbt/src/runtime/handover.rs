//! Leaving the translator: all threads are brought to their guest state, and nothing of ours stays in the process.

use fits_tracer::live::{HandedThread, Handover, Live};
use fits_tracer::process::VirtualTsc;
use fits_tracer::ptrace::{Stop, Stopped, Waited, interrupt};
use fits_tracer::{backend::BackendError, engine::Moment};

use super::backend::Run;
use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};

impl Run<'_> {
    /// Hands the process over, which stands at `moment`. After an error nothing is left of it.
    pub(super) fn hand_over(mut self, moment: Moment) -> std::result::Result<Live, BackendError> {
        let threads = match self.supervisor.let_go_of_all() {
            Ok(threads) => threads,
            Err(error) => {
                self.supervisor.kill_all();
                return Err(error.into());
            }
        };
        let warnings = std::mem::take(&mut self.supervisor.warnings);
        let supervisor = self.supervisor;
        Live::adopt(Handover {
            leader: supervisor.leader,
            executable: self.executable,
            environment: supervisor.options.environment,
            cpus: supervisor.options.cpus.clone(),
            pids: supervisor.pids,
            random: supervisor.random,
            threads,
            focus: moment.thread,
            next_number: supervisor.next_number,
            queue: supervisor.queue.into(),
            started: self.started,
            cpu_before: self.cpu_before,
            warnings,
        })
    }
}

impl Supervisor<'_> {
    /// Stops all threads in their guest state, and takes everything of ours out of the process.
    fn let_go_of_all(&mut self) -> Result<Vec<HandedThread>> {
        self.halting = true;
        let running: Vec<_> = self.threads.keys().copied().collect();
        let held = |held: &[Stopped], tid| held.iter().any(|stopped| stopped.tid() == tid);
        for tid in running {
            if !held(&self.held, tid) {
                let asked = interrupt(tid);
                self.unless_gone(asked.map_err(Into::into))?;
            }
        }
        while self.newborn.is_expecting()
            || (self.threads.values())
                .any(|thread| thread.doing != Doing::Ending && !held(&self.held, thread.tid))
        {
            match self.wait()? {
                Some(Waited::Stopped(stopped)) => self.halt(stopped)?,
                Some(Waited::Exited { tid, .. } | Waited::Signaled { tid, .. }) => {
                    self.threads.remove(&tid);
                }
                None => {}
            }
        }
        self.remove_ours()?;
        let held = std::mem::take(&mut self.held);
        Ok(held
            .into_iter()
            .filter_map(|stopped| {
                let thread = self.threads.remove(&stopped.tid())?;
                Some(handed(*thread, stopped))
            })
            .collect())
    }

    /// A thread has stopped while all are to.
    fn halt(&mut self, stopped: Stopped) -> Result<()> {
        let interrupted = stopped.stop() == Stop::Interrupted;
        let doing = self.threads.get(&stopped.tid()).map(|thread| thread.doing);
        match doing {
            Some(Doing::Translated) if interrupted => {
                let Some(mut thread) = self.threads.remove(&stopped.tid()) else {
                    return Ok(());
                };
                let result = self.halt_translated(&mut thread, stopped);
                self.threads.insert(thread.tid, thread);
                self.unless_gone(result)
            }
            // A system call goes on when the thread does; between two instructions there is nothing to do.
            Some(Doing::Call(_) | Doing::Native) if interrupted => {
                self.held.push(stopped);
                Ok(())
            }
            _ => self.on_stop(stopped),
        }
    }

    fn halt_translated(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        if let Some((stopped, guest)) = self.run_to_boundary(thread, stopped)? {
            stopped.set_registers(&guest)?;
            thread.doing = Doing::Native;
            self.held.push(stopped);
        }
        Ok(())
    }

    /// Takes everything of ours out of the process; all its threads are held.
    fn remove_ours(&mut self) -> Result<()> {
        let Some(mut stopped) = self.held.pop() else {
            return Ok(());
        };
        self.unprotect_all(&mut stopped)?;
        for range in self.areas.take_ours() {
            let args = [range.start, range.end - range.start, 0, 0, 0, 0];
            stopped.remote_syscall(libc::SYS_munmap, args)?;
        }
        self.held.push(stopped);
        Ok(())
    }
}

fn handed(thread: Thread, stopped: Stopped) -> HandedThread {
    HandedThread {
        stopped,
        number: thread.number,
        tsc: VirtualTsc::at(thread.area.next_tsc()),
        own_affinity: thread.own_affinity,
        blocked: thread.blocked,
        held: thread.held.into(),
    }
}
