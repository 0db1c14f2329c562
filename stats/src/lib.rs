//! Statistics of golden runs: what an instruction touches, how traces are laid out, how they are counted, and the
//! files that come out.
//!
//! - [`facts`], [`register`]: what one instruction reads and writes; shared by all backends.
//! - [`template`], [`protocol`]: how a backend describes translated code and reports what ran.
//! - [`model`]: the result of a golden run.
//! - [`symbols`]: modules, functions and source lines of addresses.

pub mod facts;
pub mod model;
pub mod protocol;
pub mod register;
pub mod symbols;
pub mod template;
