//! Faults of a whole machine: by hand, by model, and how they are carried out. Knows no engine: what is done to a machine goes through [`Target`].
//!
//! - [`fault`]: [`fault::MachineFault`] and its text form. [`symbols`]: names of the kernel's addresses.
//! - [`target`]: what a machine must offer. [`scheduler`]: waits for moments and lets faults happen; [`inject`]: the one change; [`log`]: what was done.
//! - [`model`]: errors by rates and distributions. [`process`]: which process runs. [`geometry`]: DRAM rows and columns.

pub mod fault;
pub mod geometry;
pub mod inject;
mod lasting;
pub mod log;
pub mod model;
pub mod process;
pub mod scheduler;
pub mod symbols;
pub mod target;

pub use fault::MachineFault;
pub use scheduler::Scheduler;
pub use target::{Event, Target};
