//! Experiments: a program run with faults, away from the host, and what became of it.
//!
//! - `session`: one program, its reference run, and experiments with it. The side that asks.
//! - `client`, `worker`: asking a worker process, and being one; `job`: what is asked and answered.
//! - `collect`: the job of collecting statistics from a fault on; `statistics`: what they say, against those without the fault.
//! - `sandbox`: where the program runs. `limits`: what it may use. `outputs`: what it left behind.
//! - `near`: experiments that begin near their fault, from checkpoints of one run.
//! - `outcome`: what that means. `record`: results as they are kept; `locate`: their symbols; `text`: for people;
//!   `compare`: two lists of results side by side.

pub mod client;
pub mod collect;
pub mod compare;
pub mod job;
pub mod limits;
pub(crate) mod locate;
mod near;
pub mod outcome;
pub mod outputs;
pub mod record;
mod sandbox;
pub mod session;
pub mod statistics;
mod text;
pub mod worker;

pub use locate::locate;
pub use near::{Near, Walker};
pub use sandbox::{Exceeded, SandboxError};
pub(crate) use text::told;
