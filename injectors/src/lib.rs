//! Faults: what they are, where and when, and how they are carried out. Knows no engine.
//!
//! - [`fault`]: [`fault::Fault`] and its text form.
//! - [`bits`]: [`bits::Bits`], a value or a mask of up to 512 bits.
//! - [`trace`]: what a fault did to the path and the state of its thread.
//! - [`experiment`]: a program run with faults in a sandbox, and what became of it.

pub mod bits;
pub mod experiment;
pub mod fault;
pub mod trace;
