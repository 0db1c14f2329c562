//! One instruction at a time: the rules of the ptrace backend ([`crate::golden`]), for one thread while the others are stopped.

use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::events::{Happened, is_fault};
use super::finish::Watch;
use super::state::{NO_CALL, is_interrupted};
use super::thread::{At, Call, Delivery, Thread};
use super::walk::Begun;
use super::{Live, Stepped};
use crate::backend::BackendError;
use crate::engine::Limits;
use crate::process::{Status, sleeps, status};
use crate::ptrace::{Registers, Resume, Stop, Stopped, interrupt};
use crate::step::{Decoded, Kind, virtual_read};

const TRAP_FLAG: u64 = 1 << 8;
const TRAP_BIT: u64 = 1 << (libc::SIGTRAP - 1);

/// How many bytes an instruction has at most.
const LONGEST: usize = 15;

/// How long a system call may take before the other threads run on.
const PATIENCE: Duration = Duration::from_micros(200);

/// An instruction that a thread executes by itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    pc: u64,
    kind: Kind,
    /// The program has set the trap flag itself.
    traps: bool,
    /// `SIGTRAP` was taken out of the signal mask for the step: the kernel would take the handler away otherwise.
    hidden: bool,
}

impl Live {
    /// Lets the focused thread execute one instruction. The others stay stopped, unless that is a system call which waits for something:
    /// then they run on until it returns. A `rep` instruction is one instruction, and so is a system call.
    ///
    /// A signal that waits for the thread is delivered first.
    ///
    /// # Errors
    /// See [`BackendError`].
    pub fn step(&mut self) -> Result<Stepped, BackendError> {
        if self.over.is_some() {
            return Ok(Stepped::Ended);
        }
        let Ok(tid) = self.focus_tid() else {
            return Ok(Stepped::Ended);
        };
        let (mut released, mut watch) = (false, None);
        let mut happened = self.begin_step(tid)?;
        let stepped = loop {
            match happened {
                Happened::Stepped(who, stepped) if who == tid || who == self.leader => {
                    break stepped;
                }
                Happened::Over => return Ok(Stepped::Ended),
                _ => happened = self.await_step(tid, &mut released, &mut watch)?,
            }
        };
        if released {
            self.stop_all()?;
        }
        Ok(stepped)
    }

    /// What [`Live::step`] may use up in one system call, which could wait for ever: at first the limits of
    /// [`Live::launch`], none after [`Live::adopt`]. A process that uses it up is killed, and
    /// has ended.
    pub fn limit_steps(&mut self, limits: &Limits) {
        let limited = limits.cpu_seconds.is_some() || limits.wall_seconds.is_some();
        self.step_limits = limited.then_some(*limits);
    }

    /// Waits for what comes of a step. A system call that sleeps releases the other threads.
    fn await_step(
        &mut self,
        tid: Pid,
        released: &mut bool,
        watch: &mut Option<Watch>,
    ) -> Result<Happened, BackendError> {
        let in_call = self
            .threads
            .get(&tid)
            .is_some_and(|thread| thread.call.is_some());
        if in_call
            && watch.is_none()
            && let Some(limits) = self.step_limits
        {
            *watch = Some(self.watch_limits(&limits)?);
        }
        let alone = self.threads.len() == 1;
        let since = Instant::now();
        loop {
            let may_wait = *released || !in_call || alone;
            if let Some(happened) = self.turn(may_wait)? {
                return Ok(happened);
            }
            if let Some(watch) = watch {
                self.check(watch)?;
                if self.over.is_some() {
                    return Ok(Happened::Over);
                }
            }
            if !may_wait {
                if since.elapsed() > PATIENCE && sleeps(tid) {
                    self.resume_all(Some(tid))?;
                    *released = true;
                }
                // We share its processor.
                std::thread::yield_now();
            }
        }
    }

    /// Lets a stopped thread begin its next instruction, or go on with the system call that it is in.
    pub(super) fn begin_step(&mut self, tid: Pid) -> Result<Happened, BackendError> {
        let Some(mut thread) = self.threads.remove(&tid) else {
            return Ok(Happened::Stepped(tid, Stepped::Ended));
        };
        let result = self.begin(&mut thread);
        self.threads.insert(thread.tid, thread);
        super::events::forgive_gone(result, Happened::Nothing)
    }

