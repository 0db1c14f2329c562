//! From the registers of the machine to those of the guest.

use fits_tracer::ptrace::{Registers, Stopped};

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

/// General register number `register`, in encoding order.
pub(super) fn register(registers: &mut Registers, register: u8) -> &mut u64 {
    match register {
        0 => &mut registers.rax,
        1 => &mut registers.rcx,
        2 => &mut registers.rdx,
        3 => &mut registers.rbx,
        4 => &mut registers.rsp,
        5 => &mut registers.rbp,
        6 => &mut registers.rsi,
        7 => &mut registers.rdi,
        8 => &mut registers.r8,
        9 => &mut registers.r9,
        10 => &mut registers.r10,
        11 => &mut registers.r11,
        12 => &mut registers.r12,
        13 => &mut registers.r13,
        14 => &mut registers.r14,
        _ => &mut registers.r15,
    }
}

/// The guest's registers, from the machine's and the list of those that are elsewhere; rip is `pc`.
pub(super) fn state(thread: &Thread, host: &Registers, moved: &[Moved], pc: u64) -> Registers {
    let mut machine = *host;
    let mut guest = *host;
    for one in moved {
        let value = match one.to {
            Place::Home => thread.area.home(one.register),
            Place::Host(number) => *register(&mut machine, number),
        };
        *register(&mut guest, one.register) = value;
    }
    guest.rip = pc;
    guest.gs_base = thread.gs_base;
    guest.orig_rax = NO_CALL;
    guest
}
