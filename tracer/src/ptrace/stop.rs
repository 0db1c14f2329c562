//! Wait statuses, decoded.

use nix::unistd::Pid;

use super::task::Stopped;

/// Why a traced thread is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// A `SIGTRAP`: a single step, a breakpoint, or sent by someone; [`Stopped::siginfo`] tells which.
    Trap,
    /// A signal is about to be delivered; it is delivered when the thread is resumed with it.
    Signal(i32),
    /// A system call is about to run (only after [`super::Resume::Syscall`]).
    SyscallEntry,
    /// A system call has run.
    SyscallExit,
    /// One of the events asked for by [`super::Options`].
    Event(Event),
    /// The process was stopped by this signal: resume with [`super::Resume::Listen`] so that it stays stopped.
    GroupStop(i32),
    /// After [`super::interrupt`], or the first stop of a new thread.
    Interrupted,
}

/// An event stop. The message (new thread id, former thread id, exit status) is in [`Stopped::event_message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// `fork` made a child.
    Fork,
    /// `vfork` (or `clone` with `CLONE_VFORK`) made a child.
    Vfork,
    /// `clone` made a thread or a child.
    Clone,
    /// A new program was loaded.
    Exec,
    /// The child of a `vfork` has released the parent.
    VforkDone,
    /// The thread is about to end.
    Exit,
    /// A system call is about to run that a seccomp filter asks the tracer about.
    Seccomp,
}

/// What a wait reported.
#[derive(Debug)]
pub enum Waited {
    /// A thread stopped.
    Stopped(Stopped),
    /// A thread or child ended by itself.
    Exited {
        /// Which one.
        tid: Pid,
        /// Its exit status, 0 to 255.
        code: i32,
    },
    /// A thread or child was ended by a signal.
    Signaled {
        /// Which one.
        tid: Pid,
        /// The signal.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

impl Waited {
    /// The thread this is about.
    #[must_use]
    pub fn tid(&self) -> Pid {
        match self {
            Self::Stopped(stopped) => stopped.tid(),
            Self::Exited { tid, .. } | Self::Signaled { tid, .. } => *tid,
        }
    }
}

/// A status before it is known whether a system-call stop is an entry or an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawStop {
    Known(Stop),
    Syscall,
}

/// Decodes the status of a stopped thread (`WIFSTOPPED`).
pub(super) fn decode(status: i32) -> RawStop {
    let signal = (status >> 8) & 0xff;
    let event = match status >> 16 {
        0 if signal == libc::SIGTRAP | 0x80 => return RawStop::Syscall,
        0 if signal == libc::SIGTRAP => return RawStop::Known(Stop::Trap),
        libc::PTRACE_EVENT_FORK => Event::Fork,
        libc::PTRACE_EVENT_VFORK => Event::Vfork,
        libc::PTRACE_EVENT_CLONE => Event::Clone,
        libc::PTRACE_EVENT_EXEC => Event::Exec,
        libc::PTRACE_EVENT_VFORK_DONE => Event::VforkDone,
        libc::PTRACE_EVENT_EXIT => Event::Exit,
        libc::PTRACE_EVENT_SECCOMP => Event::Seccomp,
        libc::PTRACE_EVENT_STOP if signal == libc::SIGTRAP => {
            return RawStop::Known(Stop::Interrupted);
        }
        libc::PTRACE_EVENT_STOP => return RawStop::Known(Stop::GroupStop(signal)),
        _ => return RawStop::Known(Stop::Signal(signal)),
    };
    RawStop::Known(Stop::Event(event))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_apart() {
        let stopped = |signal: i32, event: i32| decode(0x7f | signal << 8 | event << 16);
        assert_eq!(stopped(libc::SIGTRAP, 0), RawStop::Known(Stop::Trap));
        assert_eq!(stopped(libc::SIGTRAP | 0x80, 0), RawStop::Syscall);
        assert_eq!(
            stopped(libc::SIGUSR1, 0),
            RawStop::Known(Stop::Signal(libc::SIGUSR1))
        );
        assert_eq!(stopped(64, 0), RawStop::Known(Stop::Signal(64)));
        assert_eq!(
            stopped(libc::SIGTRAP, 4),
            RawStop::Known(Stop::Event(Event::Exec))
        );
        assert_eq!(
            stopped(libc::SIGTRAP, 128),
            RawStop::Known(Stop::Interrupted)
        );
        assert_eq!(
            stopped(libc::SIGTSTP, 128),
            RawStop::Known(Stop::GroupStop(libc::SIGTSTP))
        );
    }
}
