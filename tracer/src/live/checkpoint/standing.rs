//! A process that stands at a moment.

use std::ops::Range;
use std::os::fd::RawFd;

use super::account::Account;
use super::capture::{self, Checkpoint, Refused};
use crate::error::Result;
use crate::process::{VirtualRandom, VirtualTsc};
use crate::ptrace::{Registers, Stopped};

/// A process that stands between two instructions, as whoever has brought it there shows it. It has one thread, or [`Standing::account`] says
/// that it has made others.
#[derive(Debug)]
pub struct Standing<'a> {
    /// Its thread; registers and memory are as they were afterwards.
    pub stopped: &'a mut Stopped,
    /// A `syscall` instruction that is not the program's.
    pub syscall: Option<u64>,
    /// Its registers as the program has them.
    pub registers: Registers,
    /// Signals that the program has blocked and the kernel does not know to be.
    pub blocked: u64,
    /// What `rdtsc` reads next.
    pub tsc: VirtualTsc,
    /// The stream that `getrandom` reads, as far as it has been read.
    pub random: VirtualRandom,
    /// What it has done so far.
    pub account: &'a Account,
    /// Memory that is not the program's.
    pub ours: &'a [Range<u64>],
    /// Why it can't be taken along just now, if so.
    pub hindrance: Option<&'static str>,
    /// The standard streams that it was started with, as the caller has them open.
    pub streams: [RawFd; 3],
}

impl Standing<'_> {
    /// Its state, or why it can't be taken along.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn capture(&mut self) -> Result<std::result::Result<Checkpoint, Refused>> {
        capture::capture(self)
    }

    pub(super) fn call(&mut self, number: i64, args: [u64; 6]) -> Result<i64> {
        match self.syscall {
            Some(place) => self.stopped.remote_syscall_at(place, number, args),
            None => self.stopped.remote_syscall(number, args),
        }
    }
}
