//! System calls executed by a stopped thread on our behalf.
//!
//! The thread is pointed at a `syscall` instruction and run to the call's end by `PTRACE_SYSCALL`, all signals blocked meanwhile;
//! then registers and signal mask are as before. Works at every stop at which nothing is half done: after a step, at
//! [`Stop::Interrupted`], at a system call's exit and at event stops other than `Exit` (where the thread first finishes the call
//! that it is in, and is afterwards at [`Stop::SyscallExit`]).

use super::memory::Memory;
use super::stop::{Event, Stop, Waited};
use super::task::{Resume, Stopped, kill, wait_for};
use crate::error::{Error, Result};

const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Where the thread is to execute its `syscall` instruction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Here is one.
    At(u64),
    /// Write one over the bytes at rip, and put them back afterwards.
    Poke,
}

impl Stopped {
    /// Executes system call `number` in the thread, with the `syscall` instruction at `place`. The result is the kernel's (negative: an errno).
    ///
    /// # Errors
    /// [`Error::NoInjection`] at a signal-delivery, group or exit stop and at a system call's entry; [`Error::is_gone`] when it was killed.
    pub fn remote_syscall_at(&mut self, place: u64, number: i64, args: [u64; 6]) -> Result<i64> {
        self.inject(Place::At(place), number, args)
    }

    /// The same without a known `syscall` instruction: one is written at rip for the moment, so other threads must be stopped.
    ///
    /// # Errors
    /// As [`Stopped::remote_syscall_at`], and when rip is in no mapped memory.
    pub fn remote_syscall(&mut self, number: i64, args: [u64; 6]) -> Result<i64> {
        self.inject(Place::Poke, number, args)
    }

    /// Executes one instruction, or one repetition of it, where rip points. False: something else has come first, a signal of the instruction's own,
    /// say, which is dropped.
    ///
    /// # Errors
    /// [`Error::is_gone`] when it was killed.
    pub fn step_in_place(&mut self) -> Result<bool> {
        self.reborrow().resume(Resume::Step, 0)?;
        match wait_for(self.tid())? {
            Waited::Stopped(stopped) => self.set_stop(stopped.stop()),
            Waited::Exited { tid, .. } | Waited::Signaled { tid, .. } => {
                return Err(Error::Gone { tid });
            }
        }
        if self.stop() == Stop::Signal(libc::SIGSTOP) {
            let tgid = crate::process::thread_group(self.tid())?;
            kill(tgid, self.tid(), libc::SIGSTOP)?;
        }
        Ok(self.stop() == Stop::Trap)
    }

    fn inject(&mut self, place: Place, number: i64, args: [u64; 6]) -> Result<i64> {
        self.settle()?;
        match place {
            Place::At(address) => self.call_at(address, number, args),
            Place::Poke => {
                let memory = Memory::open(self.tid())?;
                let address = self.registers()?.rip;
                let mut saved = [0; 2];
                memory.read(address, &mut saved)?;
                memory.write(address, &SYSCALL)?;
                let result = self.call_at(address, number, args);
                memory.write(address, &saved)?;
                result
            }
        }
    }

    /// Finishes the system call that an event stop is in the middle of: until then the kernel would overwrite rax.
    ///
    /// # Errors
    /// [`Error::NoInjection`] where that is not possible.
    pub fn settle(&mut self) -> Result<()> {
        match self.stop() {
            Stop::Trap | Stop::Interrupted | Stop::SyscallExit => Ok(()),
            Stop::Event(event) if event != Event::Exit => self.run_to(Stop::SyscallExit),
            stop => Err(Error::NoInjection {
                tid: self.tid(),
                stop: format!("{stop:?}"),
            }),
        }
    }

    fn call_at(&mut self, address: u64, number: i64, args: [u64; 6]) -> Result<i64> {
        let saved = self.registers()?;
        let mask = self.signal_mask()?;
        self.set_signal_mask(!0)?;
        let mut regs = saved;
        regs.rip = address;
        regs.rax = number as u64;
        // -1: the thread is in no system call, so the kernel has none to restart.
        regs.orig_rax = u64::MAX;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        self.set_registers(&regs)?;
        self.run_to(Stop::SyscallEntry)?;
        self.run_to(Stop::SyscallExit)?;
        let result = self.registers()?.rax as i64;
        let mut restored = saved;
        restored.orig_rax = u64::MAX;
        self.set_registers(&restored)?;
        self.set_signal_mask(mask)?;
        Ok(result)
    }

    /// Runs with `PTRACE_SYSCALL` until `target`. Only `SIGSTOP` can come between (the rest is blocked): it is sent again afterwards.
    fn run_to(&mut self, target: Stop) -> Result<()> {
        let mut stopped_by = false;
        loop {
            self.reborrow().resume(Resume::Syscall, 0)?;
            match wait_for(self.tid())? {
                Waited::Stopped(stopped) => self.set_stop(stopped.stop()),
                Waited::Exited { tid, .. } | Waited::Signaled { tid, .. } => {
                    return Err(Error::Gone { tid });
                }
            }
            match self.stop() {
                stop if stop == target => break,
                Stop::Signal(libc::SIGSTOP) => stopped_by = true,
                Stop::Event(Event::Exit) => return Err(Error::Gone { tid: self.tid() }),
                _ => {}
            }
        }
        if stopped_by {
            let tgid = crate::process::thread_group(self.tid())?;
            kill(tgid, self.tid(), libc::SIGSTOP)?;
        }
        Ok(())
    }
}
