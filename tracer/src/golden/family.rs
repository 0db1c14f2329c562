//! Threads, children, `execve` and exits.

use std::rc::Rc;

use fits_stats::protocol::{Event, ThreadNumber};
use nix::unistd::Pid;

use super::session::{Session, forgive_gone};
use super::signals::TRAP_BIT;
use super::stepping::Retired;
use super::thread::{Phase, Thread};
use crate::backend::BackendError;
use crate::ptrace::{self, Memory, Resume, Stopped};

/// A thread or child that has been made.
#[derive(Debug)]
pub(super) struct Birth {
    /// Its number, if it is to be traced.
    number: Option<ThreadNumber>,
    /// Its maker's process and memory, if it is a thread of that.
    process: Option<(Pid, Rc<Memory>)>,
    trap_blocked: bool,
    own_affinity: bool,
}

impl Session<'_> {
    pub(super) fn on_event(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        event: ptrace::Event,
    ) -> Result<(), BackendError> {
        match event {
            ptrace::Event::Clone | ptrace::Event::Fork | ptrace::Event::Vfork => {
                self.on_birth(thread, &stopped)?;
            }
            ptrace::Event::Exec => self.on_exec(thread, &stopped)?,
            ptrace::Event::Exit => {
                self.on_leaving(thread, &stopped)?;
                return Ok(stopped.resume(Resume::Continue, 0)?);
            }
            ptrace::Event::VforkDone | ptrace::Event::Seccomp => {}
        }
        Ok(stopped.resume(thread.how(), 0)?)
    }

    fn on_birth(&mut self, thread: &mut Thread, stopped: &Stopped) -> Result<(), BackendError> {
        let child = Pid::from_raw(stopped.event_message()? as i32);
        if self.options.environment.is_controlled() {
            self.pids.made(child);
        }
        let flags = thread.call.map_or(0, |call| call.detail);
        let is_thread = flags & libc::CLONE_THREAD as u64 != 0;
        let traced = is_thread || self.options.follow_forks;
        let birth = Birth {
            number: traced.then(|| self.number()),
            process: is_thread.then(|| (thread.process, Rc::clone(&thread.memory))),
            trap_blocked: thread.trap_blocked,
            own_affinity: thread.own_affinity,
        };
        match self.early.remove(&child) {
            Some(stopped) => forgive_gone(self.adopt(stopped, birth)),
            None => {
                self.expected.insert(child, birth);
                Ok(())
            }
        }
    }

    /// The first stop of a thread or child: before or after its maker's.
    pub(super) fn on_first_stop(&mut self, stopped: Stopped) -> Result<(), BackendError> {
        match self.expected.remove(&stopped.tid()) {
            Some(birth) => forgive_gone(self.adopt(stopped, birth)),
            None => {
                self.early.insert(stopped.tid(), stopped);
                Ok(())
            }
        }
    }

    fn adopt(&mut self, stopped: Stopped, birth: Birth) -> Result<(), BackendError> {
        let tid = stopped.tid();
        let Some(number) = birth.number else {
            return self.let_go(stopped, &birth);
        };
        let (process, memory) = match birth.process {
            Some(place) => place,
            None => (tid, Rc::new(Memory::open(tid)?)),
        };
        let mut thread = Thread::new(tid, process, number, memory);
        thread.trap_blocked = birth.trap_blocked;
        thread.own_affinity = birth.own_affinity;
        let result = self.on_new_thread(&mut thread, stopped);
        self.threads.insert(tid, thread);
        result
    }

    fn on_new_thread(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        self.advance(thread, stopped, registers, None)
    }

    /// A child runs free from here on, as it would have without us.
    fn let_go(&mut self, stopped: Stopped, birth: &Birth) -> Result<(), BackendError> {
        if birth.trap_blocked {
            stopped.set_signal_mask(stopped.signal_mask()? | TRAP_BIT)?;
        }
        if self.options.environment.is_controlled() && !birth.own_affinity {
            self.options.cpus.release(stopped.tid());
        }
        Ok(stopped.resume(Resume::Detach, 0)?)
    }

    /// A thread has executed a new program: the others of its process are gone, and it has the process's own number now.
    fn on_exec(&mut self, thread: &mut Thread, stopped: &Stopped) -> Result<(), BackendError> {
        let former = Pid::from_raw(stopped.event_message()? as i32);
        let Some(mut executing) = self
            .threads
            .remove(&former)
            .filter(|_| former != thread.tid)
        else {
            return Ok(());
        };
        // `thread` is the former leader, whose end nobody reports.
        self.leave(thread)?;
        executing.tid = thread.tid;
        *thread = executing;
        Ok(())
    }

    /// The thread is about to end, its memory still there.
    fn on_leaving(&mut self, thread: &mut Thread, stopped: &Stopped) -> Result<(), BackendError> {
        if let (Some(call), Some(pending)) = (thread.call.take(), thread.pending.take())
            && call.phase == Phase::Inside
        {
            let retired = Retired {
                pending,
                call: Some((call.number, 0)),
            };
            let registers = stopped.registers()?;
            self.report(thread, stopped, &registers, Some(retired))?;
        }
        let process = thread.process;
        let alone = !self
            .threads
            .values()
            .any(|other| other.process == process && !other.leaving);
        self.leave(thread)?;
        if alone {
            self.send_mappings(thread.tid)?;
        }
        Ok(())
    }

    /// Sends what is left of a thread that does nothing more.
    pub(super) fn leave(&mut self, thread: &mut Thread) -> Result<(), BackendError> {
        thread.leaving = true;
        thread.pending = None;
        thread.call = None;
        if let Some(block) = thread.block.interrupted() {
            self.emit(thread, Event::Block(block))?;
        }
        self.flush(thread)
    }
}
