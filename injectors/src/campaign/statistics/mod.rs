//! Figures that hold: how many experiments are needed, and how sure a share is.
//!
//! Every share comes with an interval that is right for small counts too: never the normal approximation, which says 0 ± 0 where nothing was seen.
//!
//! - [`sample`]: sizes of samples. [`interval`]: one share. [`difference`]: two shares. [`metrics`]: FIT, MTTF, MWTF, PVF.

pub mod difference;
pub mod interval;
pub mod metrics;
pub mod sample;

pub use difference::{newcombe, two_proportions, weighted_difference};
pub use interval::{
    Interval, Stratum, clopper_pearson, effective_trials, stratified, weighted, wilson,
    wilson_finite,
};
pub use metrics::{fit, mttf_hours, mwtf, pvf};
pub use sample::{margin, sample_size};

use statrs::distribution::{ContinuousCDF, Normal};

/// The two-sided quantile of the standard normal distribution: 1.96 for 0.95.
pub(crate) fn quantile(confidence: f64) -> f64 {
    let confidence = confidence.clamp(0.0, 1.0 - 1e-15);
    Normal::standard().inverse_cdf(0.5 + confidence / 2.0)
}
