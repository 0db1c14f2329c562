//! The software processor: an interpreter over cached decoded blocks.
//!
//! `run` is the loop; `block` keeps decoded code, `decode` makes it, `ops` execute it, with the host's processor doing
//! arithmetic (`host`). `access`, `mmu` and `tlb` are memory as programs see it; `segment`, `interrupt`, `control`, `msr` and
//! `cpuid` the system side.

mod access;
mod block;
mod codemap;
mod control;
pub mod cpuid;
mod decode;
pub mod flags;
mod host;
mod interrupt;
mod mmu;
mod msr;
mod op;
mod ops;
mod run;
mod saved;
mod segment;
pub mod state;
mod tlb;
pub mod trap;

pub use run::Processor;
pub use saved::CpuState;
pub use state::{Cpu, Stop};
