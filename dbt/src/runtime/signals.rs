//! Signals: when and how they are delivered.
//!
//! A signal that does something is delivered at a unit's boundary: the thread gets the guest's own registers and the kernel
//! builds the frame; execution goes on with the translation of the handler.

use fits_stats::protocol::Crash;
use fits_tracer::process::{Status, status};
use fits_tracer::ptrace::{Registers, Resume, SigInfo, Stop, Stopped, Waited, kill};

use super::error::Result;
use super::guest::TRAP_FLAG;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};

/// Offset of rip in `struct ucontext`.
const MCONTEXT_RIP: u64 = 168;

/// More than a signal frame has, red zone and vector registers included.
const FRAME: u64 = 16 << 10;

/// `si_code` of a single step.
const TRAP_TRACE: i32 = 2;

/// What a signal does by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Default {
    Ends,
    Nothing,
    Stops,
}

fn by_default(signal: i32) -> Default {
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => Default::Nothing,
        libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU => Default::Stops,
        _ => Default::Ends,
    }
}

/// Whether the thread's own instruction raised it.
pub(super) fn is_fault(info: &SigInfo) -> bool {
    let kind = matches!(
        info.signal(),
        libc::SIGSEGV | libc::SIGBUS | libc::SIGFPE | libc::SIGILL | libc::SIGTRAP
    );
    kind && info.code() > 0
}

