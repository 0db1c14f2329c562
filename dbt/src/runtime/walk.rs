//! A walk: one run past many moments of the first thread, shown at each to whoever asked for it.

use std::os::fd::RawFd;

use fits_tracer::engine::{Moment, Visit};
use fits_tracer::live::checkpoint::{Account, Standing};
use fits_tracer::process::VirtualTsc;
use fits_tracer::ptrace::{Registers, Stopped};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};

use super::error::{Result, RuntimeError};
use super::supervisor::Supervisor;
use super::thread::{Call, Thread};

/// A walk under way.
pub(super) struct Walk<'a> {
    /// Indices that are still to come, in falling order.
    moments: Vec<u64>,
    visit: &'a mut Visit<'a>,
    /// The system calls so far.
    account: Account,
    /// The program's standard streams, as we have them.
    streams: [RawFd; 3],
}

impl<'a> Walk<'a> {
    /// `moments` are indices in rising order.
    pub(super) fn new(moments: &[u64], visit: &'a mut Visit<'a>, streams: [RawFd; 3]) -> Self {
        Self {
            moments: moments.iter().rev().copied().collect(),
            visit,
            account: Account::default(),
            streams,
        }
    }

    /// The next moment behind `retired`.
    pub(super) fn next(&mut self, retired: Option<u64>) -> Option<Moment> {
        while self
            .moments
            .pop_if(|index| Some(*index) <= retired)
            .is_some()
        {}
        let index = *self.moments.last()?;
        Some(Moment { thread: 0, index })
    }
}

/// While it lives, the timer that wakes the supervisor interrupts nothing.
struct Quiet(Option<SigSet>);

impl Quiet {
    fn begin() -> Self {
        let alarm = SigSet::from(Signal::SIGALRM);
        // Should it fail, calls may be interrupted, which is an error that is told.
        Self(alarm.thread_swap_mask(SigmaskHow::SIG_BLOCK).ok())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // What could be blocked can be unblocked.
            let _ = before.thread_set_mask();
        }
    }
}

impl Supervisor<'_> {
    /// A thread has come to where the run is to stop. If that is a moment of a walk: shows it, and says whether the run goes on.
    pub(super) fn walks_on(
        &mut self,
        thread: &Thread,
        stopped: &mut Stopped,
        guest: &Registers,
    ) -> Result<bool> {
        let Some(mut walk) = self.walk.take().filter(|_| !self.halting) else {
            return Ok(false);
        };
        let index = thread.budget.retired;
        let goes_on = self.show(&mut walk, thread, stopped, guest)?;
        self.search.stop = walk.next(Some(index));
        let goes_on = goes_on && self.search.stop.is_some();
        self.walk = Some(walk);
        Ok(goes_on)
    }

    /// Leaves out the moments of a walk that the first thread has passed without standing there.
    pub(super) fn miss_moments(&mut self, thread: &Thread) {
        let retired = thread.budget.retired;
        let passed = |stop: &Moment| stop.thread == thread.number && stop.index < retired;
        if let (Some(walk), true) = (
            &mut self.walk,
            self.search.stop.is_some_and(|stop| passed(&stop)),
        ) {
            self.search.stop = walk.next(retired.checked_sub(1));
        }
    }

    fn show(
        &self,
        walk: &mut Walk<'_>,
        thread: &Thread,
        stopped: &mut Stopped,
        guest: &Registers,
    ) -> Result<bool> {
        let hindrance = if self.code.has_protected() {
            Some("it has code that it can write to")
        } else if !thread.held.is_empty() {
            Some("a signal is about to be delivered to it")
        } else {
            None
        };
        let mut standing = Standing {
            stopped,
            syscall: self.cache.syscall_instruction(),
            registers: *guest,
            blocked: thread.blocked,
            tsc: VirtualTsc::at(thread.area.next_tsc()),
            random: self.random.clone(),
            account: &walk.account,
            ours: self.areas.ours(),
            hindrance,
            streams: walk.streams,
        };
        let moment = Moment {
            thread: thread.number,
            index: thread.budget.retired,
        };
        let _quiet = Quiet::begin();
        (walk.visit)(moment, &mut standing).map_err(RuntimeError::Visit)
    }

    /// A system call has returned.
    pub(super) fn account_for(&mut self, call: &Call, result: i64) {
        let Some(walk) = &mut self.walk else {
            return;
        };
        let leader = self.leader;
        let access_of = |fd: u64| {
            let text = std::fs::read_to_string(format!("/proc/{leader}/fdinfo/{fd}")).ok()?;
            let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
            let flags = i32::from_str_radix(flags.trim(), 8).ok()?;
            Some(flags & libc::O_ACCMODE)
        };
        walk.account
            .returned(call.number, call.args, result, access_of);
        walk.account.told(leader, call.number, call.args, result);
    }

    /// The process executes another program.
    pub(super) fn account_for_exec(&mut self) {
        if let Some(walk) = &mut self.walk {
            walk.account.hinder("it executes another program");
        }
    }
}
