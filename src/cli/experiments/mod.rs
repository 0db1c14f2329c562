//! What `fits inject` and `fits campaign` share: a program, how it is run with faults, and how what comes of it is judged.
//!
//! - `conduct`: everything that is decided before anything runs, and what the worker is told of it.
//! - `faults`: lists of faults in text form; `moments`: where their moments lie.
//! - `input`: standard input of the runs; `reference`: the fault-free run, and a golden folder that must agree with it.
//! - `replay`: the command that repeats an experiment.

pub(crate) mod conduct;
pub(crate) mod faults;
pub(crate) mod input;
pub(crate) mod moments;
pub(crate) mod reference;
pub(crate) mod replay;
