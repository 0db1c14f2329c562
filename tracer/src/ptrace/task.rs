//! A stopped thread, and how to get one.
//!
//! Every request is a method of [`Stopped`]; resuming eats it, so nothing can be asked of a running thread.

use std::marker::PhantomData;

use nix::errno::Errno;
use nix::unistd::Pid;

use super::stop::{RawStop, Stop, Waited, decode};
use super::sys::{self, Options, Registers, SigInfo, SyscallStop};
use super::xstate::XState;
use crate::error::{Error, Result};

/// How a stopped thread goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resume {
    /// Until the next signal or event.
    Continue,
    /// For one instruction.
    Step,
    /// Until the next system-call entry or exit, signal or event.
    Syscall,
    /// Stay in a group stop, but report what ends it.
    Listen,
    /// Let go of the thread.
    Detach,
}

impl Resume {
    fn request(self) -> (u32, &'static str) {
        match self {
            Self::Continue => (libc::PTRACE_CONT, "PTRACE_CONT"),
            Self::Step => (libc::PTRACE_SINGLESTEP, "PTRACE_SINGLESTEP"),
            Self::Syscall => (libc::PTRACE_SYSCALL, "PTRACE_SYSCALL"),
            Self::Listen => (libc::PTRACE_LISTEN, "PTRACE_LISTEN"),
            Self::Detach => (libc::PTRACE_DETACH, "PTRACE_DETACH"),
        }
    }
}

/// A traced thread that is stopped. Only the operating-system thread that seized it may use it, hence not `Send`.
#[derive(Debug)]
#[must_use = "a stopped thread stays stopped until it is resumed"]
pub struct Stopped {
    tid: Pid,
    stop: Stop,
    not_send: PhantomData<*const ()>,
}

impl Stopped {
    fn new(tid: Pid, stop: Stop) -> Self {
        Self {
            tid,
            stop,
            not_send: PhantomData,
        }
    }

    /// The thread.
    #[must_use]
    pub fn tid(&self) -> Pid {
        self.tid
    }

