//! What the guard rails do: system calls that the filter asks about, and reads of the time-stamp counter. The answers are those of the golden
//! backends ([`crate::backend::Backend`], points 1 and 8).

use super::Live;
use super::filter::MARK;
use super::numbers::Place;
use super::state::{NO_CALL, RESUME_FLAG};
use super::thread::{Call, Thread};
use crate::backend::BackendError;
use crate::ptrace::{Registers, Resume, Stop, Stopped};
use crate::step::{Kind, virtual_read};

/// `si_code` of a signal that the kernel raised for a general-protection fault.
const SI_KERNEL: i32 = 0x80;

const TSC_ENABLE: u64 = 1;
const TSC_SIGSEGV: u64 = 2;

impl Live {
    /// A thread is about to make a call that the filter asks about.
    pub(super) fn on_guarded_call(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        if stopped.event_message()? != u64::from(MARK) {
            refuse(&stopped, registers, UNASKED)?;
            return Ok(stopped.resume(thread.how(), 0)?);
        }
        let call = Call::from(&registers, registers.orig_rax);
        if let Some(answer) = self.answer(thread, &call) {
            refuse(&stopped, registers, answer)?;
            return Ok(stopped.resume(thread.how(), 0)?);
        }
        match call.number.cast_signed() {
            libc::SYS_clone | libc::SYS_clone3 | libc::SYS_fork | libc::SYS_vfork => {
                self.pids.prepare_clone();
            }
            libc::SYS_rt_sigprocmask => self.note_mask(thread, &call),
            libc::SYS_rt_sigreturn => {
                self.note_return(thread, &registers);
                if self.breakpoints.code.is_some() {
                    thread.call = Some(call);
                }
            }
            libc::SYS_rt_sigaction => self.forced.note_action(&self.memory, &call),
            // Its result will have to be corrected.
            _ => {
                thread.call = Some(Call {
                    entered: true,
                    ..call
                });
            }
        }
        Ok(stopped.resume(thread.how(), 0)?)
    }

    /// The answer to a call that is not executed.
    fn answer(&mut self, thread: &mut Thread, call: &Call) -> Option<i64> {
        match call.number.cast_signed() {
            libc::SYS_rseq => Some(-i64::from(libc::ENOSYS)),
            libc::SYS_prctl => Some(self.answer_tsc(thread, call)),
            _ => None,
        }
    }

    /// `PR_GET_TSC` and `PR_SET_TSC`: ours is not the program's.
    fn answer_tsc(&mut self, thread: &mut Thread, call: &Call) -> i64 {
        let mode = call.args[1];
        if call.args[0] == libc::PR_GET_TSC as u64 {
            return self.tell_tsc(mode, thread.tsc_mode);
        }
        if mode != TSC_ENABLE && mode != TSC_SIGSEGV {
            return -i64::from(libc::EINVAL);
        }
        thread.tsc_mode = mode as u32;
        0
    }

    fn tell_tsc(&self, place: u64, mode: u32) -> i64 {
        match self.memory.write(place, &mode.to_le_bytes()) {
            Ok(()) => 0,
            Err(_) => -i64::from(libc::EFAULT),
        }
    }

    /// A call whose exit was waited for has returned: its result is made to look like that of a controlled run.
    pub(super) fn after_call(
        &mut self,
        thread: &mut Thread,
        result: i64,
    ) -> Result<(), BackendError> {
        let Some(call) = thread.call.take() else {
            return Ok(());
        };
        if !self.environment.is_controlled() || result < 0 {
            return Ok(());
        }
        match call.number.cast_signed() {
            libc::SYS_getrandom => {
                let mut bytes = vec![0; result as usize];
                self.random.fill(&mut bytes);
                self.memory.write(call.args[0], &bytes)?;
            }
            libc::SYS_getcpu => {
                for &place in call.args[..2].iter().filter(|&&place| place != 0) {
                    self.memory.write(place, &[0; 4])?;
                }
            }
            libc::SYS_sched_setaffinity => thread.own_affinity = true,
            libc::SYS_sched_getaffinity
                if !thread.own_affinity && self.is_ours(thread, call.args[0]) =>
            {
                // The program sees the CPUs that it may use without us, not the one that we put it on.
                if let Some(mask) = self.cpus.visible_mask(result as usize) {
                    self.memory.write(call.args[2], &mask)?;
                }
            }
            _ => self.tell_known_number(&call)?,
        }
        Ok(())
    }

