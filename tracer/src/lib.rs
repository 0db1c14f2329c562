//! The contract of a backend, controlled processes, and the ptrace backend.
//!
//! - [`ptrace`]: typed access to a traced thread; the only unsafe code of this crate is in `ptrace/sys.rs`.
//! - [`process`]: what Linux tells about a process: memory map, signal sets.
//! - [`backend`]: the contract of a backend.
//! - [`calls_made`]: the system calls of a run, for comparing two.
//! - [`golden`]: the ptrace backend.
//! - [`step`]: one instruction executed by itself, with its operand values.
//! - [`engine`]: the contract of an engine for fault injection; [`live`]: a process that runs natively and is stopped, looked at, changed.
//! - [`error`]: the errors of this crate.

pub mod backend;
pub mod calls_made;
pub mod engine;
pub mod error;
pub mod golden;
pub mod live;
pub mod process;
pub mod ptrace;
pub mod step;

pub use error::{Error, Result};
