//! What a campaign has found: figures with their intervals, as tables and as a page, and two campaigns side by side.
//!
//! - [`load`]: from the store. [`row`]: one experiment. [`tally`]: many, counted. [`metrics`]: what follows. [`tables`]: CSV files.
//! - [`page`]: HTML; `code`: its heat maps. [`compare`]: two campaigns.

mod code;
pub mod compare;
pub mod load;
pub mod metrics;
pub mod page;
pub mod row;
pub mod tables;
pub mod tally;

#[cfg(test)]
mod tests;
