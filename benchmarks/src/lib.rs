//! Speed and memory of fits: three programs, natively and under both backends, over growing sizes.
//!
//! One run of the runner makes everything that is compared, so that ratios are between times of the same machine in the
//! same hour. It leaves the raw numbers, their medians and ratios as text, and the figures.

pub mod figure;
pub mod figures;
pub mod guests;
pub mod host;
pub mod measure;
pub mod plan;
pub mod report;
