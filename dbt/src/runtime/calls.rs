//! System calls: executed natively, by the guest's own `syscall` instruction in the guest's own state, with a single step. So
//! everything that the kernel derives from that state (restarting, signal frames, new threads) is as it is natively; and the
//! supervisor does not wait for a call to return.

use fits_tracer::engine::Moment;
use fits_tracer::ptrace::{Registers, Stop, Stopped};
use fits_tracer::step::Kind;

use super::error::Result;
use super::guest::{Halted, NO_CALL, TRAP_FLAG};
use super::supervisor::Supervisor;
use super::thread::{Call, Doing, Thread};

/// Length of `syscall`.
const LENGTH: u64 = 2;

/// What the kernel leaves in rax while an interrupted call may still be restarted (`ERESTARTSYS` and its kin).
pub(super) const RESTART: std::ops::RangeInclusive<i64> = -516..=-512;

impl Supervisor<'_> {
    /// The thread is at a `syscall` instruction.
    pub(super) fn call(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        mut guest: Registers,
    ) -> Result<Halted> {
        let moment = Moment {
            thread: thread.number,
            index: thread.budget.retired,
        };
        let number = guest.rax & 0xffff_ffff;
        self.search.calls(moment, guest.rip, number);
        let call = Call {
            pc: guest.rip,
            number,
            args: [
                guest.rdi, guest.rsi, guest.rdx, guest.r10, guest.r8, guest.r9,
            ],
            mask: 0,
            again: false,
        };
        let call = Call {
            mask: self.named_mask(&call),
            ..call
        };
        if let Some(answer) = self.answer(thread, &guest)? {
            guest.rip = self.after(&call);
            guest.rcx = guest.rip;
            guest.r11 = guest.eflags;
            guest.rax = answer as u64;
            self.called(thread, call.pc, call.number, answer)?;
            self.account_for(&call, answer);
            return Ok(Some((stopped, guest)));
        }
        self.make_way(&mut stopped, &call)?;
        self.before_call(thread, &mut stopped, &call)?;
        if !self.hidden.is_empty() {
            self.before_reading(&call);
        }
        guest.orig_rax = NO_CALL;
        guest.gs_base = thread.gs_base;
        stopped.set_registers(&guest)?;
        thread.doing = Doing::Call(call);
        self.send_again(thread)?;
        stopped.resume(call.how(), 0)?;
        Ok(None)
    }

    /// Whether the instruction at `pc` is marked, and a system call.
    pub(super) fn is_marked_call(&mut self, pc: u64) -> bool {
        self.is_marked(pc) && {
            let bytes = self.code.instruction(pc);
            let decoded = self.decode.decode(pc, &bytes);
            decoded.is_some_and(|decoded| decoded.kind == Kind::Syscall)
        }
    }

    /// Address of the instruction after the call.
    fn after(&mut self, call: &Call) -> u64 {
        let bytes = self.code.instruction(call.pc);
        let length = self.decode.decode(call.pc, &bytes);
        call.pc + length.map_or(LENGTH, |decoded| decoded.bytes.len() as u64)
    }

    /// What must be done before a call runs.
    fn before_call(
        &mut self,
        thread: &mut Thread,
        stopped: &mut Stopped,
        call: &Call,
    ) -> Result<()> {
        match call.number as i64 {
            libc::SYS_exit | libc::SYS_exit_group => self.called(thread, call.pc, call.number, 0),
            libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3 => {
                self.before_birth(stopped, call)
            }
            _ if self.code.has_protected() => self.before_mapping(stopped, call),
            _ => Ok(()),
        }
    }

    /// A thread that executes a system call has stopped.
    pub(super) fn on_call_stop(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        call: Call,
    ) -> Result<()> {
        match stopped.stop() {
            Stop::Trap | Stop::SyscallExit => self.on_call_trap(thread, stopped, call),
            Stop::Signal(_) => self.on_call_signal(thread, stopped, call),
            _ => Ok(stopped.resume(call.how(), 0)?),
        }
    }

    fn on_call_trap(&mut self, thread: &mut Thread, stopped: Stopped, call: Call) -> Result<()> {
        let guest = stopped.registers()?;
        let restarts = RESTART.contains(&(guest.rax as i64)) && guest.orig_rax != NO_CALL;
        let sent = stopped.stop() == Stop::Trap && stopped.siginfo()?.code() <= 0;
        if sent && (restarts || guest.rip == call.pc) {
            return self.on_call_signal(thread, stopped, call);
        }
        if restarts {
            // The signal that interrupted it comes next, or the kernel restarts it.
            return Ok(stopped.resume(call.how(), 0)?);
        }
        if sent {
            // A `SIGTRAP` that came during the call, in which that of our step was lost: there is one of a kind.
            let info = self.siginfo(thread, &stopped)?;
            if !self.keep_back(thread, &info) {
                self.hold(thread, info);
            }
        }
        self.returned(thread, stopped, call, guest)
    }

    /// The call is over.
    fn returned(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        call: Call,
        mut guest: Registers,
    ) -> Result<()> {
        let result = guest.rax as i64;
        let is_sigreturn = call.number as i64 == libc::SYS_rt_sigreturn;
        if !is_sigreturn {
            guest.r11 &= !TRAP_FLAG;
            if result == -i64::from(libc::EFAULT) && self.code.has_protected() && !call.again {
                return self.call_again(thread, stopped, call, guest);
            }
        }
        guest.orig_rax = NO_CALL;
        thread.gs_base = guest.gs_base;
        // What `rt_sigreturn` leaves in rax is no result.
        let answer = if is_sigreturn { 0 } else { result };
        self.called(thread, call.pc, call.number, answer)?;
        self.account_for(&call, answer);
        self.after_mask(thread, &stopped, &call, result)?;
        if !is_sigreturn {
            self.after_mapping(&call, result);
            self.correct_answer(thread, &call, result)?;
            self.hide_ours(&mut stopped, &call, result)?;
        }
        self.proceed(thread, stopped, guest)
    }

    /// The kernel could not write to memory that we have write-protected: once more, without that.
    fn call_again(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        call: Call,
        mut guest: Registers,
    ) -> Result<()> {
        self.unprotect_all(&mut stopped)?;
        guest.rip = call.pc;
        guest.rax = call.number;
        guest.orig_rax = NO_CALL;
        stopped.set_registers(&guest)?;
        thread.doing = Doing::Call(Call {
            again: true,
            ..call
        });
        Ok(stopped.resume(call.how(), 0)?)
    }

    /// A signal has come before the call, or has interrupted it.
    fn on_call_signal(&mut self, thread: &mut Thread, stopped: Stopped, call: Call) -> Result<()> {
        let info = self.siginfo(thread, &stopped)?;
        let signal = info.signal();
        if self.keep_back(thread, &info) {
            return Ok(stopped.resume(call.how(), 0)?);
        }
        if !self.has_effect(thread, signal)? {
            return Ok(stopped.resume(call.how(), signal)?);
        }
        let mut guest = stopped.registers()?;
        guest.r11 &= !TRAP_FLAG;
        let interrupted = guest.rip != call.pc;
        let after = guest.rip;
        self.deliver_then(
            thread,
            stopped,
            guest,
            info,
            |supervisor, thread, saved_rip| {
                // The handler's return address tells whether the call is over or will be made again.
                if interrupted && saved_rip == Some(after) {
                    let interrupted = -i64::from(libc::EINTR);
                    supervisor.called(thread, call.pc, call.number, interrupted)?;
                }
                Ok(())
            },
        )
    }
}
