//! The loop over stops, and what each means while a thread runs natively.

use fits_stats::protocol::{Crash, ThreadNumber};
use nix::unistd::Pid;

use super::breakpoints::Hit;
use super::state::is_interrupted;
use super::thread::{At, Thread};
use super::{Live, Stepped};
use crate::backend::{BackendError, Ended};
use crate::engine::HowEnded;
use crate::ptrace::{self, Anybody, Resume, SigInfo, Stop, Stopped, Waited, wait_anybody};

/// `si_code` of a hit of a debug register: nothing else makes it.
const TRAP_HWBKPT: i32 = 4;

/// What whoever runs the loop may be waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Happened {
    /// Nothing of interest.
    Nothing,
    /// This came of a thread's step; it is stopped.
    Stepped(Pid, Stepped),
    /// A thread has hit breakpoints; it is stopped.
    Hit(Pid, Hit),
    /// A thread has been made that was waited for; it is stopped before its first instruction.
    Born(Pid, ThreadNumber),
    /// The process is over.
    Over,
}

impl Live {
    /// Waits for something to happen and handles it. `block` false: only looks.
    pub(super) fn turn(&mut self, block: bool) -> Result<Option<Happened>, BackendError> {
        if let Some(happened) = self.found.pop_front() {
            return Ok(Some(happened));
        }
        let waited = match self.queue.pop_front() {
            Some(waited) => waited,
            None => match wait_anybody(block)? {
                Anybody::Waited(waited) => waited,
                Anybody::Nothing => return Ok(None),
                Anybody::Nobody => return Err(crate::Error::Gone { tid: self.leader }.into()),
            },
        };
        self.on_waited(waited).map(Some)
    }

    pub(super) fn on_waited(&mut self, waited: Waited) -> Result<Happened, BackendError> {
        match waited {
            Waited::Stopped(stopped) => self.on_stop(stopped),
            Waited::Exited { tid, code } => Ok(self.on_end(tid, Ended::Exited(code))),
            Waited::Signaled { tid, signal, core } => {
                Ok(self.on_end(tid, Ended::Signaled { signal, core }))
            }
        }
    }

    fn on_stop(&mut self, stopped: Stopped) -> Result<Happened, BackendError> {
        let tid = stopped.tid();
        if stopped.stop() == Stop::Event(ptrace::Event::Exec) && tid == self.leader {
            self.on_moved(&stopped)?;
        }
        let Some(mut thread) = self.threads.remove(&tid) else {
            return forgive_gone(self.on_stranger(stopped), Happened::Nothing);
        };
        thread.at = At::Running;
        let result = self.on_thread_stop(&mut thread, stopped);
        self.threads.insert(tid, thread);
        forgive_gone(result, Happened::Nothing)
    }

    /// Handles the stop of a thread, and lets it go on unless it has been waited for.
    pub(super) fn on_thread_stop(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        match stopped.stop() {
            Stop::Event(event) => {
                self.on_event(thread, stopped, event)?;
                if thread.leaving && thread.pending.is_some() {
                    return Ok(Happened::Stepped(thread.tid, Stepped::Ended));
                }
            }
            Stop::GroupStop(_) => stopped.resume(Resume::Listen, 0)?,
            _ if thread.pending.is_some() => return self.on_stepping_stop(thread, stopped),
            Stop::Trap => return self.on_trap(thread, stopped),
            Stop::Signal(signal) => self.on_signal(thread, stopped, signal)?,
            Stop::SyscallExit => self.on_exit(thread, stopped)?,
            _ if thread.call.is_some() => stopped.resume(Resume::Syscall, 0)?,
            _ => stopped.resume(Resume::Continue, 0)?,
        }
        Ok(Happened::Nothing)
    }

