//! Figures that follow from shares.

/// Failures in time: per 10⁹ hours. `vulnerability` is the share of faults that become the failure, `raw_fit_per_bit` the rate at which one bit is hit,
/// `bits` how many bits are exposed on average.
#[must_use]
pub fn fit(vulnerability: f64, raw_fit_per_bit: f64, bits: f64) -> f64 {
    vulnerability * raw_fit_per_bit * bits
}

/// Mean time to failure in hours: 10⁹ / FIT. Without failures it has no end.
#[must_use]
pub fn mttf_hours(fit: f64) -> f64 {
    if fit > 0.0 { 1e9 / fit } else { f64::INFINITY }
}

/// Mean work to failure (Reis et al., ISCA 2005): how many runs a program completes per failure, 1 / (rate of failures × time of a run).
/// `rate` is failures per second (raw rate × vulnerability), `seconds` the time of one run. Of two variants of a program under the same raw rate, the
/// ratio of (vulnerability × time) is the ratio of their MWTF.
#[must_use]
pub fn mwtf(rate: f64, seconds: f64) -> f64 {
    let failures = rate * seconds;
    if failures > 0.0 {
        1.0 / failures
    } else {
        f64::INFINITY
    }
}

/// Program vulnerability factor (Sridharan and Kaeli, HPCA 2009): the part of a resource's bits × instructions in which a flip changes the outcome.
/// `harmful` and `all` are weighted counts of points (flips tried, by what each stands for). Not a number without points.
#[must_use]
pub fn pvf(harmful: f64, all: f64) -> f64 {
    if all > 0.0 { harmful / all } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_their_formulas() {
        // A tenth of the flips in 1024 bits fails, each bit is hit 0.001 times in 10⁹ hours.
        let rate = fit(0.1, 1e-3, 1024.0);
        assert!((rate - 0.1024).abs() < 1e-12);
        assert!((mttf_hours(rate) - 1e9 / 0.1024).abs() < 1e-3);
        assert_eq!(mttf_hours(0.0), f64::INFINITY);
        // Twice as slow, a quarter as vulnerable: twice the work.
        let ratio = mwtf(0.25 * 1e-9, 2.0) / mwtf(1e-9, 1.0);
        assert!((ratio - 2.0).abs() < 1e-12);
        assert_eq!(mwtf(0.0, 1.0), f64::INFINITY);
        assert_eq!(pvf(3.0, 12.0), 0.25);
        assert!(pvf(0.0, 0.0).is_nan());
    }
}
