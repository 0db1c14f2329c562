//! From a fault and a program to its moment: symbols, triggers, random draws.
//!
//! - `places`: addresses of symbols and regions. `draw`: random numbers.
//! - `plan`: [`plan()`], which turns every trigger into a moment before anything is injected.

pub(crate) mod draw;
mod places;
mod plan;

pub use draw::Draw;
pub(crate) use places::memory;
pub use plan::{Golden, PlanError, PlanOptions, plan};
