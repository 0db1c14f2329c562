//! Tests of fits as a whole.

mod compare;
mod hot_paths;
mod stats_process;
