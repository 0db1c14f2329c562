//! Typed access to traced threads.
//!
//! - `sys`: the raw requests; the only unsafe file.
//! - `stop`: wait statuses decoded into [`Stop`] and [`Waited`].
//! - `task`: [`Stopped`], on which every request is made, and which resuming eats.
//! - `memory`: [`Memory`] of a traced process.
//! - `xstate`: [`XState`], a view of x87, vector and mask registers.
//! - `general`: general registers by number.
//! - `remote`: system calls executed by a stopped thread on our behalf.

mod general;
mod memory;
mod remote;
mod stop;
#[expect(unsafe_code, reason = "the one place where ptrace and wait are called")]
mod sys;
mod task;
mod xstate;

pub use general::general;
pub use memory::Memory;
pub use stop::{Event, Stop, Waited};
pub use sys::{Options, Registers, SigInfo, SyscallStop, trace_me};
pub use task::{
    Anybody, Resume, Stopped, interrupt, kill, seize, try_wait_any, wait_any, wait_anybody,
    wait_for,
};
pub use xstate::{Component, XState};
