//! Carrying out a plan: several workers, one writer.
//!
//! - `conditions`: what every worker needs, and how one is started. `unchanged`: the files that must stay as they were.
//! - `queue`: what is to be done next, in the order of moments. `job`: one worker's thread. `nearby`: checkpoints.
//! - `sites`: functions and lines of addresses. `carry`: from the plan to kept results.
//!
//! Which experiments are made, and what comes of them, does not depend on how many workers there are: whether a campaign has seen enough is decided at
//! fixed sizes, in the order of the plan, when everything before them has been carried out.

mod carry;
mod conditions;
mod job;
mod nearby;
mod queue;
mod sites;
mod unchanged;

pub use carry::{Event, Finished, Order, RunError, Until, carry_out};
pub use conditions::Conditions;
pub use sites::Sites;
pub use unchanged::Unchanged;
