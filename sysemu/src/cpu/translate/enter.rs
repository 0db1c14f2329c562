//! Entering translated code, and what it calls: the one place where the two worlds meet.

use crate::cpu::op::Op;
use crate::cpu::state::{Cpu, RIP};

/// What translated code and the loop tell each other.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    /// Instructions that may still begin; each block takes its own off at its head.
    pub(super) budget: i64,
    /// What [`Cpu::retired`] is when the budget is used up.
    pub(super) target: u64,
    /// One more than the number of the link through which the code was left; 0 where it was none.
    pub(super) link: u64,
}

impl Exchange {
    /// The link through which the code was left, which is then forgotten.
    pub(super) fn take_link(&mut self) -> u64 {
        std::mem::take(&mut self.link)
    }
}

/// An instruction that translated code leaves to the interpreter, always or where its memory access needs more than the translation cache.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Site {
    pub(super) op: Op,
    /// Its address.
    pub(super) rip: u64,
    /// How many instructions of its block, itself included, had not begun.
    pub(super) left: u64,
}

/// Executes the instruction of a site by the interpreter; 0 where the block can go on, else everything is as the loop wants it.
///
/// # Safety
/// To be called by translated code only, with the processor that it was entered with, and a site of its own.
unsafe extern "sysv64" fn execute(cpu: *mut Cpu, site: *const Site) -> u64 {
    // SAFETY: `enter` has the processor mutably borrowed and does not use it while the code runs; sites live as long as their translation,
    // and translations are only dropped between two entries.
    let (cpu, site) = unsafe { (&mut *cpu, &*site) };
    cpu.retired = cpu
        .exchange
        .target
        .wrapping_sub(cpu.exchange.budget as u64)
        .wrapping_sub(site.left);
    cpu.block_limit = 1;
    cpu.ctx.regs[RIP] = site.rip.wrapping_add(u64::from(site.op.len));
    match (site.op.run)(cpu, &site.op) {
        Ok(()) => {
            cpu.retired += 1;
            u64::from(cpu.block_limit == 0)
        }
        Err(trap) => {
            cpu.ctx.regs[RIP] = site.rip;
            cpu.block_limit = 0;
            cpu.raise(trap);
            1
        }
    }
}

/// The address of what gates call.
pub(super) fn execute_address() -> u64 {
    execute as *const () as u64
}

/// Runs translated code from `code` on, through the gate at `gate`, for at most `budget` instructions.
pub(super) fn enter(cpu: &mut Cpu, gate: u64, code: u64, budget: u64) {
    let budget = budget.min(i64::MAX as u64);
    cpu.exchange.budget = budget as i64;
    cpu.exchange.target = cpu.retired.wrapping_add(budget);
    cpu.exchange.link = 0;
    let pointer: *mut Cpu = cpu;
    // SAFETY: `gate` is the entry gate that `gates::emit` made and `code` the start of a translation, both in executable memory that is only
    // given up between two entries. The gate keeps to the calling convention; the code touches nothing but the processor's context, tables
    // and exchange, and guest memory that entries of the translation cache name.
    let finished = unsafe {
        let gate: extern "sysv64" fn(*mut Cpu, u64) -> u64 = std::mem::transmute(gate as *const u8);
        gate(pointer, code)
    };
    if finished != 0 {
        cpu.retired = cpu.exchange.target.wrapping_sub(cpu.exchange.budget as u64);
        cpu.block_limit = 1;
    }
}
