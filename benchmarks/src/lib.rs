//! Shared code of the benchmark runner.
