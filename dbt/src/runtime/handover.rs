//! Leaving the translator: all threads are brought to their guest state, and nothing of ours stays in the process.

use fits_tracer::backend::{BackendError, Ended};
use fits_tracer::engine::Moment;
use fits_tracer::live::numbers::FileNumbers;
use fits_tracer::live::{HandedThread, Handover, Live};
use fits_tracer::process::{Status, VirtualTsc, status};
use fits_tracer::ptrace::{Resume, Stop, Stopped, Waited, interrupt};
use nix::sys::signal::kill;

use super::backend::Run;
use super::calls::RESTART;
use super::error::Result;
use super::guest::NO_CALL;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};

impl Run<'_> {
    /// Brings all threads to their guest state, and takes everything of ours out of the process, which stands at its moment. How it
    /// ended, if another thread has ended it meanwhile.
    pub(super) fn leave(
        &mut self,
    ) -> std::result::Result<std::result::Result<Vec<HandedThread>, Ended>, BackendError> {
        let supervisor = &mut self.supervisor;
        let error = match supervisor.let_go_of_all() {
            Ok(threads) => return Ok(Ok(threads)),
            Err(error) => error,
        };
        if supervisor.is_dying() {
            return Ok(Err(supervisor.bury()?));
        }
        supervisor.kill_all();
        Err(error.into())
    }

    /// Hands the process over.
    pub(super) fn hand_over(
        mut self,
        moment: Moment,
        threads: Vec<HandedThread>,
    ) -> std::result::Result<Live, BackendError> {
        let warnings = std::mem::take(&mut self.supervisor.warnings);
        let supervisor = self.supervisor;
        let mut live = Live::adopt(Handover {
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
            numbers: FileNumbers::default(),
        })?;
        // A signal that comes before the next instruction belongs to the moment.
        live.settle()?;
        Ok(live)
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
        if interrupted && is_trapped(&stopped)? {
            return Ok(stopped.resume(Resume::Continue, 0)?);
        }
        let doing = self.threads.get(&stopped.tid()).map(|thread| thread.doing);
        match doing {
            Some(Doing::Translated) if interrupted || stopped.stop() == Stop::Trap => {
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
            Some(Doing::Call(_)) if stopped.stop() == Stop::Trap && restarts(&stopped)? => {
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

    /// Whether the process is being ended by one of its threads.
    fn is_dying(&self) -> bool {
        status(self.leader).is_ok_and(|status| {
            Status::holds(status.pending | status.shared_pending, libc::SIGKILL)
        }) || kill(self.leader, None).is_err()
    }

    /// Waits for the end of a process that is being ended.
    fn bury(&mut self) -> Result<Ended> {
        self.held.clear();
        loop {
            match self.wait()? {
                Some(Waited::Stopped(stopped)) => {
                    let resumed = stopped.resume(Resume::Continue, 0);
                    self.unless_gone(resumed.map_err(Into::into))?;
                }
                Some(Waited::Exited { tid, code }) if tid == self.leader => {
                    return Ok(Ended::Exited(code));
                }
                Some(Waited::Signaled { tid, signal, core }) if tid == self.leader => {
                    return Ok(Ended::Signaled { signal, core });
                }
                Some(_) | None => {}
            }
        }
    }

    /// Takes everything of ours out of the process; all its threads are held. The first stands between two instructions: one in a
    /// system call that the kernel has left must not execute another.
    fn remove_ours(&mut self) -> Result<()> {
        let mut held = std::mem::take(&mut self.held);
        if let Some(stopped) = held.first_mut() {
            self.unprotect_all(stopped)?;
            for range in self.areas.take_ours() {
                let args = [range.start, range.end - range.start, 0, 0, 0, 0];
                stopped.remote_syscall(libc::SYS_munmap, args)?;
            }
        }
        self.held = held;
        Ok(())
    }
}

/// Whether the thread has just executed a trap of ours, or taken a step, and has not been told: the interrupt has come first.
pub(super) fn is_trapped(stopped: &Stopped) -> Result<bool> {
    let pending = status(stopped.tid())?.pending;
    Ok(Status::holds(pending, libc::SIGTRAP))
}

/// Whether the thread is in a system call that the kernel will begin anew.
fn restarts(stopped: &Stopped) -> Result<bool> {
    let registers = stopped.registers()?;
    Ok(RESTART.contains(&registers.rax.cast_signed()) && registers.orig_rax != NO_CALL)
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
