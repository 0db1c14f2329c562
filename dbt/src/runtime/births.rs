//! New threads, which are traced, and children, which run free.

use fits_tracer::process::thread_group;
use fits_tracer::ptrace::{Event, Resume, Stop, Stopped};
use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use super::area::SLOTS;
use super::error::{Result, RuntimeError};
use super::guest::{NO_CALL, TRAP_FLAG};
use super::supervisor::Supervisor;
use super::thread::{Call, Doing, Thread};

/// What a new thread or child gets from the one that made it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parent {
    gs_base: u64,
    blocked: u64,
    pc: u64,
    shares_memory: bool,
}

/// Those of whom only one thing is known yet: that they were made, or that they have stopped.
#[derive(Debug, Default)]
pub(super) struct Newborn {
    made: FxHashMap<Pid, Parent>,
    stopped: FxHashMap<Pid, Stopped>,
}

impl Newborn {
    /// Whether one was made that has not stopped yet.
    pub(super) fn is_expecting(&self) -> bool {
        !self.made.is_empty()
    }
}

impl Supervisor<'_> {
    /// Before a call that makes a thread or child.
    pub(super) fn before_birth(&mut self, stopped: &mut Stopped, call: &Call) -> Result<()> {
        let flags = self.birth_flags(call);
        if self.guarded && flags & libc::CLONE_THREAD as u64 == 0 {
            // It would run free, and the filter would ask nobody.
            return Err(RuntimeError::Unsupported {
                what: "starting a process after being taken over".to_owned(),
                pc: call.pc,
            });
        }
        if flags & libc::CLONE_VM as u64 == 0 {
            self.keep_from_children(stopped)?;
        } else if flags & libc::CLONE_THREAD as u64 == 0 {
            // A child in the same memory has nobody who would handle its write faults.
            self.unprotect_all(stopped)?;
        }
        self.pids.prepare_clone();
        Ok(())
    }

    fn birth_flags(&self, call: &Call) -> u64 {
        match call.number as i64 {
            libc::SYS_clone => call.args[0],
            libc::SYS_clone3 => self.code.memory.read_u64(call.args[0]).unwrap_or_default(),
            libc::SYS_vfork => (libc::CLONE_VM | libc::CLONE_VFORK) as u64,
            _ => 0,
        }
    }

    /// A call has made a thread or child.
    pub(super) fn on_birth(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        let tid = Pid::from_raw(stopped.event_message()? as i32);
        self.pids.made(tid);
        let Doing::Call(call) = thread.doing else {
            return Err(RuntimeError::Unsupported {
                what: "making a thread or process by other means than `syscall`".to_owned(),
                pc: stopped.registers()?.rip,
            });
        };
        let parent = Parent {
            gs_base: thread.gs_base,
            blocked: thread.blocked,
            pc: call.pc,
            shares_memory: self.birth_flags(&call) & libc::CLONE_VM as u64 != 0,
        };
        stopped.resume(call.how(), 0)?;
        match self.newborn.stopped.remove(&tid) {
            Some(stopped) => self.adopt(stopped, parent),
            None => {
                self.newborn.made.insert(tid, parent);
                Ok(())
            }
        }
    }

    /// A thread that we do not know has stopped.
    pub(super) fn on_stranger(&mut self, stopped: Stopped) -> Result<()> {
        match self.newborn.made.remove(&stopped.tid()) {
            Some(parent) => self.adopt(stopped, parent),
            None => {
                self.newborn.stopped.insert(stopped.tid(), stopped);
                Ok(())
            }
        }
    }

    fn adopt(&mut self, mut stopped: Stopped, parent: Parent) -> Result<()> {
        let tid = stopped.tid();
        if !matches!(stopped.stop(), Stop::Interrupted) {
            // Killed before it began.
            stopped.resume(Resume::Continue, 0)?;
            return Ok(());
        }
        let mut guest = stopped.registers()?;
        guest.r11 &= !TRAP_FLAG;
        guest.gs_base = parent.gs_base;
        guest.orig_rax = NO_CALL;
        if thread_group(tid)? != self.leader {
            return self.let_go(stopped, &guest, parent);
        }
        let Some(area) = self.areas.take() else {
            return Err(RuntimeError::Unsupported {
                what: format!("running more than {SLOTS} threads at a time (the one made here)"),
                pc: parent.pc,
            });
        };
        self.map_area(&mut stopped, &area)?;
        let mut thread = Box::new(Thread::new(tid, self.next_number, area));
        self.next_number += 1;
        thread.gs_base = parent.gs_base;
        thread.blocked = parent.blocked;
        thread.doing = Doing::Native;
        self.open_stream(&mut thread)?;
        let result = self.proceed(&mut thread, stopped, guest);
        self.threads.insert(tid, thread);
        result
    }

    /// Lets a child run free, in the guest's own state.
    fn let_go(
        &mut self,
        mut child: Stopped,
        guest: &fits_tracer::ptrace::Registers,
        parent: Parent,
    ) -> Result<()> {
        self.options.cpus.release(child.tid());
        if !parent.shares_memory && self.code.has_protected() {
            self.unprotect_child(&mut child)?;
        }
        if parent.blocked != 0 {
            child.set_signal_mask(child.signal_mask()? | parent.blocked)?;
        }
        child.set_registers(guest)?;
        Ok(child.resume(Resume::Detach, 0)?)
    }
}

/// Whether an event is a birth.
pub(super) fn is_birth(event: Event) -> bool {
    matches!(event, Event::Fork | Event::Vfork | Event::Clone)
}
