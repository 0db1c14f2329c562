//! The slow path: one instruction in the guest's own state, at its own address, by a native single step.

use fits_stats::protocol::Step;
use fits_tracer::ptrace::{Registers, Resume, Stop, Stopped, Waited, XState, interrupt, wait_for};
use fits_tracer::step::{Decoded, Kind, Pending, View};
use std::rc::Rc;

use super::error::{Result, RuntimeError};
use super::guest::{Halted, NO_CALL, TRAP_FLAG};
use super::masks::{SEGV_BIT, unblock_forced};
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};
use crate::mode::Mode;

impl Supervisor<'_> {
    /// Executes the instruction at `guest.rip`.
    pub(super) fn slow(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
        mut guest: Registers,
    ) -> Result<Halted> {
        guest.orig_rax = NO_CALL;
        let bytes = self.code.instruction(guest.rip);
        let Some(decoded) = self.decode.decode(guest.rip, &bytes) else {
            // What can't be fetched faults.
            return self.step(thread, stopped, guest, None);
        };
        if let Some(after) = self.virtual_read(thread, &decoded, &guest) {
            let step = self.pending(&stopped, &decoded, &guest)?;
            let step = self.finish(&stopped, step, &after)?;
            self.retired(thread, step, decoded.facts.ends_block)?;
            return Ok(Some((stopped, after)));
        }
        if decoded.kind == Kind::LoadStackSegment {
            return Err(RuntimeError::Unsupported {
                what: "loading the stack segment".to_owned(),
                pc: guest.rip,
            });
        }
        self.step(thread, stopped, guest, Some(&decoded))
    }

    fn step(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        guest: Registers,
        decoded: Option<&Rc<Decoded>>,
    ) -> Result<Halted> {
        let mut guest = guest;
        let steps = guest.eflags & TRAP_FLAG != 0;
        let pending = match decoded {
            Some(decoded) => Some(self.pending(&stopped, decoded, &guest)?),
            None => None,
        };
        stopped.set_registers(&guest)?;
        thread.doing = Doing::Native;
        // A fault that the program has blocked ends it, handler or not: the kernel sees to that.
        let faults_end = thread.blocked & SEGV_BIT != 0 && !self.code.has_protected();
        if faults_end {
            stopped.set_signal_mask(stopped.signal_mask()? | SEGV_BIT)?;
        }
        loop {
            stopped = match stopped.step(0)? {
                Waited::Stopped(stopped) => stopped,
                ended => return self.put_back(ended),
            };
            match stopped.stop() {
                Stop::Trap => {}
                Stop::Signal(_) => {
                    let info = stopped.siginfo()?;
                    if info.code() > 0 && self.code.is_protected(info.address()) {
                        stopped.swallow();
                        self.unprotect(&mut stopped, info.address())?;
                        continue;
                    }
                    if self.keep_back(thread, &info) {
                        stopped.swallow();
                        continue;
                    }
                    let guest = stopped.registers()?;
                    self.deliver(thread, stopped, guest, info)?;
                    return Ok(None);
                }
                _ => return self.put_back(Waited::Stopped(stopped)),
            }
            let repeats = decoded.is_some_and(|decoded| decoded.kind == Kind::Repeat);
            let after = stopped.registers()?;
            if repeats && after.rip == guest.rip {
                continue;
            }
            guest = after;
            break;
        }
        if faults_end {
            unblock_forced(&stopped)?;
        }
        guest.orig_rax = NO_CALL;
        thread.gs_base = guest.gs_base;
        let (Some(pending), Some(decoded)) = (pending, decoded) else {
            return Ok(Some((stopped, guest)));
        };
        if decoded.kind == Kind::PushFlags && !steps {
            self.hide_trap_flag(guest.rsp)?;
        }
        let step = self.finish(&stopped, pending, &guest)?;
        self.retired(thread, step, decoded.facts.ends_block)?;
        let trapped = decoded.kind == Kind::Breakpoint || steps;
        let info = if trapped {
            Some(stopped.siginfo()?)
        } else {
            None
        };
        if decoded.kind == Kind::PopFlags && guest.eflags & TRAP_FLAG == 0 {
            stopped = match forget_step(stopped)? {
                Waited::Stopped(stopped) if stopped.stop() == Stop::Interrupted => stopped,
                other => {
                    thread.held.extend(info);
                    return self.put_back(other);
                }
            };
        }
        if let Some(info) = info {
            self.deliver(thread, stopped, guest, info)?;
            return Ok(None);
        }
        Ok(Some((stopped, guest)))
    }

    /// Leaves something to the main loop.
    pub(super) fn put_back(&mut self, waited: Waited) -> Result<Halted> {
        self.queue.push_front(waited);
        Ok(None)
    }

    fn hide_trap_flag(&self, rsp: u64) -> Result<()> {
        let flags = self.code.memory.read_u64(rsp)? & !TRAP_FLAG;
        Ok(self.code.memory.write(rsp, &flags.to_le_bytes())?)
    }

    fn pending(
        &self,
        stopped: &Stopped,
        decoded: &Rc<Decoded>,
        guest: &Registers,
    ) -> Result<Pending> {
        let level = self.mode.level();
        let xstate = self.extended(stopped, decoded.extended_before())?;
        let view = View {
            registers: guest,
            xstate: xstate.as_ref(),
        };
        let mut pending = Pending::begin(Rc::clone(decoded), level, view);
        for value in pending.memory_before().collect::<Vec<_>>() {
            let mut bytes = vec![0; value.bytes];
            if self.code.memory.read(value.address, &mut bytes).is_ok() {
                pending.set(value, &bytes);
            }
        }
        Ok(pending)
    }

    fn finish(&self, stopped: &Stopped, mut pending: Pending, after: &Registers) -> Result<Step> {
        for value in pending.memory_after().collect::<Vec<_>>() {
            let mut bytes = vec![0; value.bytes];
            if self.code.memory.read(value.address, &mut bytes).is_ok() {
                pending.set(value, &bytes);
            }
        }
        let xstate = self.extended(stopped, pending.decoded().extended_after())?;
        let view = View {
            registers: after,
            xstate: xstate.as_ref(),
        };
        Ok(pending.finish(view))
    }

    fn extended(&self, stopped: &Stopped, wanted: bool) -> Result<Option<XState>> {
        if wanted && self.mode == Mode::Full {
            return Ok(Some(stopped.xstate()?));
        }
        Ok(None)
    }
}

/// Stepping on from a `popf` that has cleared the trap flag, the kernel would take the trap flag of our step for the program's own.
/// Resuming without a step forgets it; the interrupt asked for before makes that resumption end before any instruction.
fn forget_step(stopped: Stopped) -> Result<Waited> {
    let tid = stopped.tid();
    interrupt(tid)?;
    stopped.resume(Resume::Continue, 0)?;
    Ok(wait_for(tid)?)
}
