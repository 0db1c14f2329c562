//! What is known of one thread of a [`super::Live`].

use fits_stats::protocol::ThreadNumber;
use nix::unistd::Pid;

use super::frames::Exception;
use super::stepping::Pending;
use super::walk::Begun;
use crate::process::VirtualTsc;
use crate::ptrace::{Registers, Resume, SigInfo, Stop, Stopped};

/// Where a thread is.
#[derive(Debug)]
pub(super) enum At {
    /// Running, as far as we know.
    Running,
    /// Stopped between two instructions, or inside a system call that the kernel has left and will go on with.
    Boundary(Stopped),
    /// Stopped for a reason that has not been looked at yet: it will be when the thread is to go on.
    Unseen(Stopped),
}

/// A signal that a thread with a handler for it has been given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Delivery {
    pub(super) signal: i32,
    /// The thread's own instruction has raised it.
    pub(super) faulted: bool,
}

/// A system call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) args: [u64; 6],
    /// The kernel is at it, or has been.
    pub(super) entered: bool,
}

impl Call {
    pub(super) fn from(registers: &Registers, number: u64) -> Self {
        let Registers {
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..
        } = *registers;
        Self {
            number,
            args: [rdi, rsi, rdx, r10, r8, r9],
            entered: false,
        }
    }

    pub(super) fn is(&self, number: i64) -> bool {
        self.number == number.cast_unsigned()
    }
}

/// A thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) tid: Pid,
    pub(super) number: ThreadNumber,
    pub(super) at: At,
    /// The instruction that it executes by itself; none while it runs natively.
    pub(super) pending: Option<Pending>,
    /// That instruction, for whoever walks.
    pub(super) begun: Option<Begun>,
    /// It has faulted.
    pub(super) faulted: bool,
    /// The system call that it is in, if its exit is waited for.
    pub(super) call: Option<Call>,
    /// It was resumed with this signal, which has a handler: the next trap is the handler's entry.
    pub(super) delivering: Option<Delivery>,
    /// Its last exception, none of ours.
    pub(super) exception: Exception,
    /// The handler of this signal has been entered, which is still to be told.
    pub(super) announced: Option<i32>,
    /// The kernel takes the trap flag of our last step for the program's own: see `stepping::forget_step`.
    pub(super) forget: bool,
    pub(super) tsc: VirtualTsc,
    /// What the program believes to have set by `PR_SET_TSC`.
    pub(super) tsc_mode: u32,
    /// Which of the forced signals it has blocked.
    pub(super) blocked: u64,
    /// What signals that we had to send again looked like.
    pub(super) sent_again: Vec<SigInfo>,
    /// The program has chosen its CPUs itself.
    pub(super) own_affinity: bool,
    /// Its end has been announced.
    pub(super) leaving: bool,
}

impl Thread {
    pub(super) fn new(tid: Pid, number: ThreadNumber, at: At) -> Self {
        Self {
            tid,
            number,
            at,
            pending: None,
            begun: None,
            faulted: false,
            call: None,
            delivering: None,
            exception: Exception::default(),
            announced: None,
            forget: false,
            tsc: VirtualTsc::default(),
            tsc_mode: libc::PR_TSC_ENABLE as u32,
            blocked: 0,
            sent_again: Vec::new(),
            own_affinity: false,
            leaving: false,
        }
    }

    /// How to resume it without losing sight of what it is at.
    pub(super) fn how(&self) -> Resume {
        if self.call.is_some() {
            Resume::Syscall
        } else if self.pending.is_some() {
            Resume::Step
        } else {
            Resume::Continue
        }
    }

    /// The handle of a stopped thread, which it is left without: it is to be resumed.
    pub(super) fn take(&mut self) -> Option<Stopped> {
        match std::mem::replace(&mut self.at, At::Running) {
            At::Running => None,
            At::Boundary(stopped) | At::Unseen(stopped) => Some(stopped),
        }
    }

    /// The handle of a stopped thread.
    pub(super) fn stopped(&self) -> Option<&Stopped> {
        match &self.at {
            At::Running => None,
            At::Boundary(stopped) | At::Unseen(stopped) => Some(stopped),
        }
    }

    /// The signal that a stop which has not been looked at is about.
    pub(super) fn own_signal(&self) -> Option<i32> {
        match &self.at {
            At::Unseen(stopped) => match stopped.stop() {
                Stop::Trap => Some(libc::SIGTRAP),
                Stop::Signal(signal) => Some(signal),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.at, At::Running)
    }
}
