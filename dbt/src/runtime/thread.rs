//! What the supervisor knows about a thread of the target.

use std::collections::VecDeque;
use std::ops::Range;

use fits_stats::protocol::ThreadNumber;
use fits_stats::ring::Cursor;
use fits_stats::template::Prefix;
use fits_tracer::ptrace::{Resume, SigInfo};
use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use super::area::Area;
use super::budget::Budget;
use super::masks::changes_mask;

/// A traced thread.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) tid: Pid,
    pub(super) number: ThreadNumber,
    pub(super) area: Area,
    pub(super) doing: Doing,
    /// Outside translated code: the basic block so far.
    pub(super) prefix: Option<Prefix>,
    /// Level `full`, outside translated code: where the next row goes.
    pub(super) cursor: Option<Cursor>,
    /// The guest's own gs base.
    pub(super) gs_base: u64,
    /// The fs base that was reported last.
    pub(super) fs_base: u64,
    /// Signals that were taken from the kernel, to be delivered at the next boundary.
    pub(super) held: VecDeque<SigInfo>,
    /// Which of the forced signals the program has blocked; see `masks`.
    pub(super) blocked: u64,
    /// Such signals that somebody has sent meanwhile: they wait until the program unblocks them.
    pub(super) waiting: Vec<SigInfo>,
    /// It has chosen its processors itself.
    pub(super) own_affinity: bool,
    /// The alternate signal stack.
    pub(super) alternate: Range<u64>,
    /// Mode `budget`: what it has retired, and may.
    pub(super) budget: Budget,
    /// How often it has executed marked instructions outside translated code, or in units that it did not come to the end of.
    pub(super) stepped: FxHashMap<u64, u64>,
    /// What signals that we had to send again looked like.
    pub(super) sent_again: Vec<SigInfo>,
}

/// What a running thread is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// It runs translated code.
    Translated,
    /// It executes the guest's own `syscall` instruction.
    Call(Call),
    /// It is in the guest's own state, between two instructions.
    Native,
    /// It is about to end: nothing of it is reported any more.
    Ending,
}

/// A system call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    /// Guest address of its instruction.
    pub(super) pc: u64,
    /// Its number.
    pub(super) number: u64,
    /// Its arguments.
    pub(super) args: [u64; 6],
    /// The mask that it names, if it is `rt_sigprocmask`.
    pub(super) mask: u64,
    /// It was made anew after its memory had been unprotected.
    pub(super) again: bool,
}

impl Thread {
    pub(super) fn new(tid: Pid, number: ThreadNumber, area: Area) -> Self {
        Self {
            tid,
            number,
            area,
            doing: Doing::Translated,
            prefix: None,
            cursor: None,
            gs_base: 0,
            fs_base: 0,
            held: VecDeque::new(),
            blocked: 0,
            waiting: Vec::new(),
            own_affinity: false,
            alternate: 0..0,
            budget: Budget::default(),
            stepped: FxHashMap::default(),
            sent_again: Vec::new(),
        }
    }
}

impl Call {
    /// How the thread is to be resumed while the call is under way.
    pub(super) fn how(&self) -> Resume {
        if changes_mask(self.number) {
            Resume::Syscall
        } else {
            Resume::Step
        }
    }
}
