//! System calls: run from their entry stop to their exit stop, never single-stepped (so that neither the trap flag nor the step's
//! `SIGTRAP` is seen by program or kernel while it is at it).

use fits_stats::protocol::Message;

use super::session::Session;
use super::signals::TRAP_BIT;
use super::stepping::{Retired, TRAP_FLAG};
use super::thread::{Call, Phase, Thread};
use crate::backend::BackendError;
use crate::ptrace::{Registers, Resume, Stopped};

/// `restart_syscall`: the kernel goes on with an interrupted call.
const RESTART: i64 = libc::SYS_restart_syscall;

impl Session<'_> {
    pub(super) fn on_entry(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        let number = registers.orig_rax;
        let call = thread.call.get_or_insert(Call::ENTERING);
        let continued = call.phase == Phase::Interrupted && number == RESTART.cast_unsigned();
        if !continued {
            let Registers {
                rdi,
                rsi,
                rdx,
                r10,
                r8,
                r9,
                ..
            } = registers;
            call.number = number;
            call.args = [rdi, rsi, rdx, r10, r8, r9];
        }
        call.phase = Phase::Inside;
        let mut call = *call;
        match call.number.cast_signed() {
            libc::SYS_clone => call.detail = call.args[0],
            libc::SYS_clone3 => call.detail = thread.memory.read_u64(call.args[0]).unwrap_or(0),
            libc::SYS_rt_sigprocmask if call.args[1] != 0 => {
                call.detail = thread.memory.read_u64(call.args[1]).unwrap_or(0);
            }
            _ => {}
        }
        if makes_child(&call) && self.options.environment.is_controlled() {
            self.pids.prepare_clone();
        }
        thread.call = Some(call);
        Ok(stopped.resume(Resume::Syscall, 0)?)
    }

    pub(super) fn on_exit(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        let Some(mut call) = thread.call else {
            return self.advance(thread, stopped, registers, None);
        };
        let result = registers.rax.cast_signed();
        if will_restart(&call, result) {
            call.phase = Phase::Interrupted;
            thread.call = Some(call);
            return Ok(stopped.resume(Resume::Syscall, 0)?);
        }
        thread.call = None;
        let returned = !call.is(libc::SYS_rt_sigreturn);
        let error = returned && (-4095..0).contains(&result);
        self.after_call(thread, &stopped, &call, result)?;
        let retired = thread.pending.take().map(|pending| Retired {
            pending,
            call: Some((call.number, if returned { result } else { 0 })),
        });
        if !error && (call.is(libc::SYS_execve) || call.is(libc::SYS_execveat)) {
            self.report(thread, &stopped, &registers, retired)?;
            return self.on_executed(thread, stopped);
        }
        self.advance(thread, stopped, registers, retired)
    }

    /// A call that was single-stepped after all: a handler that was there a moment ago was not there any more.
    pub(super) fn on_stepped_call(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        mut registers: Registers,
    ) -> Result<(), BackendError> {
        registers.r11 &= !TRAP_FLAG;
        stopped.set_registers(&registers)?;
        self.on_exit(thread, stopped)
    }

    /// What a call's result must be made to look like, and what follows from it for us.
    fn after_call(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        call: &Call,
        result: i64,
    ) -> Result<(), BackendError> {
        match call.number.cast_signed() {
            libc::SYS_rt_sigprocmask if result == 0 => self.after_mask(thread, stopped, call)?,
            libc::SYS_rt_sigreturn => {
                thread.trap_blocked = unblock_trap(stopped)?;
                self.let_trap_come(thread)?;
            }
            libc::SYS_rt_sigpending if result == 0 && thread.trap_waiting.is_some() => {
                let place = call.args[0];
                let mask = thread.memory.read_u64(place)? | TRAP_BIT;
                thread.memory.write(place, &mask.to_le_bytes())?;
            }
            libc::SYS_sched_getaffinity if result > 0 => {
                self.show_affinity(thread, call, result as usize)?;
            }
            libc::SYS_sched_setaffinity if result == 0 => thread.own_affinity = true,
            libc::SYS_getcpu if result == 0 && self.options.environment.is_controlled() => {
                for &place in call.args[..2].iter().filter(|&&place| place != 0) {
                    thread.memory.write(place, &[0; 4])?;
                }
            }
            libc::SYS_getrandom if result > 0 && self.options.environment.is_controlled() => {
                let mut bytes = vec![0; result as usize];
                self.random.fill(&mut bytes);
                thread.memory.write(call.args[0], &bytes)?;
            }
            libc::SYS_mmap | libc::SYS_mprotect | libc::SYS_pkey_mprotect
                if result >= 0 && call.args[2] & libc::PROT_EXEC as u64 != 0 =>
            {
                self.flush(thread)?;
                self.send_mappings(thread.tid)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn after_mask(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        call: &Call,
    ) -> Result<(), BackendError> {
        let before = thread.trap_blocked;
        let [how, set, old, ..] = call.args;
        if set != 0 {
            unblock_trap(stopped)?;
            let named = call.detail & TRAP_BIT != 0;
            thread.trap_blocked = match how as i32 {
                libc::SIG_BLOCK => before || named,
                libc::SIG_UNBLOCK => before && !named,
                _ => named,
            };
        }
        if old != 0 && before {
            let mask = thread.memory.read_u64(old)? | TRAP_BIT;
            thread.memory.write(old, &mask.to_le_bytes())?;
        }
        self.let_trap_come(thread)
    }

    /// The program sees the CPUs that it may use without us, not the one that we put it on.
    fn show_affinity(
        &mut self,
        thread: &Thread,
        call: &Call,
        length: usize,
    ) -> Result<(), BackendError> {
        let [pid, _, place, ..] = call.args;
        let ours = pid == 0 || self.is_ours(pid);
        if ours
            && !thread.own_affinity
            && self.options.environment.is_controlled()
            && let Some(mask) = self.options.cpus.visible_mask(length)
        {
            thread.memory.write(place, &mask)?;
        }
        Ok(())
    }

    fn is_ours(&self, pid: u64) -> bool {
        let pid = nix::unistd::Pid::from_raw(pid as i32);
        self.root == pid || self.threads.contains_key(&pid)
    }

    /// `execve` is done: the thread is at the first instruction of the new program.
    fn on_executed(&mut self, thread: &mut Thread, stopped: Stopped) -> Result<(), BackendError> {
        self.flush(thread)?;
        self.flush_others()?;
        self.options.environment.apply(&stopped)?;
        thread.memory = std::rc::Rc::new(crate::ptrace::Memory::open(thread.tid)?);
        self.cache.clear();
        let registers = stopped.registers()?;
        if registers.cs != 0x33 {
            return Err(BackendError::Unsupported {
                what: "execve of a 32-bit program".to_owned(),
                pc: registers.rip,
                backend: "ptrace",
            });
        }
        self.send(Message::Exec)?;
        self.send_mappings(thread.tid)?;
        self.advance(thread, stopped, registers, None)
    }
}

/// Whether the kernel has left the call for a signal: `ERESTARTSYS`, `ERESTARTNOINTR`, `ERESTARTNOHAND`, `ERESTART_RESTARTBLOCK`.
fn will_restart(call: &Call, result: i64) -> bool {
    !call.is(libc::SYS_rt_sigreturn) && matches!(result, -514..=-512 | -516)
}

pub(super) fn makes_child(call: &Call) -> bool {
    [
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_fork,
        libc::SYS_vfork,
    ]
    .iter()
    .any(|&number| call.is(number))
}

/// Takes `SIGTRAP` out of the signal mask; whether it was in it.
pub(super) fn unblock_trap(stopped: &Stopped) -> Result<bool, BackendError> {
    let mask = stopped.signal_mask()?;
    let blocked = mask & TRAP_BIT != 0;
    if blocked {
        stopped.set_signal_mask(mask & !TRAP_BIT)?;
    }
    Ok(blocked)
}
