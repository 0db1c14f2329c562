//! The software processor in two stages: an interpreter over cached decoded blocks, and native code for those that are executed often.
//!
//! `run` is the loop; `translate` the second stage; `block` keeps decoded code, `decode` makes it, `ops` execute it, with the host's processor doing
//! arithmetic (`host`). `access`, `mmu` and `tlb` are memory as programs see it; `segment`, `interrupt`, `control`, `msr` and
//! `cpuid` the system side, with machine checks in `mca`. `watch`, `breakpoint`, `broken` and `inspect` are for those who look on and change things from
//! outside.

mod access;
mod block;
mod breakpoint;
mod broken;
mod codemap;
mod control;
pub mod cpuid;
mod decode;
pub mod flags;
mod host;
mod inspect;
mod interrupt;
pub mod mca;
mod mmu;
mod msr;
mod op;
mod ops;
mod run;
mod saved;
mod segment;
pub mod state;
mod tlb;
mod translate;
pub mod trap;
mod watch;

pub use broken::{Broken, BrokenRegisters};
pub use inspect::{PageEntry, Register, Value};
pub use run::{Processor, Stage};
pub use saved::CpuState;
pub use state::{Cpu, Stop};
pub use watch::Kinds;
