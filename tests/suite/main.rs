//! Tests of fits as a whole.

mod stats_process;