    /// A breakpoint, or a signal like others.
    fn on_trap(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<Happened, BackendError> {
        let code = stopped.siginfo()?.code();
        if let Some(delivery) = thread.delivering.take()
            && code == libc::SIGTRAP
        {
            self.on_frame(thread, &stopped, delivery.faulted)?;
            stopped.resume(Resume::Continue, 0)?;
            return Ok(Happened::Nothing);
        }
        if code != TRAP_HWBKPT {
            self.pass_on(thread, stopped, libc::SIGTRAP)?;
            return Ok(Happened::Nothing);
        }
        let hit = self.breakpoints.hit(&stopped)?;
        let stopped = self.put_back(thread, stopped, libc::SIGTRAP)?;
        if !hit.any() {
            // It has been taken away meanwhile.
            stopped.resume(Resume::Continue, 0)?;
            return Ok(Happened::Nothing);
        }
        thread.at = At::Boundary(stopped);
        Ok(Happened::Hit(thread.tid, hit))
    }

    fn on_signal(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        signal: i32,
    ) -> Result<(), BackendError> {
        let Some(after) = self.time_read(thread, &stopped)? else {
            return self.pass_on(thread, stopped, signal);
        };
        let stopped = self.put_back(thread, stopped, signal)?;
        stopped.set_registers(&after)?;
        Ok(stopped.resume(Resume::Continue, 0)?)
    }

    /// A system call whose result we may have to correct has returned, or will be restarted.
    fn on_exit(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        if is_interrupted(&registers) {
            thread.call = None;
        }
        if thread
            .call
            .is_some_and(|call| call.is(libc::SYS_rt_sigreturn))
        {
            self.see_breakpoint(thread, &stopped)?;
        }
        self.after_call(thread, registers.rax.cast_signed())?;
        Ok(stopped.resume(Resume::Continue, 0)?)
    }

    /// Delivers a signal to a thread that runs natively.
    fn pass_on(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        signal: i32,
    ) -> Result<(), BackendError> {
        self.note_signal(thread, &stopped, signal)?;
        thread.delivering = self.arrival_delivery(thread, &stopped, signal)?;
        let how = if thread.delivering.is_some() {
            Resume::Step
        } else {
            Resume::Continue
        };
        Ok(stopped.resume(how, signal)?)
    }

    /// Remembers a signal: should the process end by it, this was where.
    pub(super) fn note_signal(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        signal: i32,
    ) -> Result<(), BackendError> {
        let mut info = stopped.siginfo()?;
        let ours = info.sender() == std::process::id() as i32 && info.code() == libc::SI_TKILL;
        let known = |sent: &SigInfo| ours && sent.signal() == signal;
        if let Some(index) = thread.sent_again.iter().position(known) {
            info = thread.sent_again.remove(index);
            stopped.set_siginfo(&info)?;
        }
        let faulted = is_fault(signal) && info.code() > 0;
        self.last_signal = Some(Crash {
            signal,
            code: info.code(),
            address: if faulted { info.address() } else { 0 },
            pc: stopped.registers()?.rip,
            thread: thread.number,
        });
        Ok(())
    }

    /// A thread or child is no more.
    fn on_end(&mut self, tid: Pid, ended: Ended) -> Happened {
        self.children.remove(&tid);
        self.expected.remove(&tid);
        self.early.remove(&tid);
        let stepped = self
            .threads
            .remove(&tid)
            .is_some_and(|thread| thread.pending.is_some());
        if tid == self.leader {
            self.threads.clear();
            self.note_over(HowEnded::Ended(ended));
            return Happened::Over;
        }
        if stepped {
            return Happened::Stepped(tid, Stepped::Ended);
        }
        Happened::Nothing
    }
}

/// Whether an instruction of the program's own can cause it.
pub(super) fn is_fault(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
    )
}

/// A thread that was killed while it was stopped is no failure: its end is reported next.
pub(super) fn forgive_gone<T>(
    result: Result<T, BackendError>,
    otherwise: T,
) -> Result<T, BackendError> {
    match result {
        Err(BackendError::Trace(error)) if error.is_gone() => Ok(otherwise),
        result => result,
    }
}