    /// Why it is stopped.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop
    }

    pub(super) fn set_stop(&mut self, stop: Stop) {
        self.stop = stop;
    }

    /// A second handle, for resuming inside a method that has only borrowed the first one and then waits for the thread.
    pub(super) fn reborrow(&mut self) -> Self {
        Self::new(self.tid, self.stop)
    }

    fn check<T>(&self, operation: &'static str, result: Result<T, Errno>) -> Result<T> {
        result.map_err(|errno| Error::Ptrace {
            operation,
            tid: self.tid,
            errno,
        })
    }

    /// Lets the thread go on, with a signal (0: none) if this is a signal stop.
    ///
    /// # Errors
    /// [`Error::is_gone`] when it was killed meanwhile.
    pub fn resume(self, how: Resume, signal: i32) -> Result<()> {
        let (request, name) = how.request();
        self.check(name, sys::resume(request, self.tid, signal))
    }

    /// Takes the signal of this delivery stop from the kernel: it is not delivered unless the thread is resumed with it, and system
    /// calls can be injected.
    pub fn swallow(&mut self) {
        if matches!(self.stop, Stop::Signal(_)) {
            self.stop = Stop::Trap;
        }
    }

    /// Executes one instruction and waits for whatever comes of it.
    ///
    /// # Errors
    /// [`Error::is_gone`] when the thread was killed meanwhile.
    pub fn step(self, signal: i32) -> Result<Waited> {
        let tid = self.tid;
        self.resume(Resume::Step, signal)?;
        wait_for(tid)
    }

    /// Changes what is reported.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_options(&self, options: Options) -> Result<()> {
        self.check("PTRACE_SETOPTIONS", sys::set_options(self.tid, options))
    }

    /// General registers, `rip`, flags, segment bases.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn registers(&self) -> Result<Registers> {
        self.check("PTRACE_GETREGS", sys::get_registers(self.tid))
    }

    /// Sets all of [`Stopped::registers`].
    ///
    /// # Errors
    /// The kernel's refusal (a non-canonical `rip` or segment base, for example).
    pub fn set_registers(&self, registers: &Registers) -> Result<()> {
        self.check("PTRACE_SETREGS", sys::set_registers(self.tid, registers))
    }

    /// One word of `struct user` at `offset` (`offset_of!(libc::user, …)`).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn user_word(&self, offset: usize) -> Result<u64> {
        self.check("PTRACE_PEEKUSER", sys::peek_user(self.tid, offset))
    }

    /// Sets one word of `struct user`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_user_word(&self, offset: usize, word: u64) -> Result<()> {
        self.check("PTRACE_POKEUSER", sys::poke_user(self.tid, offset, word))
    }

    /// x87, vector and mask registers.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn xstate(&self) -> Result<XState> {
        let mut state = XState::zeroed();
        self.read_xstate(&mut state)?;
        Ok(state)
    }

    /// [`Stopped::xstate`] into an existing value.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn read_xstate(&self, state: &mut XState) -> Result<()> {
        let result = sys::get_register_set(self.tid, NT_X86_XSTATE, state.bytes_mut());
        let length = self.check("PTRACE_GETREGSET", result)?;
        state.truncate(length);
        Ok(())
    }

    /// Sets x87, vector and mask registers.
    ///
    /// # Errors
    /// The kernel's refusal (reserved bits of `mxcsr`, for example).
    pub fn set_xstate(&self, state: &XState) -> Result<()> {
        let result = sys::set_register_set(self.tid, NT_X86_XSTATE, state.bytes());
        self.check("PTRACE_SETREGSET", result)
    }

    /// What is known about the signal of this stop.
    ///
    /// # Errors
    /// The kernel's refusal (`EINVAL` at a group stop).
    pub fn siginfo(&self) -> Result<SigInfo> {
        self.check("PTRACE_GETSIGINFO", sys::get_siginfo(self.tid))
    }

    /// Replaces the information that the handler will be given.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_siginfo(&self, info: &SigInfo) -> Result<()> {
        self.check("PTRACE_SETSIGINFO", sys::set_siginfo(self.tid, info))
    }

    /// New thread id (`Fork`, `Vfork`, `Clone`), former thread id (`Exec`), wait status (`Exit`).
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn event_message(&self) -> Result<u64> {
        self.check("PTRACE_GETEVENTMSG", sys::event_message(self.tid))
    }

    /// The blocked signals, bit 0 is signal 1.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn signal_mask(&self) -> Result<u64> {
        self.check("PTRACE_GETSIGMASK", sys::get_signal_mask(self.tid))
    }

    /// Sets the blocked signals.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn set_signal_mask(&self, mask: u64) -> Result<()> {
        self.check("PTRACE_SETSIGMASK", sys::set_signal_mask(self.tid, mask))
    }

    /// What a system-call stop is about.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn syscall_stop(&self) -> Result<SyscallStop> {
        self.check("PTRACE_GET_SYSCALL_INFO", sys::syscall_stop(self.tid))
    }
}

const NT_X86_XSTATE: i32 = 0x202;

/// Starts tracing a process without stopping it.
///
/// # Errors
/// `EPERM` when tracing is forbidden.
pub fn seize(tid: Pid, options: Options) -> Result<()> {
    sys::seize(tid, options).map_err(|errno| Error::Ptrace {
        operation: "PTRACE_SEIZE",
        tid,
        errno,
    })
}

/// Makes a running traced thread stop with [`Stop::Interrupted`] (or with what else comes first).
///
/// # Errors
/// [`Error::is_gone`] when it has ended.
pub fn interrupt(tid: Pid) -> Result<()> {
    sys::interrupt(tid).map_err(|errno| Error::Ptrace {
        operation: "PTRACE_INTERRUPT",
        tid,
        errno,
    })
}

