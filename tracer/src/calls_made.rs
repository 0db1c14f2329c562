//! The system calls of a run, one after the other: what two runs are compared by when it matters where they part first.

use std::sync::{Mutex, PoisonError};

use fits_stats::protocol::ThreadNumber;

/// A system call that is over, or will never be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallMade {
    /// The thread.
    pub thread: ThreadNumber,
    /// Address of its `syscall` instruction.
    pub pc: u64,
    /// Its number.
    pub number: u64,
    /// What it returned: an error as the kernel gives it; 0 if it does not return.
    pub result: i64,
}

impl CallMade {
    /// Whether it failed.
    #[must_use]
    pub fn is_error(&self) -> bool {
        (-4095..0).contains(&self.result)
    }
}

/// System calls in the order in which they ended.
#[derive(Debug, Default)]
pub struct CallsMade(Mutex<Vec<CallMade>>);

impl CallsMade {
    /// One more.
    pub fn add(&self, call: CallMade) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(call);
    }

    /// All so far.
    #[must_use]
    pub fn take(&self) -> Vec<CallMade> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