    /// A file that the program knows has the number that it was told.
    fn tell_known_number(&self, call: &Call) -> Result<(), BackendError> {
        let place = Place::of(call.number, call.args);
        if let Some(place) = place.filter(|_| !self.numbers.is_empty()) {
            let here = place.read(&self.memory)?;
            place.write(&self.memory, self.numbers.told(here))?;
        }
        Ok(())
    }

    fn is_ours(&self, thread: &Thread, number: u64) -> bool {
        let tid = nix::unistd::Pid::from_raw(number as i32);
        // The thread that asks is not in the table meanwhile.
        number == 0 || tid == self.leader || tid == thread.tid || self.threads.contains_key(&tid)
    }

    /// The registers behind the `rdtsc` or `rdtscp` that this signal stop is about; none if it is about something else.
    pub(super) fn time_read(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
    ) -> Result<Option<Registers>, BackendError> {
        if stopped.stop() != Stop::Signal(libc::SIGSEGV)
            || !self.environment.is_controlled()
            || stopped.siginfo()?.code() != SI_KERNEL
        {
            return Ok(None);
        }
        let registers = stopped.registers()?;
        let Some(decoded) = self.decoded(registers.rip)? else {
            return Ok(None);
        };
        if !matches!(decoded.kind, Kind::Rdtsc | Kind::Rdtscp) {
            return Ok(None);
        }
        let after = virtual_read(&decoded, &registers, true, &mut thread.tsc);
        Ok(after.map(|mut after| {
            // A breakpoint at the next instruction must be seen.
            after.eflags &= !RESUME_FLAG;
            after
        }))
    }

    /// The same for a child: it reads the real counter.
    pub(super) fn real_time_read(
        &self,
        stopped: &Stopped,
    ) -> Result<Option<Registers>, BackendError> {
        if !self.environment.is_controlled() || stopped.siginfo()?.code() != SI_KERNEL {
            return Ok(None);
        }
        let mut after = stopped.registers()?;
        let mut bytes = [0; 3];
        let memory = crate::ptrace::Memory::open(stopped.tid())?;
        let read = memory.read_some(after.rip, &mut bytes)?;
        let (length, with_processor) = match bytes {
            [0x0f, 0x31, _] if read >= 2 => (2, false),
            [0x0f, 0x01, 0xf9] if read == 3 => (3, true),
            _ => return Ok(None),
        };
        let (value, processor) = crate::process::time_stamp();
        after.rax = value & 0xffff_ffff;
        after.rdx = value >> 32;
        if with_processor {
            after.rcx = u64::from(processor);
        }
        after.rip += length;
        Ok(Some(after))
    }

    /// A call of a child, whose answers are the real ones.
    pub(super) fn on_child_call(&self, stopped: Stopped) -> Result<(), BackendError> {
        let registers = stopped.registers()?;
        let call = Call::from(&registers, registers.orig_rax);
        if stopped.event_message()? != u64::from(MARK) {
            refuse(&stopped, registers, UNASKED)?;
        } else if call.is(libc::SYS_prctl) {
            // The counter can be read in a child, for all that it can tell.
            let tells = call.args[0] == libc::PR_GET_TSC as u64;
            let mode = (TSC_ENABLE as u32).to_le_bytes();
            let told = !tells
                || crate::ptrace::Memory::open(stopped.tid())?
                    .write(call.args[1], &mode)
                    .is_ok();
            let answer = if told { 0 } else { -i64::from(libc::EFAULT) };
            refuse(&stopped, registers, answer)?;
        }
        Ok(stopped.resume(Resume::Continue, 0)?)
    }
}

/// What the kernel answers when a filter of the program's own asks a tracer that is not there.
const UNASKED: i64 = -(libc::ENOSYS as i64);

/// Lets a call not happen: this is its answer.
fn refuse(stopped: &Stopped, mut registers: Registers, answer: i64) -> Result<(), BackendError> {
    registers.orig_rax = NO_CALL;
    registers.rax = answer.cast_unsigned();
    Ok(stopped.set_registers(&registers)?)
}