/// Sends a signal to one thread of a process (`tgkill`).
///
/// # Errors
/// `ESRCH` when it has ended.
pub fn kill(tgid: Pid, tid: Pid, signal: i32) -> Result<()> {
    sys::send_signal(tgid, tid, signal).map_err(|errno| Error::Ptrace {
        operation: "tgkill",
        tid,
        errno,
    })
}

/// Waits for this thread. Returns at once if it has stopped or ended already.
///
/// # Errors
/// [`Error::is_gone`] when it is not ours (any more).
pub fn wait_for(tid: Pid) -> Result<Waited> {
    loop {
        match sys::wait(tid.as_raw(), 0) {
            Ok(Some((tid, status))) => return classify(tid, status),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Err(Error::Gone { tid }),
            Err(errno) => {
                return Err(Error::Ptrace {
                    operation: "wait4",
                    tid,
                    errno,
                });
            }
        }
    }
}

/// Waits for any child or traced thread of the calling operating-system thread. `None`: interrupted by a signal to ourselves, or no child is left
/// ([`Error::Gone`] is not an error here: the caller knows what it is waiting for).
///
/// # Errors
/// An unexpected answer of the kernel.
pub fn wait_any() -> Result<Option<Waited>> {
    any(0)
}

/// [`wait_any`] that does not wait.
///
/// # Errors
/// An unexpected answer of the kernel.
pub fn try_wait_any() -> Result<Option<Waited>> {
    any(libc::WNOHANG)
}

/// What came of waiting for anybody.
#[derive(Debug)]
pub enum Anybody {
    /// This.
    Waited(Waited),
    /// A signal to ourselves, or nothing yet where waiting was not asked for.
    Nothing,
    /// There is no child or traced thread of the calling operating-system thread.
    Nobody,
}

/// Waits for any child or traced thread of the calling operating-system thread, or only looks (`block` false).
///
/// # Errors
/// An unexpected answer of the kernel.
pub fn wait_anybody(block: bool) -> Result<Anybody> {
    let flags = if block { 0 } else { libc::WNOHANG };
    match sys::wait(-1, flags | libc::__WNOTHREAD) {
        Ok(Some((tid, status))) => classify(tid, status).map(Anybody::Waited),
        Ok(None) | Err(Errno::EINTR) => Ok(Anybody::Nothing),
        Err(Errno::ECHILD) => Ok(Anybody::Nobody),
        Err(errno) => Err(Error::Ptrace {
            operation: "wait4",
            tid: Pid::from_raw(-1),
            errno,
        }),
    }
}

fn any(flags: i32) -> Result<Option<Waited>> {
    match sys::wait(-1, flags | libc::__WNOTHREAD) {
        Ok(Some((tid, status))) => classify(tid, status).map(Some),
        Ok(None) | Err(Errno::EINTR | Errno::ECHILD) => Ok(None),
        Err(errno) => Err(Error::Ptrace {
            operation: "wait4",
            tid: Pid::from_raw(-1),
            errno,
        }),
    }
}

fn classify(tid: Pid, status: i32) -> Result<Waited> {
    if libc::WIFEXITED(status) {
        return Ok(Waited::Exited {
            tid,
            code: libc::WEXITSTATUS(status),
        });
    }
    if libc::WIFSIGNALED(status) {
        let core = libc::WCOREDUMP(status);
        return Ok(Waited::Signaled {
            tid,
            signal: libc::WTERMSIG(status),
            core,
        });
    }
    let mut stopped = Stopped::new(tid, Stop::SyscallEntry);
    stopped.stop = match decode(status) {
        RawStop::Known(stop) => stop,
        RawStop::Syscall => match stopped.syscall_stop() {
            Ok(SyscallStop::Exit { .. }) => Stop::SyscallExit,
            Ok(_) => Stop::SyscallEntry,
            Err(error) if error.is_gone() => Stop::SyscallExit,
            Err(error) => return Err(error),
        },
    };
    Ok(Waited::Stopped(stopped))
}
