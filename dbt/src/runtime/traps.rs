//! Traps: translated code has come to an exit whose target was not known.

use std::mem::offset_of;

use fits_stats::template::UnitId;
use fits_tracer::ptrace::{Registers, Resume, Stopped, general};

use super::error::Result;
use super::guest::{R15, RCX, TRAP_FLAG, state};
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};
use crate::cache::{Known, Place};
use crate::unit::{self, ExitKind, Moved};

const INT3: u8 = 0xcc;
const RIP: usize = offset_of!(libc::user, regs) + offset_of!(Registers, rip);
const GUEST_RCX: usize = offset_of!(libc::user, regs) + offset_of!(Registers, rcx);

/// How a thread has left translated code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// By this exit of a unit.
    Exit(UnitId, usize),
    /// By the beginning of this block of a region that was forgotten.
    Head(UnitId, usize),
    /// An indirect branch is not in the table.
    JumpMiss,
}

impl Supervisor<'_> {
    /// What trap of ours stands at a host address.
    pub(super) fn trap_at(&self, host: u64) -> Option<Left> {
        match self.cache.at(host)? {
            Place::Unit { id, offset } => {
                let unit = self.cache.unit(id)?;
                match unit.exit_at(offset) {
                    Some(exit) => Some(Left::Exit(id, exit)),
                    None => {
                        let head = unit.head_at(offset)?;
                        let is_trap = self.cache.code(host, 1)? == [INT3];
                        is_trap.then_some(Left::Head(id, head))
                    }
                }
            }
            Place::JumpMiss => Some(Left::JumpMiss),
            Place::Stub => None,
        }
    }

    /// A thread in translated code has stopped with `SIGTRAP`.
    pub(super) fn on_trap(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<()> {
        let rip = stopped.user_word(RIP)?;
        if !thread.sent_again.is_empty() && stopped.siginfo()?.code() <= 0 {
            return self.on_other_trap(thread, stopped);
        }
        match self.trap_at(rip.wrapping_sub(1)) {
            Some(left) => self.go_on(thread, stopped, left),
            None => self.on_other_trap(thread, stopped),
        }
    }

    fn go_on(&mut self, thread: &mut Thread, mut stopped: Stopped, left: Left) -> Result<()> {
        let (pc, prefix) = match left {
            Left::Exit(id, exit) => {
                let Some(unit) = self.cache.unit(id) else {
                    return self.on_other_trap(thread, stopped);
                };
                match unit.exits[exit].kind {
                    ExitKind::Direct(pc) => (pc, unit.exits[exit].prefix),
                    ExitKind::Indirect => (thread.area.target(), None),
                    ExitKind::Syscall(_) | ExitKind::Slow(_) => {
                        return self.leave(thread, stopped, left);
                    }
                }
            }
            Left::Head(..) => return self.leave(thread, stopped, left),
            Left::JumpMiss => (thread.area.target(), None),
        };
        if self.is_wild(thread, left) {
            return self.leave(thread, stopped, left);
        }
        match self.find(&mut stopped, (pc, prefix)) {
            Ok(Known::Unit(to)) => self.connect(thread, stopped, left, to),
            Ok(Known::Slow | Known::Syscall) => self.leave(thread, stopped, left),
            Err(error) if error.is_full() => self.leave(thread, stopped, left),
            Err(error) => Err(error),
        }
    }

    /// The next unit is known: shows the way for the next time, and goes there.
    fn connect(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        left: Left,
        to: UnitId,
    ) -> Result<()> {
        let registered = match left {
            Left::Exit(id, exit) => match self.cache.unit(id).map(|unit| unit.exits[exit].kind) {
                Some(ExitKind::Indirect) => self.cache.register_jump(to),
                _ => self.cache.link(id, exit, to),
            },
            Left::Head(..) => Ok(()),
            Left::JumpMiss => self.cache.register_jump(to),
        };
        match registered {
            // Without room the next time will be a stop as well.
            Ok(()) | Err(crate::cache::CacheError::Full) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(host) = self.cache.unit(to).map(|unit| unit.host) else {
            return self.leave(thread, stopped, left);
        };
        if self.is_indirect(left) {
            stopped.set_user_word(GUEST_RCX, thread.area.home(RCX))?;
        }
        stopped.set_user_word(RIP, host)?;
        Ok(stopped.resume(Resume::Continue, 0)?)
    }

    pub(super) fn is_indirect(&self, left: Left) -> bool {
        match left {
            Left::Exit(id, exit) => self
                .cache
                .unit(id)
                .is_some_and(|unit| unit.exits[exit].kind == ExitKind::Indirect),
            Left::Head(..) => false,
            Left::JumpMiss => true,
        }
    }

    /// Leaves translated code: the guest's state behind the exit is taken, and executed from there.
    fn leave(&mut self, thread: &mut Thread, mut stopped: Stopped, left: Left) -> Result<()> {
        let guest = self.guest_behind(thread, &stopped, left)?;
        if self.is_wild(thread, left) {
            return self.proceed_slowly(thread, stopped, guest);
        }
        if let Left::Exit(id, exit) = left
            && let Some(unit) = self.cache.unit(id)
            && matches!(unit.exits[exit].kind, ExitKind::Slow(_))
        {
            if self.ends_here(thread, &mut stopped, &guest)? {
                return self.keep_stopped(thread, stopped, &guest);
            }
            return self.proceed_slowly(thread, stopped, guest);
        }
        self.proceed(thread, stopped, guest)
    }

    /// The guest's state behind an exit that a thread has stopped at.
    pub(super) fn guest_behind(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        left: Left,
    ) -> Result<Registers> {
        let mut host = stopped.registers()?;
        if let Left::Head(id, number) = left
            && let Some(unit) = self.cache.unit(id)
        {
            let head = unit.heads[number];
            thread.prefix = None;
            self.leave_rows(thread, *general(&mut host, head.cursor))?;
            thread.budget.retired += u64::from(head.owed);
            return Ok(state(thread, &host, &[at_home(head.cursor)], head.pc));
        }
        let mut moved = Vec::new();
        if self.mode.takes_r15() {
            moved.push(at_home(R15));
        }
        if self.is_indirect(left) {
            moved.push(at_home(RCX));
        }
        if self.is_wild(thread, left) {
            return self.before_wild_branch(thread, &host);
        }
        let mut pc = thread.area.target();
        thread.prefix = None;
        if let Left::Exit(id, exit) = left
            && let Some(unit) = self.cache.unit(id)
        {
            thread.prefix = unit.exits[exit].prefix;
            if let ExitKind::Direct(next) | ExitKind::Syscall(next) | ExitKind::Slow(next) =
                unit.exits[exit].kind
            {
                pc = next;
            }
        }
        self.leave_rows(thread, host.r15)?;
        Ok(state(thread, &host, &moved, pc))
    }

    /// Whether the run is to stop where a thread stands in its guest state.
    fn ends_here(
        &mut self,
        thread: &Thread,
        stopped: &mut Stopped,
        guest: &Registers,
    ) -> Result<bool> {
        Ok(self.is_over(thread, guest) && !self.walks_on(thread, stopped, guest)?)
    }

    /// Keeps a thread where it stands.
    fn keep_stopped(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        guest: &Registers,
    ) -> Result<()> {
        stopped.set_registers(guest)?;
        thread.doing = Doing::Native;
        self.held.push(stopped);
        Ok(())
    }

    /// Executes a thread from a guest state on: the one way back into translated code.
    pub(super) fn proceed(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        mut guest: Registers,
    ) -> Result<()> {
        loop {
            if self.ends_here(thread, &mut stopped, &guest)? {
                return self.keep_stopped(thread, stopped, &guest);
            }
            self.note_fs_base(thread, &guest)?;
            if guest.eflags & TRAP_FLAG != 0 {
                match self.slow(thread, stopped, guest)? {
                    Some(halted) => (stopped, guest) = halted,
                    None => return Ok(()),
                }
                continue;
            }
            let key = (guest.rip, thread.prefix);
            let next = match self.find(&mut stopped, key) {
                Ok(Known::Unit(id)) if self.may_enter(thread, id) => {
                    return self.enter(thread, stopped, guest, id);
                }
                Ok(Known::Unit(_)) => self.slow(thread, stopped, guest)?,
                Ok(Known::Syscall) => self.call(thread, stopped, guest)?,
                Ok(Known::Slow) if self.is_marked_call(guest.rip) => {
                    self.call(thread, stopped, guest)?
                }
                Ok(Known::Slow) => self.slow(thread, stopped, guest)?,
                Err(error) if error.is_full() => {
                    self.flush()?;
                    Some((stopped, guest))
                }
                Err(error) => return Err(error),
            };
            match next {
                Some((next_stopped, next_guest)) => (stopped, guest) = (next_stopped, next_guest),
                None => return Ok(()),
            }
        }
    }

    /// [`Supervisor::proceed`], but the first instruction is executed by itself.
    pub(super) fn proceed_slowly(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        guest: Registers,
    ) -> Result<()> {
        match self.slow(thread, stopped, guest)? {
            Some((stopped, guest)) => self.proceed(thread, stopped, guest),
            None => Ok(()),
        }
    }

    fn enter(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        guest: Registers,
        id: UnitId,
    ) -> Result<()> {
        let mut host = guest;
        if let Some(cursor) = self.cursor(thread) {
            thread.area.set_home(R15, guest.r15);
            host.r15 = cursor;
        }
        host.gs_base = thread.area.base;
        if let Some(unit) = self.cache.unit(id) {
            host.rip = unit.host;
        }
        stopped.set_registers(&host)?;
        thread.doing = Doing::Translated;
        self.send_again(thread)?;
        Ok(stopped.resume(Resume::Continue, 0)?)
    }
}

pub(super) fn at_home(register: u8) -> Moved {
    Moved {
        register,
        to: unit::Place::Home,
    }
}
