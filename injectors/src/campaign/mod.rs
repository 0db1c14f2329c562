//! Campaigns: very many experiments with one program, planned, carried out, and told in figures that hold.
//!
//! - [`mod@file`]: what is asked for.
//! - [`point`]: a row of the plan.
//! - [`report`]: what has been found, as tables and a page.
//! - [`prune`]: what is known without running it.
//! - [`statistics`]: sizes of samples, intervals, comparisons.
//! - [`store`]: plan and results of a campaign in one database.

pub mod file;
pub mod point;
pub mod report;
pub mod prune;
pub mod statistics;
pub mod store;
