//! The place of `SIGTRAP` and `SIGSEGV` in the signal mask.
//!
//! Traps and single steps raise a `SIGTRAP` that the kernel *forces*, the end of a chunk and a store to protected code a
//! `SIGSEGV`: if the thread blocks that signal at that moment, the kernel takes its handler away. So neither ever really is in the
//! mask of a thread of ours; whether the program has blocked them is kept in [`Thread::blocked`] and put wherever the program can see its mask: the old mask of `rt_sigprocmask`, and signal frames.

//!
//! The kernel, which does not know that, delivers such a signal at once when somebody sends it: then it waits in [`Thread::waiting`] until the program
//! unblocks it. (`sigpending` shows it; `sigtimedwait` and `signalfd` do not find it.)

use fits_tracer::ptrace::{Registers, SigInfo, Stopped};

use super::error::Result;
use super::supervisor::Supervisor;
use super::thread::{Call, Thread};

/// `SIGSEGV` in a signal set.
pub(super) const SEGV_BIT: u64 = 1 << (libc::SIGSEGV - 1);

/// The signals that the kernel forces for our sake, as a signal set.
pub(super) const FORCED: u64 = 1 << (libc::SIGTRAP - 1) | SEGV_BIT;

/// Offset of `uc_sigmask` from rsp at a handler's entry: behind the return address and the registers.
const FRAME_MASK: u64 = 8 + 296;

/// A signal as a set.
fn bit(signal: i32) -> u64 {
    1_u64.checked_shl((signal - 1).cast_unsigned()).unwrap_or(0)
}

impl Thread {
    fn waits_for(&self, signal: i32) -> bool {
        self.waiting.iter().any(|info| info.signal() == signal)
    }
}

/// Whether a system call sets a mask that may still be in force when it returns: then no step may be taken over it.
pub(super) fn changes_mask(number: u64) -> bool {
    const IO_PGETEVENTS: i64 = 333;
    const EPOLL_PWAIT2: i64 = 441;
    matches!(
        number as i64,
        libc::SYS_rt_sigprocmask
            | libc::SYS_rt_sigreturn
            | libc::SYS_rt_sigsuspend
            | libc::SYS_ppoll
            | libc::SYS_pselect6
            | libc::SYS_epoll_pwait
            | IO_PGETEVENTS
            | EPOLL_PWAIT2
    )
}

/// Takes the forced signals out of the signal mask; which of them were in it.
pub(super) fn unblock_forced(stopped: &Stopped) -> Result<u64> {
    let mask = stopped.signal_mask()?;
    let blocked = mask & FORCED;
    if blocked != 0 {
        stopped.set_signal_mask(mask & !FORCED)?;
    }
    Ok(blocked)
}

impl Supervisor<'_> {
    /// Whether a signal was sent that the program has blocked: then it is kept back.
    pub(super) fn keep_back(&self, thread: &mut Thread, info: &SigInfo) -> bool {
        let blocked = thread.blocked & bit(info.signal()) != 0 && info.code() <= 0;
        // The kernel, too, keeps one of a kind.
        if blocked && !thread.waits_for(info.signal()) {
            thread.waiting.push(*info);
        }
        blocked
    }

    /// What the program has unblocked comes at the next occasion.
    fn let_come(thread: &mut Thread) {
        let blocked = thread.blocked;
        let come = thread
            .waiting
            .extract_if(.., |info| blocked & bit(info.signal()) == 0);
        thread.held.extend(come);
    }

    /// What `rt_sigprocmask` is about to do; for [`Supervisor::after_mask`].
    pub(super) fn named_mask(&self, call: &Call) -> u64 {
        let is_mask = call.number as i64 == libc::SYS_rt_sigprocmask && call.args[1] != 0;
        let read = |place| self.code.memory.read_u64(place).unwrap_or_default();
        if is_mask { read(call.args[1]) } else { 0 }
    }

    /// A call that changes the mask has returned.
    pub(super) fn after_mask(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        call: &Call,
        result: i64,
    ) -> Result<()> {
        match call.number as i64 {
            libc::SYS_rt_sigreturn => thread.blocked = unblock_forced(stopped)?,
            libc::SYS_rt_sigprocmask if result == 0 => {
                let before = thread.blocked;
                let [how, set, old, ..] = call.args;
                if set != 0 {
                    unblock_forced(stopped)?;
                    let named = call.mask & FORCED;
                    thread.blocked = match how as i32 {
                        libc::SIG_BLOCK => before | named,
                        libc::SIG_UNBLOCK => before & !named,
                        _ => named,
                    };
                }
                if old != 0 && before != 0 {
                    self.add_to_mask(old, before)?;
                }
            }
            libc::SYS_rt_sigpending if result == 0 && !thread.waiting.is_empty() => {
                let waiting = thread.waiting.iter().map(|info| bit(info.signal()));
                self.add_to_mask(call.args[0], waiting.fold(0, |set, one| set | one))?;
            }
            _ => {}
        }
        Self::let_come(thread);
        Ok(())
    }

    /// The thread is at a handler's first instruction.
    pub(super) fn handler_mask(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        handler: &Registers,
    ) -> Result<()> {
        if thread.blocked != 0 {
            self.add_to_mask(handler.rsp.wrapping_add(FRAME_MASK), thread.blocked)?;
        }
        thread.blocked |= unblock_forced(stopped)?;
        Ok(())
    }

    fn add_to_mask(&self, place: u64, signals: u64) -> Result<()> {
        let mask = self.code.memory.read_u64(place)? | signals;
        Ok(self.code.memory.write(place, &mask.to_le_bytes())?)
    }
}
