//! Experiments: a program run with faults, away from the host, and what became of it.
//!
//! - `sandbox`: where it runs. `limits`: what it may use. `outputs`: what it left behind.
//! - `worker`: the process that runs experiments; `client`: the side that gives it jobs.

pub mod client;
pub mod limits;
pub mod outputs;
mod sandbox;
pub mod worker;

pub use sandbox::{Exceeded, SandboxError};
