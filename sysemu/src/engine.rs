//! What runs a machine: the software processor, or the host's KVM. Both end a run with the same reasons, [`Stop`].

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::cpu::Stop;
use crate::cpu::state::RIP;
use crate::machine::Machine;

/// A machine that can be run.
///
/// 1. [`Engine::run`] returns when the guest ends itself, cannot go on, or is asked to stop; it can be called again after [`Stop::Limit`] and [`Stop::Asked`].
/// 2. An engine that cannot count instructions has no [`Engine::retired`], and no limit of them either.
/// 3. What the guest printed has gone to its console when `run` returns.
pub trait Engine {
    /// What it is called.
    fn name(&self) -> &'static str;
    /// Runs until something stops the machine, or that many instructions have retired since power-on.
    fn run(&mut self, limit: u64) -> Stop;
    /// Lets a flag of somebody else's stop the machine soon.
    fn stop_when(&mut self, asked: Arc<AtomicBool>);
    /// Instructions that have retired since power-on, where they are counted.
    fn retired(&self) -> Option<u64>;
    /// Where the processor is.
    fn rip(&self) -> u64;
    /// A hash of all memory.
    fn memory_hash(&self) -> u64;
}

impl Engine for Machine {
    fn name(&self) -> &'static str {
        "soft"
    }

    fn run(&mut self, limit: u64) -> Stop {
        Machine::run(self, limit)
    }

    fn stop_when(&mut self, asked: Arc<AtomicBool>) {
        Machine::stop_when(self, asked);
    }

    fn retired(&self) -> Option<u64> {
        Some(Machine::retired(self))
    }

    fn rip(&self) -> u64 {
        self.cpu().ctx.regs[RIP]
    }

    fn memory_hash(&self) -> u64 {
        Machine::memory_hash(self)
    }
}
