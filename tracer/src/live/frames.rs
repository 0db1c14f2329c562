//! Signal frames: what steps and breakpoints of ours would leave in them.
//!
//! A frame tells which exception the thread had last, be it long ago. Steps and breakpoints are exceptions too, so the thread's own last one is kept
//! here, and put into frames of signals that no exception caused. (While the process runs natively without breakpoints that is not done: there a read of
//! the time-stamp counter can be seen in a later frame, as a general-protection fault.)

use super::Live;
use super::thread::Thread;
use crate::backend::BackendError;
use crate::ptrace::Stopped;

/// Offsets from rsp at a handler's entry: return address, then `struct ucontext` with its registers.
const REGISTERS: u64 = 8 + 40;
const RIP: u64 = REGISTERS + 16 * 8;
const ERROR: u64 = REGISTERS + 19 * 8;

/// Error code and number of an exception, as they lie in a frame.
pub(super) type Exception = [u8; 16];

impl Live {
    /// The thread is at the first instruction of a handler: sees to its frame. The rip to which the handler will return.
    pub(super) fn on_frame(
        &mut self,
        thread: &mut Thread,
        stopped: &Stopped,
        faulted: bool,
    ) -> Result<u64, BackendError> {
        let rsp = stopped.registers()?.rsp;
        let exception = rsp.wrapping_add(ERROR);
        if faulted {
            self.memory.read(exception, &mut thread.exception)?;
        } else {
            self.memory.write(exception, &thread.exception)?;
        }
        Ok(self.memory.read_u64(rsp.wrapping_add(RIP))?)
    }
}
