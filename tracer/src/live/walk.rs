//! Stepping through a program: all threads at once from the start, or the focused one while the others run.

use std::rc::Rc;

use fits_stats::protocol::ThreadNumber;
use nix::unistd::Pid;

use super::events::Happened;
use super::family::Births;
use super::{Live, Stepped};
use crate::backend::BackendError;
use crate::engine::{Access, Limits};
use crate::process::{Status, status};
use crate::ptrace::Registers;
use crate::step::{Decoded, Kind, run_down, touches};

/// An instruction that a thread has begun.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) registers: Registers,
    /// None where there is nothing that could be fetched.
    pub(super) decoded: Option<Rc<Decoded>>,
}

/// What became of an instruction that a thread has begun.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) thread: ThreadNumber,
    pub(super) begun: &'a Begun,
    /// Where the thread is now; none when it is no more.
    pub(super) after: Option<Registers>,
    /// It has not faulted.
    pub(super) retired: bool,
}

/// Where the focused thread is to be brought ([`Live::steps_to`]); it stands before the instruction concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// So many instructions on.
    Steps(u64),
    /// At this address, for the so-manieth time from here on; standing there already is the first time.
    Arrival {
        /// The address.
        address: u64,
        /// Which time, from 1.
        count: u64,
    },
    /// Before the so-manieth access from here on that touches a byte of `address .. address + bytes`.
    Access {
        /// Address of the first byte.
        address: u64,
        /// How many bytes.
        bytes: u8,
        /// Loads or stores.
        access: Access,
        /// Which access, from 1.
        count: u64,
    },
    /// Before the so-manieth system call of this number from here on.
    Call {
        /// The number.
        number: u64,
        /// Which call, from 1.
        count: u64,
    },
}

impl Goal {
    /// Whether the instruction that is about to begin is one of those that are counted.
    fn counts(&self, begun: &Begun) -> bool {
        let Some(decoded) = &begun.decoded else {
            return matches!(self, Self::Arrival { address, .. } if *address == begun.registers.rip);
        };
        match *self {
            Self::Steps(_) => false,
            Self::Arrival { address, .. } => begun.registers.rip == address,
            Self::Access {
                address,
                bytes,
                access,
                ..
            } => {
                let before = &begun.registers;
                let after = run_down(decoded, before);
                let write = access == Access::Write;
                touches(decoded, before, &after, address, bytes.into(), write)
            }
            Self::Call { number, .. } => {
                decoded.kind == Kind::Syscall && begun.registers.rax == number
            }
        }
    }

    fn count(&self) -> u64 {
        match *self {
            Self::Steps(count)
            | Self::Arrival { count, .. }
            | Self::Access { count, .. }
            | Self::Call { count, .. } => count,
        }
    }
}

impl Live {
    /// Single-steps the focused thread to a goal, while the others run natively; all are stopped afterwards. How many instructions it has retired
    /// on the way; none: it has ended before, or a limit was used up. Limits count from here on.
    ///
    /// Of a `rep` that compares or scans, all that its counter allows is taken for accessed.
    ///
    /// # Errors
    /// See [`BackendError`].
    pub fn steps_to(&mut self, goal: &Goal, limits: &Limits) -> Result<Option<u64>, BackendError> {
        let Ok(tid) = self.focus_tid() else {
            return Ok(None);
        };
        let mut watch = self.watch_limits(limits)?;
        self.resume_all(Some(tid))?;
        let (mut retired, mut counted) = (0, 0);
        loop {
            let Ok(tid) = self.focus_tid() else {
                return self.stopped_after(None);
            };
            let done = match goal {
                Goal::Steps(count) => retired >= *count,
                _ => {
                    counted += u64::from(self.next_counts(tid, goal)?);
                    counted >= goal.count()
                }
            };
            if done {
                return self.stopped_after(Some(retired));
            }
            match self.step_one(tid, &mut watch)? {
                Stepped::Retired => retired += 1,
                Stepped::Handler { .. } => {}
                Stepped::Ended => return self.stopped_after(None),
            }
        }
    }

    fn stopped_after(&mut self, retired: Option<u64>) -> Result<Option<u64>, BackendError> {
        if self.over.is_none() {
            self.stop_all()?;
        }
        Ok(retired)
    }

