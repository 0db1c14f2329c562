//! Signals: their delivery, the entry of their handlers, and `SIGTRAP`'s place in the signal mask.
//!
//! The trap after a single step is a `SIGTRAP` that the kernel *forces*: if the thread blocks that signal at that moment, the kernel
//! takes its handler away. So `SIGTRAP` never really is in the mask of a stepped thread; whether the program has blocked it is kept in
//! [`Thread::trap_blocked`] and put wherever the program can see its mask: the old mask of `rt_sigprocmask`, and signal frames.

use fits_stats::protocol::{Crash, Event};

use super::calls::unblock_trap;
use super::session::Session;
use super::stepping::Retired;
use super::thread::{Phase, Thread};
use crate::backend::BackendError;
use crate::process::{Status, status};
use crate::ptrace::{Registers, Resume, Stopped, kill};

/// `SIGTRAP` in a signal set.
pub(super) const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// Where a signal frame has what, from rsp at the handler's entry: return address, then `struct ucontext`.
mod frame {
    const UCONTEXT: u64 = 8;
    const REGISTERS: u64 = UCONTEXT + 40;
    pub(super) const RAX: u64 = REGISTERS + 104;
    pub(super) const RIP: u64 = REGISTERS + 128;
    pub(super) const MASK: u64 = UCONTEXT + 296;
}

impl Session<'_> {
    /// A signal is about to be delivered; the pending instruction has not executed, or its system call was interrupted.
    pub(super) fn on_signal(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        signal: i32,
    ) -> Result<(), BackendError> {
        thread.delivering = false;
        if signal == libc::SIGTRAP {
            let info = stopped.siginfo()?;
            if thread.trap_blocked && info.code() <= 0 {
                thread.trap_waiting.get_or_insert(info);
                return self.without_signal(thread, stopped);
            }
            if let Some(info) = thread.trap_sent_again.take_if(|_| info.code() <= 0) {
                stopped.set_siginfo(&info)?;
            }
        }
        self.deliver(thread, stopped, signal)
    }

    /// Lets the thread go on as if no signal had come.
    fn without_signal(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        match thread.pending {
            Some(_) => Ok(stopped.resume(thread.how(), 0)?),
            None => {
                let registers = stopped.registers()?;
                self.advance(thread, stopped, registers, None)
            }
        }
    }

    /// The program may have unblocked `SIGTRAP`: then one that waits comes.
    pub(super) fn let_trap_come(&self, thread: &mut Thread) -> Result<(), BackendError> {
        if !thread.trap_blocked
            && let Some(info) = thread.trap_waiting.take()
        {
            kill(thread.process, thread.tid, libc::SIGTRAP)?;
            thread.trap_sent_again = Some(info);
        }
        Ok(())
    }

    /// Lets the thread go on with the signal of this stop. With a handler it is stepped into it; ignored, it is left out, which is the same;
    /// otherwise the thread ends or stops.
    pub(super) fn deliver(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        signal: i32,
    ) -> Result<(), BackendError> {
        let sets = status(thread.tid)?;
        if Status::holds(sets.caught, signal) {
            thread.delivering = true;
            return Ok(stopped.resume(Resume::Step, signal)?);
        }
        if Status::holds(sets.ignored, signal) || is_ignored_by_default(signal) {
            return self.without_signal(thread, stopped);
        }
        let registers = stopped.registers()?;
        let info = stopped.siginfo()?;
        thread.unhandled = Some(Crash {
            signal,
            code: info.code(),
            address: if is_fault(signal) && info.code() > 0 {
                info.address()
            } else {
                0
            },
            pc: registers.rip,
            thread: thread.number,
        });
        Ok(stopped.resume(thread.how(), signal)?)
    }

    /// The thread is at the first instruction of a handler; nothing of it has executed.
    pub(super) fn on_handler(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        registers: &Registers,
    ) -> Result<(), BackendError> {
        let memory = std::rc::Rc::clone(&thread.memory);
        let pending = thread.pending.take();
        if let (Some(call), Some(pending)) = (thread.call.take(), pending)
            && call.phase == Phase::Interrupted
            && memory.read_u64(registers.rsp + frame::RIP)? != pending.decoded().pc
        {
            // It will not be restarted: it has returned, with EINTR.
            let result = memory.read_u64(registers.rsp + frame::RAX)?.cast_signed();
            let retired = Retired {
                pending,
                call: Some((call.number, result)),
            };
            self.report(thread, stopped, registers, Some(retired))?;
        }
        if let Some(block) = thread.block.interrupted() {
            self.emit(thread, Event::Block(block))?;
        }
        if thread.trap_blocked {
            let place = registers.rsp + frame::MASK;
            let mask = memory.read_u64(place)? | TRAP_BIT;
            memory.write(place, &mask.to_le_bytes())?;
        }
        thread.trap_blocked |= unblock_trap(stopped)?;
        Ok(())
    }
}

/// Whether an instruction of the program's own can cause it.
fn is_fault(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
    )
}

fn is_ignored_by_default(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH
    )
}
