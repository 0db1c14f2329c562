//! Tests of fits as a whole.

mod compare;
mod golden;
mod hot_paths;
mod robust;
mod stats_process;