    fn begin(&mut self, thread: &mut Thread) -> Result<Happened, BackendError> {
        if let Some(signal) = thread.announced.take() {
            return Ok(Happened::Stepped(thread.tid, Stepped::Handler { signal }));
        }
        match std::mem::replace(&mut thread.at, At::Running) {
            At::Running => Ok(Happened::Nothing),
            At::Unseen(stopped) => self.begin_unseen(thread, stopped),
            At::Boundary(mut stopped) => {
                if std::mem::take(&mut thread.forget) {
                    stopped = match forget_step(stopped)? {
                        Ok(stopped) => stopped,
                        Err(stopped) => return self.begin_unseen(thread, stopped),
                    };
                }
                let registers = stopped.registers()?;
                if is_interrupted(&registers) {
                    self.go_on_with_call(thread, &registers);
                    stopped.resume(Resume::Syscall, 0)?;
                    return Ok(Happened::Nothing);
                }
                self.begin_instruction(thread, stopped, registers)
            }
        }
    }

    /// The thread has stopped for something of its own, natively.
    fn begin_unseen(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        let registers = stopped.registers()?;
        if registers.orig_rax.cast_signed() >= 0 {
            self.go_on_with_call(thread, &registers);
        } else {
            thread.pending = Some(Pending {
                pc: registers.rip,
                kind: Kind::Plain,
                traps: registers.eflags & TRAP_FLAG != 0,
                hidden: false,
            });
        }
        if stopped.stop() == Stop::Trap {
            return self.deliver(thread, stopped, libc::SIGTRAP);
        }
        if let Some(after) = self.time_read(thread, &stopped)? {
            let mut stopped = self.put_back(thread, stopped, libc::SIGSEGV)?;
            stopped.swallow();
            stopped.set_registers(&after)?;
            return Ok(self.retired(thread, stopped));
        }
        self.on_thread_stop(thread, stopped)
    }

    fn go_on_with_call(&self, thread: &mut Thread, registers: &Registers) {
        let pc = registers.rip.wrapping_sub(2);
        thread.pending = Some(Pending {
            pc,
            kind: Kind::Syscall,
            traps: false,
            hidden: false,
        });
        thread
            .call
            .get_or_insert_with(|| Call::from(registers, registers.orig_rax));
    }

    fn begin_instruction(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        mut registers: Registers,
    ) -> Result<Happened, BackendError> {
        let decoded = self.decoded(registers.rip)?;
        let kind = decoded.as_ref().map_or(Kind::Plain, |decoded| decoded.kind);
        thread.faulted = false;
        thread.begun = Some(Begun {
            registers,
            decoded: decoded.clone(),
        });
        if let Some(decoded) = &decoded
            && let Some(after) = self.virtual_answer(thread, decoded, &registers)
        {
            stopped.set_registers(&after)?;
            return Ok(self.retired(thread, stopped));
        }
        if kind == Kind::LoadStackSegment {
            return Err(BackendError::Unsupported {
                what: "loading the stack segment".to_owned(),
                pc: registers.rip,
                backend: "ptrace",
            });
        }
        thread.pending = Some(Pending {
            pc: registers.rip,
            kind,
            traps: registers.eflags & TRAP_FLAG != 0,
            hidden: false,
        });
        if registers.orig_rax != NO_CALL {
            registers.orig_rax = NO_CALL;
            stopped.set_registers(&registers)?;
        }
        if kind == Kind::Syscall {
            thread.call = Some(Call::from(&registers, registers.rax));
            stopped.resume(Resume::Syscall, 0)?;
        } else {
            go_on(thread, stopped)?;
        }
        Ok(Happened::Nothing)
    }

    /// The instruction at `pc`, none if it cannot be fetched.
    pub(super) fn decoded(&mut self, pc: u64) -> Result<Option<Rc<Decoded>>, BackendError> {
        let mut bytes = [0; LONGEST];
        let mut length = self.memory.read_some(pc, &mut bytes)?;
        if length == 0 {
            // Execute-only memory.
            let readable =
                |&length: &usize| self.memory.read(pc, &mut [0; LONGEST][..length]).is_ok();
            length = (1..=LONGEST).rev().find(readable).unwrap_or_default();
            if length > 0 {
                self.memory.read(pc, &mut bytes[..length])?;
            }
        }
        let known = self.decode.get(pc);
        if let Some(known) = known
            && bytes[..length].starts_with(&known.bytes)
        {
            return Ok(Some(known));
        }
        Ok(self.decode.decode(pc, &bytes[..length]))
    }

