//! What can be looked at and changed while the process is stopped.

use std::path::Path;

use fits_stats::protocol::ThreadNumber;
use nix::unistd::Pid;

use super::Live;
use super::thread::{At, Thread};
use crate::backend::BackendError;
use crate::error::{Error, Result};
use crate::process::{Mapping, maps};
use crate::ptrace::{Event, Memory, Registers, Resume, Stop, Stopped, Waited, XState, wait_for};

/// The resume flag: set by the processor and by the kernel around faults and breakpoints; no instruction can see it.
pub(super) const RESUME_FLAG: u64 = 1 << 16;

/// Negative results by which the kernel says that an interrupted system call goes on, or not, when the thread is resumed.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// Length of `syscall`.
const SYSCALL: u64 = 2;

/// `orig_rax` of a thread that is in no system call.
pub(super) const NO_CALL: u64 = u64::MAX;

impl Live {
    /// The thread in focus.
    #[must_use]
    pub fn focus(&self) -> ThreadNumber {
        self.focus
    }

    /// Puts another thread in focus.
    ///
    /// # Errors
    /// When there is no such thread (any more).
    pub fn set_focus(&mut self, thread: ThreadNumber) -> Result<(), BackendError> {
        if !self.threads().contains(&thread) {
            return Err(BackendError::Engine(format!(
                "thread {thread} does not live at this moment: there are {:?}",
                self.threads()
            )));
        }
        self.focus = thread;
        Ok(self.leave_call()?)
    }

    /// A focused thread that is about to make a call which the filter asks about is taken to before that call.
    fn leave_call(&mut self) -> Result<()> {
        let tid = self.focus_tid()?;
        let Some(thread) = self.threads.get_mut(&tid) else {
            return Ok(());
        };
        let asks = Stop::Event(Event::Seccomp);
        let At::Unseen(stopped) = &thread.at else {
            return Ok(());
        };
        if stopped.stop() != asks {
            return Ok(());
        }
        let Some(stopped) = thread.take() else {
            return Ok(());
        };
        let mut registers = stopped.registers()?;
        registers.rip = registers.rip.wrapping_sub(SYSCALL);
        registers.rax = registers.orig_rax;
        registers.orig_rax = NO_CALL;
        stopped.set_registers(&registers)?;
        stopped.resume(Resume::Syscall, 0)?;
        match wait_for(tid)? {
            Waited::Stopped(stopped) if stopped.stop() == Stop::SyscallExit => {
                thread.at = At::Boundary(stopped);
            }
            Waited::Stopped(stopped) => thread.at = At::Unseen(stopped),
            ended => self.queue.push_back(ended),
        }
        Ok(())
    }

    /// The numbers of the living threads, in order.
    #[must_use]
    pub fn threads(&self) -> Vec<ThreadNumber> {
        let living = self.threads.values().filter(|thread| !thread.leaving);
        let mut numbers: Vec<_> = living.map(|thread| thread.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Whether it has one thread and no living children: nobody else can touch its private memory, but the kernel for it.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        let others = self.children.len() + self.expected.len() + self.early.len();
        self.threads.len() == 1 && others == 0
    }

    /// The process.
    #[must_use]
    pub fn leader(&self) -> Pid {
        self.leader
    }

    /// The file that was executed first.
    #[must_use]
    pub fn executable(&self) -> &Path {
        &self.executable
    }

    /// The kernel's number of the thread in focus.
    pub(super) fn focus_tid(&self) -> Result<Pid> {
        let found = self
            .threads
            .values()
            .find(|thread| thread.number == self.focus && !thread.leaving);
        found
            .map(|thread| thread.tid)
            .ok_or(Error::Gone { tid: self.leader })
    }

    pub(super) fn focused(&self) -> Result<&Thread> {
        let tid = self.focus_tid()?;
        self.threads
            .get(&tid)
            .map(AsRef::as_ref)
            .ok_or(Error::Gone { tid })
    }

    fn stopped(&self) -> Result<&Stopped> {
        let thread = self.focused()?;
        thread.stopped().ok_or(Error::Gone { tid: thread.tid })
    }

    /// The registers of the focused thread. `orig_rax` says "in no system call", and the resume flag, which programs can't see, is clear.
    /// Inside a system call they are as before it: it has not retired.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn registers(&self) -> Result<Registers> {
        let mut registers = self.stopped()?.registers()?;
        before_call(&mut registers);
        registers.eflags &= !RESUME_FLAG;
        Ok(registers)
    }

    /// Sets the registers of the focused thread. (Inside a system call the thread will execute it anew.)
    ///
    /// # Errors
    /// When the thread is gone, and the kernel's refusal: of a segment base or selector that no thread can have.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<()> {
        let mut registers = *registers;
        registers.orig_rax = NO_CALL;
        self.stopped()?.set_registers(&registers)
    }

    /// x87, vector and mask registers of the focused thread.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn xstate(&self) -> Result<XState> {
        self.stopped()?.xstate()
    }

    /// Sets x87, vector and mask registers of the focused thread.
    ///
    /// # Errors
    /// When the thread is gone, and the kernel's refusal (reserved bits of `mxcsr`).
    pub fn set_xstate(&mut self, state: &XState) -> Result<()> {
        self.stopped()?.set_xstate(state)
    }

    /// The signals that the focused thread blocks, bit 0 is signal 1.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn signal_mask(&self) -> Result<u64> {
        self.stopped()?.signal_mask()
    }

    /// Its memory. What is written there reaches write-protected private memory too.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What is mapped where.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn mappings(&self) -> Result<Vec<Mapping>> {
        maps(self.leader)
    }

    /// What the reader of a result should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(super) fn warn(&mut self, sentence: &str) {
        if !self.warnings.iter().any(|warning| warning == sentence) {
            self.warnings.push(sentence.to_owned());
        }
    }
}

/// Whether a thread is in a system call that the kernel has left for the time being.
pub(super) fn is_interrupted(registers: &Registers) -> bool {
    registers.orig_rax.cast_signed() >= 0 && RESTARTS.contains(&registers.rax.cast_signed())
}

/// Registers at a system call that the kernel has left become those before it.
fn before_call(registers: &mut Registers) {
    if is_interrupted(registers) {
        registers.rip = registers.rip.wrapping_sub(SYSCALL);
        registers.rax = registers.orig_rax;
    }
    registers.orig_rax = NO_CALL;
}
