//! What is known of one traced thread.

use std::rc::Rc;

use fits_stats::protocol::{Crash, Event, ThreadNumber};
use nix::unistd::Pid;

use crate::process::VirtualTsc;
use crate::ptrace::{Memory, Resume, SigInfo, XState};
use crate::step::{BlockTracker, Pending};

/// How far a system call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The `syscall` instruction is about to execute.
    Entering,
    /// The kernel is at it.
    Inside,
    /// The kernel left it for a signal, and will restart it or make it fail with `EINTR`.
    Interrupted,
}

/// A system call under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    pub(super) phase: Phase,
    pub(super) number: u64,
    pub(super) args: [u64; 6],
    /// What had to be read from memory before the call ran: flags of `clone3`, the set of `rt_sigprocmask`.
    pub(super) detail: u64,
}

impl Call {
    pub(super) const ENTERING: Self = Self {
        phase: Phase::Entering,
        number: 0,
        args: [0; 6],
        detail: 0,
    };

    pub(super) fn is(&self, number: i64) -> bool {
        self.number == number.cast_unsigned()
    }
}

/// A traced thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) tid: Pid,
    /// The process (thread group) that it belongs to.
    pub(super) process: Pid,
    pub(super) number: ThreadNumber,
    pub(super) memory: Rc<Memory>,
    /// The instruction that is executing.
    pub(super) pending: Option<Pending>,
    /// It is a system call, and that far.
    pub(super) call: Option<Call>,
    /// It was resumed with a signal that has a handler: the next trap is the handler's entry.
    pub(super) delivering: bool,
    pub(super) block: BlockTracker,
    pub(super) tsc: VirtualTsc,
    /// The program has blocked `SIGTRAP`. In truth it never is: the kernel would take the handler away (see `signals`).
    pub(super) trap_blocked: bool,
    /// One that somebody has sent meanwhile: it waits until the program unblocks it.
    pub(super) trap_waiting: Option<SigInfo>,
    /// What it looked like; it was sent again.
    pub(super) trap_sent_again: Option<SigInfo>,
    /// The program has chosen its CPUs itself.
    pub(super) own_affinity: bool,
    /// Not sent yet.
    pub(super) events: Vec<Event>,
    pub(super) xstate: XState,
    /// The last signal that it was given and had no handler for.
    pub(super) unhandled: Option<Crash>,
    /// Its end has been seen: nothing of it retires any more.
    pub(super) leaving: bool,
}

impl Thread {
    pub(super) fn new(tid: Pid, process: Pid, number: ThreadNumber, memory: Rc<Memory>) -> Self {
        Self {
            tid,
            process,
            number,
            memory,
            pending: None,
            call: None,
            delivering: false,
            block: BlockTracker::default(),
            tsc: VirtualTsc::default(),
            trap_blocked: false,
            trap_waiting: None,
            trap_sent_again: None,
            own_affinity: false,
            events: Vec::new(),
            xstate: XState::zeroed(),
            unhandled: None,
            leaving: false,
        }
    }

    /// How to resume it without losing sight of what it is at: a system call is not stepped.
    pub(super) fn how(&self) -> Resume {
        if self.call.is_some() {
            Resume::Syscall
        } else {
            Resume::Step
        }
    }
}
