//! Campaigns: very many experiments with one program, planned, carried out, and told in figures that hold.
//!
//! - [`point`]: a row of the plan.

pub mod point;
