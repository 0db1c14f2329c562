//! Campaigns on kernels: what is drawn, what is seen from outside of a machine, what that means, and the tables. Knows no engine.
//!
//! - [`pages`]: what lies where in the guest's memory. [`space`]: kinds of faults, and how they are drawn.
//! - [`console`]: the kernel's messages and the programs' outputs, told apart. [`outcome`]: what became of kernel and programs.
//! - [`table`]: counts with intervals. [`export`]: experiments and tables in files.

pub mod console;
pub mod export;
pub mod outcome;
pub mod pages;
pub mod space;
pub mod table;

pub use outcome::{End, Judged, Observation, Outcome};
pub use space::{Kind, Space, Traffic};