    /// What reads something virtual is not executed.
    fn virtual_answer(
        &self,
        thread: &mut Thread,
        decoded: &Decoded,
        registers: &Registers,
    ) -> Option<Registers> {
        let controlled = self.environment.is_controlled();
        let answer = virtual_read(decoded, registers, controlled, &mut thread.tsc);
        let is_rseq = decoded.kind == Kind::Syscall && registers.rax == libc::SYS_rseq as u64;
        if answer.is_some() || !controlled || !is_rseq {
            return answer;
        }
        let mut after = *registers;
        after.rax = (-i64::from(libc::ENOSYS)).cast_unsigned();
        after.rip = decoded.next();
        after.rcx = after.rip;
        after.r11 = after.eflags;
        after.orig_rax = NO_CALL;
        Some(after)
    }

    /// A thread that steps has stopped.
    pub(super) fn on_stepping_stop(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        match stopped.stop() {
            Stop::Trap => self.on_step_trap(thread, stopped),
            Stop::Signal(signal) => {
                thread.delivering = None;
                self.deliver(thread, stopped, signal)
            }
            Stop::SyscallEntry => {
                if let Some(call) = &mut thread.call {
                    call.entered = true;
                }
                stopped.resume(Resume::Syscall, 0)?;
                Ok(Happened::Nothing)
            }
            Stop::SyscallExit => self.on_call_exit(thread, stopped),
            Stop::Interrupted if thread.delivering.is_some() => self.on_handler(thread, stopped),
            _ => {
                go_on(thread, stopped)?;
                Ok(Happened::Nothing)
            }
        }
    }

    fn on_step_trap(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        let info = stopped.siginfo()?;
        if thread.delivering.is_some() && info.code() == libc::SIGTRAP {
            return self.on_handler(thread, stopped);
        }
        thread.delivering = None;
        let Some(pending) = thread.pending else {
            return Ok(self.retired(thread, stopped));
        };
        let mut registers = stopped.registers()?;
        if registers.rip == pending.pc {
            if info.code() <= 0 {
                return self.deliver(thread, stopped, libc::SIGTRAP);
            }
            if pending.kind == Kind::Repeat {
                go_on(thread, stopped)?;
                return Ok(Happened::Nothing);
            }
        }
        unhide(thread, &stopped)?;
        if thread.call.is_some() {
            // A call that was single-stepped after all: a handler that was there a moment ago was not there any more.
            registers.r11 &= !TRAP_FLAG;
            stopped.set_registers(&registers)?;
            return self.on_call_exit(thread, stopped);
        }
        if pending.kind == Kind::PushFlags && !pending.traps {
            self.clear_pushed_trap_flag(registers.rsp)?;
        }
        thread.forget = pending.kind == Kind::PopFlags && registers.eflags & TRAP_FLAG == 0;
        let trapped = pending.kind == Kind::Breakpoint || pending.traps;
        let happened = self.retired(thread, stopped);
        if trapped && let Some(stopped) = thread.take() {
            // The program's own `SIGTRAP` is still to be delivered.
            thread.at = At::Unseen(stopped);
        }
        Ok(happened)
    }

    fn retired(&mut self, thread: &mut Thread, stopped: Stopped) -> Happened {
        thread.pending = None;
        thread.call = None;
        thread.at = At::Boundary(stopped);
        Happened::Stepped(thread.tid, Stepped::Retired)
    }

    /// `pushf` under a single step pushes the trap flag of the step.
    fn clear_pushed_trap_flag(&self, rsp: u64) -> Result<(), BackendError> {
        let mut byte = [0];
        self.memory.read(rsp.wrapping_add(1), &mut byte)?;
        Ok(self.memory.write(rsp.wrapping_add(1), &[byte[0] & !1])?)
    }

