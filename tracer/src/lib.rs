//! The contract of a backend, controlled processes, and the ptrace backend.
//!
//! - [`ptrace`]: typed access to a traced thread; the only unsafe code of this crate is in `ptrace/sys.rs`.
//! - [`process`]: what Linux tells about a process: memory map, signal sets.
//! - [`error`]: the errors of this crate.

pub mod error;
pub mod process;
pub mod ptrace;

pub use error::{Error, Result};
