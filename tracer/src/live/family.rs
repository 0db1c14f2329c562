//! Threads, children, `execve` and exits.
//!
//! Children are not part of what is controlled: they run as they would by themselves. But they stay traced, so that they die with the process.

use fits_stats::protocol::ThreadNumber;
use nix::unistd::Pid;

use super::Live;
use super::events::Happened;
use super::thread::{At, Thread};
use crate::backend::BackendError;
use crate::process::thread_group;
use crate::ptrace::{Event, Memory, Resume, Stop, Stopped};

/// What becomes of new threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Births {
    /// They run.
    #[default]
    Run,
    /// This one is waited for.
    Await(ThreadNumber),
    /// All are waited for.
    AwaitAll,
}

impl Births {
    fn waits_for(self, number: ThreadNumber) -> bool {
        match self {
            Self::Run => false,
            Self::Await(awaited) => awaited == number,
            Self::AwaitAll => true,
        }
    }
}

/// What a new thread gets from its maker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Birth {
    own_affinity: bool,
    blocked: u64,
    tsc_mode: u32,
}

impl Live {
    pub(super) fn on_event(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        event: Event,
    ) -> Result<(), BackendError> {
        match event {
            Event::Seccomp => return self.on_guarded_call(thread, stopped),
            Event::Clone | Event::Fork | Event::Vfork => self.on_birth(thread, &stopped)?,
            Event::Exec => self.on_executed(&stopped)?,
            Event::Exit => {
                thread.leaving = true;
                return Ok(stopped.resume(Resume::Continue, 0)?);
            }
            Event::VforkDone => {}
        }
        Ok(stopped.resume(thread.how(), 0)?)
    }

    fn on_birth(&mut self, thread: &Thread, stopped: &Stopped) -> Result<(), BackendError> {
        let tid = Pid::from_raw(stopped.event_message()? as i32);
        if self.environment.is_controlled() {
            self.pids.made(tid);
        }
        if self.is_child(tid) {
            self.children.insert(tid);
            return Ok(());
        }
        let birth = Birth {
            own_affinity: thread.own_affinity,
            blocked: thread.blocked,
            tsc_mode: thread.tsc_mode,
        };
        match self.early.remove(&tid) {
            Some(stopped) => self.admit(stopped, birth),
            None => {
                self.expected.insert(tid, birth);
                Ok(())
            }
        }
    }

    /// Whether a new task is a process of its own. One that is gone already can be taken for one.
    fn is_child(&self, tid: Pid) -> bool {
        thread_group(tid).is_ok_and(|group| group != self.leader)
    }

    /// Somebody who is none of our threads has stopped.
    pub(super) fn on_stranger(&mut self, stopped: Stopped) -> Result<Happened, BackendError> {
        let tid = stopped.tid();
        let nothing = Ok(Happened::Nothing);
        if self.children.contains(&tid) && stopped.stop() != Stop::Interrupted {
            return self.on_child_stop(stopped).and(nothing);
        }
        if stopped.stop() == Stop::Event(Event::Exit) {
            // Killed before its maker's event was seen, or its own first stop.
            stopped.resume(Resume::Continue, 0)?;
            return nothing;
        }
        if let Some(birth) = self.expected.remove(&tid) {
            return self.admit(stopped, birth).and(nothing);
        }
        if self.is_child(tid) {
            if self.children.insert(tid) || stopped.stop() == Stop::Interrupted {
                self.release(tid);
            }
            return self.on_child_stop(stopped).and(nothing);
        }
        self.early.insert(tid, stopped);
        nothing
    }

    /// A child has the CPUs that it would have had without us.
    fn release(&self, child: Pid) {
        let own = self.threads.values().any(|thread| thread.own_affinity);
        if self.environment.is_controlled() && !own {
            self.cpus.release(child);
        }
    }

    fn on_child_stop(&mut self, stopped: Stopped) -> Result<(), BackendError> {
        let (how, signal) = match stopped.stop() {
            Stop::Event(Event::Seccomp) => return self.on_child_call(stopped),
            Stop::Signal(signal) => return self.on_child_signal(stopped, signal),
            Stop::Trap => (Resume::Continue, libc::SIGTRAP),
            Stop::GroupStop(_) => (Resume::Listen, 0),
            Stop::Event(Event::Fork | Event::Vfork | Event::Clone) => {
                let tid = Pid::from_raw(stopped.event_message()? as i32);
                self.children.insert(tid);
                if let Some(newborn) = self.early.remove(&tid) {
                    newborn.resume(Resume::Continue, 0)?;
                }
                (Resume::Continue, 0)
            }
            _ => (Resume::Continue, 0),
        };
        Ok(stopped.resume(how, signal)?)
    }

    /// The time-stamp counter can be read in a child, if slowly.
    fn on_child_signal(&mut self, stopped: Stopped, signal: i32) -> Result<(), BackendError> {
        if signal == libc::SIGSEGV
            && let Some(after) = self.real_time_read(&stopped)?
        {
            stopped.set_registers(&after)?;
            return Ok(stopped.resume(Resume::Continue, 0)?);
        }
        Ok(stopped.resume(Resume::Continue, signal)?)
    }

    /// The first stop of a new thread of ours.
    fn admit(&mut self, stopped: Stopped, birth: Birth) -> Result<(), BackendError> {
        let tid = stopped.tid();
        let number = self.next_number;
        self.next_number += 1;
        let mut thread = Thread::new(tid, number, At::Boundary(stopped));
        thread.own_affinity = birth.own_affinity;
        thread.blocked = birth.blocked;
        thread.tsc_mode = birth.tsc_mode;
        if let Some(stopped) = thread.stopped() {
            self.breakpoints.apply(stopped)?;
        }
        if self.births.waits_for(number) {
            self.found.push_back(Happened::Born(tid, number));
        } else if !self.halting
            && let Some(stopped) = thread.take()
        {
            stopped.resume(thread.how(), 0)?;
        }
        self.threads.insert(tid, Box::new(thread));
        Ok(())
    }

    /// A thread has executed a new program: the others are gone, and it has the process's own number now.
    pub(super) fn on_moved(&mut self, stopped: &Stopped) -> Result<(), BackendError> {
        let former = Pid::from_raw(stopped.event_message()? as i32);
        if let Some(mut executing) = self.threads.remove(&former) {
            executing.tid = self.leader;
            if let Some((tid, _)) = &mut self.breakpoints.code
                && *tid == former
            {
                *tid = self.leader;
            }
            self.threads.clear();
            self.threads.insert(self.leader, executing);
        }
        Ok(())
    }

    /// The thread has a new program, nothing of which has run.
    fn on_executed(&mut self, stopped: &Stopped) -> Result<(), BackendError> {
        self.memory = Memory::open(self.leader)?;
        self.decode.clear();
        self.forced.executed();
        // The kernel has cleared them.
        self.breakpoints.apply(stopped)?;
        let registers = stopped.registers()?;
        if registers.cs != 0x33 {
            return Err(BackendError::Unsupported {
                what: "execve of a 32-bit program".to_owned(),
                pc: registers.rip,
                backend: "ptrace",
            });
        }
        Ok(self.environment.apply(stopped)?)
    }
}