impl Supervisor<'_> {
    /// Whether delivering the signal would do more than nothing or stopping.
    pub(super) fn has_effect(&self, thread: &Thread, signal: i32) -> Result<bool> {
        let status = status(thread.tid)?;
        if Status::holds(status.caught, signal) {
            return Ok(true);
        }
        Ok(!Status::holds(status.ignored, signal) && by_default(signal) == Default::Ends)
    }

    /// What is known of the signal of this stop, as it was before we sent it again.
    pub(super) fn siginfo(&self, thread: &mut Thread, stopped: &Stopped) -> Result<SigInfo> {
        let info = stopped.siginfo()?;
        let ours = info.sender() == std::process::id() as i32 && info.code() == libc::SI_TKILL;
        let known = thread
            .sent_again
            .iter()
            .position(|sent| ours && sent.signal() == info.signal());
        Ok(match known {
            Some(index) => thread.sent_again.remove(index),
            None => info,
        })
    }

    /// A thread in translated code is about to get a signal.
    pub(super) fn on_signal(&mut self, thread: &mut Thread, mut stopped: Stopped) -> Result<()> {
        let before = thread.sent_again.len();
        let info = self.siginfo(thread, &stopped)?;
        let is_new = thread.sent_again.len() == before;
        let signal = info.signal();
        let host = stopped.registers()?;
        if is_new && is_fault(&info) && self.cache.contains(host.rip) {
            return self.on_fault(thread, stopped, host, info);
        }
        if self.keep_back(thread, &info) {
            return Ok(stopped.resume(Resume::Continue, 0)?);
        }
        if !self.has_effect(thread, signal)? {
            return Ok(stopped.resume(Resume::Continue, signal)?);
        }
        stopped.swallow();
        match self.run_to_boundary(thread, stopped)? {
            Some((stopped, guest)) => self.deliver(thread, stopped, guest, info),
            None => Ok(()),
        }
    }

    /// A `SIGTRAP` that no trap of ours explains.
    pub(super) fn on_other_trap(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
    ) -> Result<()> {
        let mut host = stopped.registers()?;
        let traced = stopped.siginfo()?.code() == TRAP_TRACE;
        if traced && self.cache.contains(host.rip) {
            // A program that steps itself never runs translated code: the kernel has left the flag of an earlier step of ours.
            host.eflags &= !TRAP_FLAG;
            stopped.set_registers(&host)?;
            stopped.swallow();
            return Ok(stopped.resume(Resume::Continue, 0)?);
        }
        self.on_signal(thread, stopped)
    }

    /// A thread in the guest's own state, between two instructions, has stopped.
    pub(super) fn on_native_stop(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        let guest = stopped.registers()?;
        if !matches!(stopped.stop(), Stop::Signal(_)) {
            return self.proceed(thread, stopped, guest);
        }
        let info = self.siginfo(thread, &stopped)?;
        let kept = self.keep_back(thread, &info);
        if !kept && self.has_effect(thread, info.signal())? {
            return self.deliver(thread, stopped, guest, info);
        }
        // A stop signal stops the thread before the step is taken; another one has no effect.
        if by_default(info.signal()) == Default::Stops {
            return Ok(stopped.resume(Resume::Step, info.signal())?);
        }
        let mut stopped = stopped;
        stopped.swallow();
        self.proceed(thread, stopped, guest)
    }

    /// Delivers a signal to a thread whose guest state is `guest`.
    pub(super) fn deliver(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        guest: Registers,
        info: SigInfo,
    ) -> Result<()> {
        self.deliver_then(thread, stopped, guest, info, |_, _, _| Ok(()))
    }

    /// [`Supervisor::deliver`]; `then` is told the rip to which the handler will return, if one is entered, before anything of the
    /// handler is executed.
    pub(super) fn deliver_then(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        guest: Registers,
        info: SigInfo,
        then: impl FnOnce(&mut Self, &mut Thread, Option<u64>) -> Result<()>,
    ) -> Result<()> {
        stopped.swallow();
        for range in [
            guest.rsp.saturating_sub(FRAME)..guest.rsp,
            thread.alternate.clone(),
        ] {
            self.unprotect_range(&mut stopped, range)?;
        }
        let signal = info.signal();
        if stopped.stop() != Stop::Trap {
            stopped = match self.raise(thread, stopped, &guest, signal)? {
                Ok(stopped) => stopped,
                Err(other) => {
                    self.hold(thread, info);
                    self.queue.push_front(other);
                    return Ok(());
                }
            };
        }
        let caught = Status::holds(status(thread.tid)?.caught, signal);
        if !caught {
            self.note_crash(thread, &info, guest.rip);
        }
        stopped.set_registers(&guest)?;
        stopped.set_siginfo(&info)?;
        thread.doing = Doing::Native;
        let waited = stopped.step(signal)?;
        let Waited::Stopped(stopped) = waited else {
            self.queue.push_front(waited);
            return Ok(());
        };
        if stopped.stop() != Stop::Trap {
            // It ended the process, or no frame could be built.
            self.queue.push_front(Waited::Stopped(stopped));
            return then(self, thread, None);
        }
        let handler = stopped.registers()?;
        let saved_rip = self
            .code
            .memory
            .read_u64(handler.rdx.wrapping_add(MCONTEXT_RIP))
            .ok();
        then(self, thread, saved_rip)?;
        self.handler_mask(thread, &stopped, &handler)?;
        self.end_block(thread)?;
        self.proceed(thread, stopped, handler)
    }

    /// Brings a thread to a stop at which a signal can be delivered, in the guest's own state, before it executes anything. Fails with
    /// what else has come.
    fn raise(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        guest: &Registers,
        signal: i32,
    ) -> Result<std::result::Result<Stopped, Waited>> {
        stopped.set_registers(guest)?;
        thread.doing = Doing::Native;
        kill(self.leader, thread.tid, signal)?;
        loop {
            stopped = match stopped.step(0)? {
                Waited::Stopped(stopped) => stopped,
                other => return Ok(Err(other)),
            };
            match stopped.stop() {
                Stop::Trap => return Ok(Ok(stopped)),
                Stop::Signal(other) => {
                    let info = self.siginfo(thread, &stopped)?;
                    stopped.swallow();
                    if other == signal {
                        return Ok(Ok(stopped));
                    }
                    self.hold(thread, info);
                }
                _ => return Ok(Err(Waited::Stopped(stopped))),
            }
        }
    }

    fn note_crash(&mut self, thread: &Thread, info: &SigInfo, pc: u64) {
        self.crash = Some(Crash {
            signal: info.signal(),
            code: info.code(),
            address: if is_fault(info) { info.address() } else { 0 },
            pc,
            thread: thread.number,
        });
    }

    /// Sends signals that are held again, so that the kernel brings them at the next occasion.
    pub(super) fn send_again(&mut self, thread: &mut Thread) -> Result<()> {
        while let Some(info) = thread.held.pop_front() {
            kill(self.leader, thread.tid, info.signal())?;
            thread.sent_again.push(info);
        }
        Ok(())
    }
}
