//! Running a thread on to the next boundary of its unit, where its guest state is precise.

use std::mem::offset_of;

use fits_tracer::ptrace::{Registers, Resume, SigInfo, Stop, Stopped, Waited, general, wait_for};

use super::error::Result;
use super::guest::{Halted, R15, state};
use super::signals::is_fault;
use super::supervisor::Supervisor;
use super::thread::Thread;
use crate::cache::Place;
use crate::unit::{Moved, Place as Where};

const DEBUG0: usize = offset_of!(libc::user, u_debugreg);
const DEBUG7: usize = DEBUG0 + 7 * 8;

/// `si_code` of an `int3`.
const SI_KERNEL: i32 = 0x80;

/// Local breakpoint 0, on execution.
const ENABLE: u64 = 1;

impl Supervisor<'_> {
    /// Runs a thread that is in the cache on to a boundary. Signals on the way are held.
    pub(super) fn run_to_boundary(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
    ) -> Result<Halted> {
        // A thread that stands behind a trap has just executed it.
        let trapped = stopped.stop() == Stop::Trap && self.stopped_at_trap(&stopped)?;
        let mut from = trapped.then_some(stopped.registers()?.rip.wrapping_sub(1));
        loop {
            let host = stopped.registers()?;
            if let Some(guest) = self.at_entry(thread, &host)? {
                return Ok(Some((stopped, guest)));
            }
            let trap = host.rip.wrapping_sub(1);
            if from == Some(trap)
                && let Some(left) = self.trap_at(trap)
            {
                let guest = self.guest_behind(thread, &stopped, left)?;
                return Ok(Some((stopped, guest)));
            }
            from = Some(host.rip);
            stopped = match self.step_host(stopped, &host)? {
                Waited::Stopped(stopped) => stopped,
                ended => {
                    self.queue.push_front(ended);
                    return Ok(None);
                }
            };
            match stopped.stop() {
                Stop::Trap | Stop::Interrupted => {}
                Stop::Signal(_) => {
                    let info = stopped.siginfo()?;
                    if is_fault(&info) {
                        match self.behind_fault(thread, &mut stopped, &info)? {
                            Some(guest) => return Ok(Some((stopped, guest))),
                            None => continue,
                        }
                    }
                    stopped.swallow();
                    self.hold(thread, info);
                }
                _ => {
                    self.queue.push_front(Waited::Stopped(stopped));
                    return Ok(None);
                }
            }
        }
    }

    /// After a fault in translated code, which is not delivered: the guest's state before the instruction; none where only a chunk was full, and the
    /// unit goes on.
    pub(super) fn behind_fault(
        &mut self,
        thread: &mut Thread,
        stopped: &mut Stopped,
        info: &SigInfo,
    ) -> Result<Option<Registers>> {
        let host = stopped.registers()?;
        stopped.swallow();
        if !self.spent(thread, info) && self.next_chunk(thread, stopped, host, info)? {
            return Ok(None);
        }
        self.precise(thread, &host).map(Some)
    }

    fn stopped_at_trap(&self, stopped: &Stopped) -> Result<bool> {
        let info = stopped.siginfo()?;
        Ok(info.signal() == libc::SIGTRAP && info.code() == SI_KERNEL)
    }

    pub(super) fn hold(&self, thread: &mut Thread, info: SigInfo) {
        thread.held.push_back(info);
    }

    /// The guest state of a thread that is at the entry of a unit.
    fn at_entry(&mut self, thread: &mut Thread, host: &Registers) -> Result<Option<Registers>> {
        let Some(Place::Unit { id, offset }) = self.cache.at(host.rip) else {
            return Ok(None);
        };
        let Some(unit) = self.cache.unit(id) else {
            return Ok(None);
        };
        let head = unit.head_at(offset).map(|number| unit.heads[number]);
        let (pc, cursor) = match (unit.warm_entry, head) {
            _ if offset == 0 => (unit.pc, R15),
            (Some(warm), _) if offset == warm.offset => (unit.pc, warm.cursor),
            (_, Some(head)) => (head.pc, head.cursor),
            _ => return Ok(None),
        };
        let (prefix, owed) = (unit.prefix, head.map_or(0, |head| head.owed));
        let displaced = self.mode.takes_r15().then_some(Moved {
            register: cursor,
            to: Where::Home,
        });
        thread.prefix = prefix;
        self.leave_rows(thread, *general(&mut host.clone(), cursor))?;
        thread.budget.retired += u64::from(owed);
        Ok(Some(state(thread, host, displaced.as_slice(), pc)))
    }

    /// One instruction of translated code; all iterations of a repeated one.
    fn step_host(&self, stopped: Stopped, host: &Registers) -> Result<Waited> {
        let code = self.cache.code(host.rip, 15).unwrap_or_default();
        let Some(length) = repeated(code) else {
            return Ok(stopped.step(0)?);
        };
        stopped.set_user_word(DEBUG0, host.rip + length)?;
        if stopped.set_user_word(DEBUG7, ENABLE).is_err() {
            return Ok(stopped.step(0)?);
        }
        let tid = stopped.tid();
        stopped.resume(Resume::Continue, 0)?;
        let waited = wait_for(tid)?;
        if let Waited::Stopped(stopped) = &waited {
            stopped.set_user_word(DEBUG7, 0)?;
        }
        Ok(waited)
    }
}

/// The length of a repeated string instruction at the beginning of `code`.
fn repeated(code: &[u8]) -> Option<u64> {
    let is_prefix = |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf2 | 0xf3);
    let prefixes = code.iter().take_while(|byte| is_prefix(byte)).count();
    let repeats = code[..prefixes]
        .iter()
        .any(|byte| matches!(byte, 0xf2 | 0xf3));
    let string = matches!(code.get(prefixes), Some(0xa4..=0xa7 | 0xaa..=0xaf));
    (repeats && string).then_some(prefixes as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::repeated;

    #[test]
    fn only_repeated_strings_are_run_through() {
        assert_eq!(repeated(&[0xf3, 0x48, 0xa5, 0x90]), Some(3));
        assert_eq!(repeated(&[0xf2, 0xae]), Some(2));
        assert_eq!(repeated(&[0x48, 0xa5]), None);
        assert_eq!(repeated(&[0xf3, 0x0f, 0x6f, 0x00]), None);
        assert_eq!(repeated(&[]), None);
    }
}
