//! Faults: what they are, where and when, and how they are carried out. Knows no engine.
//!
//! - [`fault`]: [`fault::Fault`] and its text form.
//! - [`resolve`]: from triggers, symbols and random draws to moments and addresses.
//! - [`drive`]: carrying faults out on a live process.
//! - [`bits`]: [`bits::Bits`], a value or a mask of up to 512 bits.
//! - [`trace`]: what a fault did to the path and the state of its thread.
//! - [`experiment`]: a program run with faults in a sandbox, and what became of it.
//! - [`report`]: results of experiments as a page for the browser.
//! - [`campaign`]: very many experiments with one program.
//! - [`machine`]: faults of a whole machine.

pub mod bits;
pub mod campaign;
pub mod drive;
pub mod experiment;
pub mod fault;
pub mod kernel;
pub mod machine;
pub mod report;
pub mod resolve;
pub mod trace;
