//! The dynamic binary translator and its out-of-process supervisor.
//!
//! - [`layout`]: the fixed addresses that emitted code relies on.
//! - [`unit`]: what the translator hands to the runtime.

pub mod layout;
pub mod unit;
