//! Tests of fits as a whole.

mod compare;
mod stats_process;