    fn next_counts(&mut self, tid: Pid, goal: &Goal) -> Result<bool, BackendError> {
        if self.signal_waits(tid)? {
            return Ok(false);
        }
        let registers = self.registers()?;
        let decoded = self.decoded(registers.rip)?;
        let begun = Begun { registers, decoded };
        Ok(goal.counts(&begun))
    }

    /// One step of a thread while the others run.
    fn step_one(
        &mut self,
        tid: Pid,
        watch: &mut super::finish::Watch,
    ) -> Result<Stepped, BackendError> {
        let mut happened = Some(self.begin_step(tid)?);
        loop {
            match happened {
                Some(Happened::Stepped(who, stepped)) if who == tid || who == self.leader => {
                    return Ok(stepped);
                }
                Some(Happened::Over) => return Ok(Stepped::Ended),
                Some(Happened::Hit(who, _)) => self.resume(who)?,
                _ => {}
            }
            happened = self.turn(true)?;
            self.check(watch)?;
            if self.over.is_some() {
                return Ok(Stepped::Ended);
            }
        }
    }

    /// Delivers signals that wait for the focused thread and have a handler: afterwards it stands before an instruction that it will begin. Any
    /// state that is named by an index is meant so.
    ///
    /// # Errors
    /// See [`BackendError`].
    pub fn settle(&mut self) -> Result<(), BackendError> {
        while self.over.is_none()
            && let Ok(tid) = self.focus_tid()
            && self.signal_waits(tid)?
        {
            if !matches!(self.step()?, Stepped::Handler { .. }) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the next thing that a thread does is to enter a handler.
    fn signal_waits(&self, tid: Pid) -> Result<bool, BackendError> {
        let Some(thread) = self.threads.get(&tid) else {
            return Ok(false);
        };
        if thread.announced.is_some() {
            return Ok(true);
        }
        if let Some(signal) = thread.own_signal() {
            return Ok(Status::holds(status(tid)?.caught, signal));
        }
        if thread.call.is_some() {
            return Ok(false);
        }
        let sets = status(tid)?;
        Ok((sets.pending | sets.shared_pending) & !sets.blocked & sets.caught != 0)
    }

    /// Single-steps all threads from here to the end, or until `visit` says so by false. Limits count from here on.
    pub(super) fn walk(
        &mut self,
        limits: &Limits,
        visit: &mut dyn FnMut(&Attempt<'_>) -> bool,
    ) -> Result<(), BackendError> {
        let mut watch = self.watch_limits(limits)?;
        self.births = Births::AwaitAll;
        let tids: Vec<_> = self.threads.keys().copied().collect();
        let mut happened: Vec<Happened> = Vec::new();
        for tid in tids {
            happened.push(self.begin_step(tid)?);
        }
        while self.over.is_none() {
            let next = match happened.pop() {
                Some(next) => next,
                None => self.turn(true)?.unwrap_or(Happened::Nothing),
            };
            match next {
                Happened::Stepped(tid, stepped) => {
                    if !self.tell(tid, stepped, visit)? {
                        break;
                    }
                    if stepped != Stepped::Ended {
                        happened.push(self.begin_step(tid)?);
                    }
                }
                Happened::Born(tid, _) => happened.push(self.begin_step(tid)?),
                Happened::Hit(tid, _) => self.resume(tid)?,
                Happened::Over | Happened::Nothing => {}
            }
            self.check(&mut watch)?;
        }
        self.births = Births::Run;
        Ok(())
    }

    fn tell(
        &mut self,
        tid: Pid,
        stepped: Stepped,
        visit: &mut dyn FnMut(&Attempt<'_>) -> bool,
    ) -> Result<bool, BackendError> {
        let Some(thread) = self.threads.get_mut(&tid) else {
            return Ok(true);
        };
        let retired = match stepped {
            Stepped::Retired => true,
            Stepped::Ended => thread.call.is_some_and(|call| call.entered),
            Stepped::Handler { .. } => false,
        };
        let faulted = std::mem::take(&mut thread.faulted);
        let Some(begun) = thread.begun.take() else {
            return Ok(true);
        };
        if !retired && !faulted {
            // A signal came before it had begun.
            return Ok(true);
        }
        let after = thread
            .stopped()
            .and_then(|stopped| stopped.registers().ok());
        Ok(visit(&Attempt {
            thread: thread.number,
            begun: &begun,
            after,
            retired,
        }))
    }
}