    fn on_call_exit(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        let registers = stopped.registers()?;
        if is_interrupted(&registers)
            && thread
                .call
                .is_some_and(|call| !call.is(libc::SYS_rt_sigreturn))
        {
            // The signal that interrupted it comes next, or the kernel goes on with it.
            stopped.resume(Resume::Syscall, 0)?;
            return Ok(Happened::Nothing);
        }
        self.after_call(thread, registers.rax.cast_signed())?;
        Ok(self.retired(thread, stopped))
    }

    /// Lets a stepping thread go on with the signal of this stop: into its handler if it has one; ignored, it is left out, which is the same;
    /// otherwise the thread ends or stops.
    fn deliver(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        signal: i32,
    ) -> Result<Happened, BackendError> {
        unhide(thread, &stopped)?;
        let faulted = is_fault(signal) && stopped.siginfo()?.code() > 0;
        thread.faulted |= faulted || thread.call.is_some_and(|call| call.entered);
        let sets = status(thread.tid)?;
        if Status::holds(sets.caught, signal) {
            thread.delivering = Some(Delivery { signal, faulted });
            if std::mem::take(&mut thread.forget) {
                // See `forget_step`.
                interrupt(thread.tid)?;
                stopped.resume(Resume::Continue, signal)?;
            } else {
                stopped.resume(Resume::Step, signal)?;
            }
        } else if Status::holds(sets.ignored, signal) || is_ignored_by_default(signal) {
            go_on(thread, stopped)?;
        } else {
            self.note_signal(thread, &stopped, signal)?;
            stopped.resume(thread.how(), signal)?;
        }
        Ok(Happened::Nothing)
    }

    /// The thread is at the first instruction of a handler; nothing of it has executed.
    fn on_handler(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<Happened, BackendError> {
        let delivery = thread.delivering.take();
        let faulted = delivery.is_some_and(|delivery| delivery.faulted);
        let signal = delivery.map_or(libc::SIGTRAP, |delivery| delivery.signal);
        let saved_rip = self.on_frame(thread, &stopped, faulted)?;
        let returned = thread.call.is_some()
            && thread
                .pending
                .is_some_and(|pending| pending.kind == Kind::Syscall && pending.pc != saved_rip);
        let tid = thread.tid;
        let retired = self.retired(thread, stopped);
        if returned {
            // The call will not be made again: it has returned, with EINTR.
            thread.announced = Some(signal);
            return Ok(retired);
        }
        Ok(Happened::Stepped(tid, Stepped::Handler { signal }))
    }
}

/// Lets a stepping thread go on with what it is at.
fn go_on(thread: &mut Thread, stopped: Stopped) -> Result<(), BackendError> {
    if thread.call.is_none()
        && let Some(pending) = &mut thread.pending
    {
        let mask = stopped.signal_mask()?;
        if mask & TRAP_BIT != 0 {
            stopped.set_signal_mask(mask & !TRAP_BIT)?;
            pending.hidden = true;
        }
    }
    Ok(stopped.resume(thread.how(), 0)?)
}

/// Puts `SIGTRAP` back into the signal mask.
fn unhide(thread: &mut Thread, stopped: &Stopped) -> Result<(), BackendError> {
    if let Some(pending) = &mut thread.pending
        && std::mem::take(&mut pending.hidden)
    {
        stopped.set_signal_mask(stopped.signal_mask()? | TRAP_BIT)?;
    }
    Ok(())
}

/// Stepping on from a `popf` that has cleared the trap flag, the kernel would take the trap flag of our step for the program's own.
/// Resuming without a step forgets it; the interrupt asked for before makes that resumption end before any instruction. `Err`: something
/// else has come first.
fn forget_step(stopped: Stopped) -> Result<Result<Stopped, Stopped>, BackendError> {
    let tid = stopped.tid();
    interrupt(tid)?;
    stopped.resume(Resume::Continue, 0)?;
    match crate::ptrace::wait_for(tid)? {
        crate::ptrace::Waited::Stopped(stopped) if stopped.stop() == Stop::Interrupted => {
            Ok(Ok(stopped))
        }
        crate::ptrace::Waited::Stopped(stopped) => Ok(Err(stopped)),
        _ => Err(crate::Error::Gone { tid }.into()),
    }
}

fn is_ignored_by_default(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGCHLD | libc::SIGCONT | libc::SIGURG | libc::SIGWINCH
    )
}
