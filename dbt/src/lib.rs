//! The dynamic binary translator and its out-of-process supervisor.
//!
//! - [`layout`]: the fixed addresses that emitted code relies on.
//! - [`translate`]: guest bytes in, units out.
//! - [`unit`]: what the translator hands to the runtime.

pub mod layout;
pub mod translate;
pub mod unit;
