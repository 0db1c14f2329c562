//! The contract of a backend, controlled processes, and the ptrace backend.
//!
//! - [`ptrace`]: typed access to a traced thread; the only unsafe code of this crate is in `ptrace/sys.rs`.
//! - [`process`]: what Linux tells about a process: memory map, signal sets.
//! - [`backend`]: the contract of a backend.
//! - [`golden`]: the ptrace backend.
//! - [`step`]: one instruction executed by itself, with its operand values.
//! - [`error`]: the errors of this crate.

pub mod backend;
pub mod error;
pub mod golden;
pub mod process;
pub mod ptrace;
pub mod step;

pub use error::{Error, Result};
