//! Campaigns: very many experiments with one program, planned, carried out, and told in figures that hold.
//!
//! - [`mod@file`]: what is asked for.
//! - [`export`]: a campaign for other tools.
//! - [`point`]: a row of the plan.
//! - [`prune`]: what is known without running it.
//! - [`report`]: what has been found, as tables and a page.
//! - [`sampling`]: from a space to a list of faults.
//! - [`space`]: the faults that there can be, counted.
//! - [`statistics`]: sizes of samples, intervals, comparisons.
//! - [`run`]: carrying a plan out.
//! - [`store`]: plan and results of a campaign in one database.

pub mod export;
pub mod file;
pub mod point;
pub mod prune;
pub mod report;
pub mod run;
pub mod sampling;
pub mod space;
pub mod statistics;
pub mod store;
