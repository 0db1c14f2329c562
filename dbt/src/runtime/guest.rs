//! From the registers of the machine to those of the guest.

use fits_tracer::ptrace::{Registers, Stopped, general};

use super::thread::Thread;
use crate::unit::{Moved, Place};

/// A thread that is stopped, and its guest state; none if it was resumed, or has ended, or what has become of it is in the queue.
pub(super) type Halted = Option<(Stopped, Registers)>;

pub(super) const RCX: u8 = 1;
pub(super) const R15: u8 = 15;

/// The trap flag in rflags.
pub(super) const TRAP_FLAG: u64 = 1 << 8;

/// No system call is under way.
pub(super) const NO_CALL: u64 = u64::MAX;

/// The guest's registers, from the machine's and the list of those that are elsewhere; rip is `pc`.
pub(super) fn state(thread: &Thread, host: &Registers, moved: &[Moved], pc: u64) -> Registers {
    let mut machine = *host;
    let mut guest = *host;
    for one in moved {
        let value = match one.to {
            Place::Home => thread.area.home(one.register),
            Place::Host(number) => *general(&mut machine, number),
        };
        *general(&mut guest, one.register) = value;
    }
    guest.rip = pc;
    guest.gs_base = thread.gs_base;
    guest.orig_rax = NO_CALL;
    guest
}
