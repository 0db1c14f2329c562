//! How many faults a campaign needs (Leveugle et al., "Statistical fault injection: quantified error and confidence", DATE 2009).

use super::quantile;

/// The number of experiments after which every share is known within ± `margin` (a part of 1, at the worst share of one half), with this confidence.
///
/// n = N / (1 + e²(N−1) / (t² p(1−p))) with p = 0.5; for a population without end, t² p(1−p) / e². Rounded up, as the tables of the field do from three
/// digits on: 385 for ±5 %, 1,068 for ±3 %, 9,604 for ±1 % at 95 %; 16,588 for ±1 % at 99 %. At least 1, at most the population.
#[must_use]
pub fn sample_size(population: Option<u128>, margin: f64, confidence: f64) -> u64 {
    let t = quantile(confidence);
    let endless = t * t * 0.25 / (margin * margin);
    let size = match population {
        None => endless,
        Some(0) => return 0,
        Some(population) => {
            let population = population as f64;
            population / (1.0 + (population - 1.0) / endless)
        }
    };
    // What is whole but for rounding stays as it is.
    let size = (size - 1e-6).ceil().max(1.0) as u64;
    population.map_or(size, |population| {
        u64::try_from(population).map_or(size, |most| size.min(most))
    })
}

/// The other way round: within which margin `experiments` know every share.
#[must_use]
pub fn margin(population: Option<u128>, experiments: u64, confidence: f64) -> f64 {
    let t = quantile(confidence);
    let size = experiments.max(1) as f64;
    let correction = match population {
        Some(population) if population > 1 => {
            let population = population as f64;
            ((population - size) / (population - 1.0)).max(0.0)
        }
        Some(_) => 0.0,
        None => 1.0,
    };
    t * (0.25 / size * correction).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_field() {
        assert_eq!(sample_size(None, 0.05, 0.95), 385);
        assert_eq!(sample_size(None, 0.03, 0.95), 1068);
        assert_eq!(sample_size(None, 0.01, 0.95), 9604);
        assert_eq!(sample_size(None, 0.01, 0.99), 16_588);
        // A large population is as good as none without end.
        assert_eq!(
            sample_size(Some(u128::from(u64::MAX) * 64), 0.03, 0.95),
            1068
        );
    }

    #[test]
    fn a_small_population_needs_fewer() {
        // 1000 / (1 + 0.0025 * 999 / (1.96² * 0.25)) = 277.7
        assert_eq!(sample_size(Some(1000), 0.05, 0.95), 278);
        assert_eq!(sample_size(Some(10), 0.01, 0.95), 10);
        assert_eq!(sample_size(Some(1), 0.01, 0.95), 1);
        assert_eq!(sample_size(Some(0), 0.01, 0.95), 0);
    }

    #[test]
    fn the_margin_belongs_to_the_size() {
        for (population, wanted) in [(None, 0.03), (Some(5000), 0.02), (Some(1 << 90), 0.01)] {
            let size = sample_size(population, wanted, 0.95);
            let reached = margin(population, size, 0.95);
            assert!(reached <= wanted && reached > 0.99 * wanted, "{reached}");
        }
        assert_eq!(margin(Some(50), 50, 0.95), 0.0);
    }
}
