//! Running natively to an instruction, to an access, to the birth of a thread.
//!
//! An *arrival* is counted when the thread is about to begin the instruction: an attempt that faults counts, and so does the next one behind its
//! handler; one that a signal comes before does not; a system call that is made anew after a handler counts again.

use fits_stats::protocol::ThreadNumber;

use super::Live;
use super::breakpoints::Hit;
use super::events::{Happened, is_fault};
use super::family::Births;
use super::state::{RESUME_FLAG, is_interrupted};
use super::thread::{Delivery, Thread};
use crate::backend::BackendError;
use crate::engine::Limits;
use crate::process::{Status, status};
use crate::ptrace::Stopped;

/// What came of running to an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// A watched place was accessed, by an instruction that has retired; or a watched instruction is about to begin.
    Hit {
        /// Index of the first of the watches that were hit.
        which: usize,
        /// The thread.
        thread: ThreadNumber,
        /// Address of the instruction that comes next, which is a watched one itself.
        after: u64,
    },
    /// The process has ended.
    Ended,
}

impl Live {
    /// Lets all threads run natively until the focused one is about to begin the instruction at `address` for the `count`-th time from here on;
    /// standing there already is the first time. False: it has ended before, or a limit was used up; limits count from here on.
    ///
    /// Every arrival costs as much as stepping one instruction would.
    ///
    /// # Errors
    /// See [`BackendError`]. An address at which no instruction can be is refused.
    pub fn arrive(
        &mut self,
        address: u64,
        count: u64,
        limits: &Limits,
    ) -> Result<bool, BackendError> {
        if self.over.is_some() || self.focus_tid().is_err() {
            return Ok(false);
        }
        self.forget_resume_flag()?;
        self.set_code_breakpoint(Some(address))?;
        let result = self.run_to_arrival(count, limits);
        if self.over.is_none() {
            self.stop_all()?;
            self.set_code_breakpoint(None)?;
            if let Ok(true) = result {
                self.forget_resume_flag()?;
            }
        }
        self.breakpoints.code = None;
        result
    }

    fn run_to_arrival(&mut self, count: u64, limits: &Limits) -> Result<bool, BackendError> {
        let mut watch = self.watch_limits(limits)?;
        self.arrivals = 0;
        self.resume_all(None)?;
        loop {
            match self.turn(true)? {
                Some(Happened::Hit(tid, hit)) if hit.code => {
                    self.arrivals += 1;
                    if self.arrivals >= count {
                        return Ok(true);
                    }
                    self.resume(tid)?;
                }
                Some(Happened::Hit(tid, _)) => self.resume(tid)?,
                _ => {}
            }
            self.check(&mut watch)?;
            if self.over.is_some() || self.focus_tid().is_err() {
                return Ok(false);
            }
        }
    }

    /// The resume flag would keep the thread from seeing a breakpoint where it stands.
    fn forget_resume_flag(&mut self) -> Result<(), BackendError> {
        let Some(stopped) = self.focused()?.stopped() else {
            return Ok(());
        };
        let mut registers = stopped.registers()?;
        if registers.eflags & RESUME_FLAG != 0 {
            registers.eflags &= !RESUME_FLAG;
            stopped.set_registers(&registers)?;
        }
        Ok(())
    }

    /// A natively running thread is about to be given a signal: an arrival that it keeps from being one is taken back. If it has a handler
    /// whose frame is to be looked at: how the signal came.
    pub(super) fn arrival_delivery(
        &mut self,
        thread: &Thread,
        stopped: &Stopped,
        signal: i32,
    ) -> Result<Option<Delivery>, BackendError> {
        let Some((tid, address)) = self.breakpoints.code else {
            return Ok(None);
        };
        if tid != thread.tid {
            return Ok(None);
        }
        let mut registers = stopped.registers()?;
        let faulted = is_fault(signal) && stopped.siginfo()?.code() > 0;
        let at_it = registers.rip == address && registers.eflags & RESUME_FLAG != 0;
        if at_it && !faulted {
            registers.eflags &= !RESUME_FLAG;
            stopped.set_registers(&registers)?;
            self.arrivals -= 1;
        }
        let caught = Status::holds(status(thread.tid)?.caught, signal);
        let goes_on = is_interrupted(&registers) && registers.rip.wrapping_sub(2) == address;
        if goes_on && !caught {
            // Nothing will come of the signal but that the call is made anew.
            self.arrivals = self.arrivals.saturating_sub(1);
        }
        Ok(caught.then_some(Delivery { signal, faulted }))
    }

    /// After `rt_sigreturn`: the frame's resume flag would hide the breakpoint.
    pub(super) fn see_breakpoint(
        &self,
        thread: &Thread,
        stopped: &Stopped,
    ) -> Result<(), BackendError> {
        let waits = self
            .breakpoints
            .code
            .is_some_and(|(tid, _)| tid == thread.tid);
        let mut registers = stopped.registers()?;
        if waits && registers.eflags & RESUME_FLAG != 0 {
            registers.eflags &= !RESUME_FLAG;
            stopped.set_registers(&registers)?;
        }
        Ok(())
    }

    /// Lets all threads run natively until one has accessed a place that is watched, or stands at a watched instruction ([`Live::watch`]); limits count from here on. All threads are
    /// stopped afterwards. A load of a place of which only stores are watched is not told; a store to one of which only loads are watched is: the
    /// processor can't tell.
    ///
    /// # Errors
    /// See [`BackendError`].
    pub fn run_to_watch(&mut self, limits: &Limits) -> Result<Watched, BackendError> {
        let mut watch = self.watch_limits(limits)?;
        if self.over.is_some() {
            return Ok(Watched::Ended);
        }
        self.resume_all(None)?;
        loop {
            if let Some(Happened::Hit(tid, Hit { data, .. })) = self.turn(true)?
                && data != 0
            {
                self.stop_all()?;
                let Some(thread) = self.threads.get(&tid) else {
                    continue;
                };
                let Some(stopped) = thread.stopped() else {
                    continue;
                };
                return Ok(Watched::Hit {
                    which: data.trailing_zeros() as usize,
                    thread: thread.number,
                    after: stopped.registers()?.rip,
                });
            }
            self.check(&mut watch)?;
            if self.over.is_some() {
                return Ok(Watched::Ended);
            }
        }
    }

    /// Lets all threads run natively until the one with this number exists, which is then in focus, before its first instruction. False: the
    /// process has ended before, or a limit was used up; limits count from here on.
    ///
    /// # Errors
    /// See [`BackendError`], and when that thread has been and gone.
    pub fn run_to_birth(
        &mut self,
        thread: ThreadNumber,
        limits: &Limits,
    ) -> Result<bool, BackendError> {
        if self.threads().contains(&thread) {
            self.set_focus(thread)?;
            return Ok(true);
        }
        if thread < self.next_number {
            self.set_focus(thread)?;
        }
        let mut watch = self.watch_limits(limits)?;
        self.births = Births::Await(thread);
        self.resume_all(None)?;
        let born = loop {
            if let Some(Happened::Born(_, number)) = self.turn(true)?
                && number == thread
            {
                break true;
            }
            self.check(&mut watch)?;
            if self.over.is_some() {
                break false;
            }
        };
        self.births = Births::Run;
        if born {
            self.stop_all()?;
            self.set_focus(thread)?;
        }
        Ok(born)
    }
}
