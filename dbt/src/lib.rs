//! The dynamic binary translator and its out-of-process supervisor.
//!
//! - [`cache`]: where translated code lies.
//! - [`layout`]: the fixed addresses that emitted code relies on.
//! - [`mode`]: what translated code does beside the program's own work.
//! - [`runtime`]: the supervisor, which is a backend.
//! - [`translate`]: guest bytes in, units out.
//! - [`unit`](mod@unit): what the translator hands to the runtime.

pub mod cache;
pub mod layout;
pub mod mode;
pub mod runtime;
pub mod translate;
pub mod unit;
