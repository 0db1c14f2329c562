//! When errors happen: sequences of times in seconds.

use statrs::distribution::{ContinuousCDF, LogNormal, Weibull};

use super::random::Random;

/// How times follow each other.
#[derive(Clone, Debug, PartialEq)]
pub enum Times {
    /// At these times.
    At(Vec<f64>),
    /// One after each interval.
    Every(f64),
    /// Intervals are exponential: a Poisson process.
    Exponential {
        /// Of the intervals.
        mean: f64,
    },
    /// Intervals are Weibull.
    Weibull {
        /// Below 1 errors cluster after each other, above 1 they keep apart.
        shape: f64,
        /// Scale of the intervals.
        scale: f64,
    },
    /// Logarithms of the intervals are normal.
    LogNormal {
        /// Their mean.
        mu: f64,
        /// Their standard deviation.
        sigma: f64,
    },
    /// A Poisson process whose rate is high at first, then constant, then rises: see [`Bathtub`].
    Bathtub(Bathtub),
    /// Bursts at exponential intervals; in a burst a geometric number of errors at exponential intervals.
    Bursts {
        /// Mean time from the end of a burst to the next.
        between: f64,
        /// Mean number of errors in a burst, at least 1.
        size: f64,
        /// Mean time between errors in a burst.
        within: f64,
    },
}

/// The cumulative rate of a bathtub: (t / early)^shape + t / useful + (t / late)^shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bathtub {
    /// Scale and shape (below 1) of infant mortality.
    pub early: (f64, f64),
    /// Mean time between errors of useful life.
    pub useful: f64,
    /// Scale and shape (above 1) of wear-out.
    pub late: (f64, f64),
}

impl Bathtub {
    /// How many errors are expected until `time`.
    #[must_use]
    pub fn expected(&self, time: f64) -> f64 {
        let power = |(scale, shape): (f64, f64)| (time / scale).powf(shape);
        power(self.early) + time / self.useful + power(self.late)
    }

    /// The time until which so many are expected, by bisection.
    fn time(&self, expected: f64) -> f64 {
        let (mut low, mut high) = (0.0, self.useful);
        while self.expected(high) < expected {
            low = high;
            high *= 2.0;
        }
        for _ in 0..100 {
            let middle = (low + high) / 2.0;
            if self.expected(middle) < expected {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }
}

/// The times of a run, one after the other.
#[derive(Clone, Debug)]
pub struct Sequence {
    times: Times,
    random: Random,
    /// The last one.
    now: f64,
    /// How many there were.
    given: usize,
    /// Cumulative rate of a bathtub so far.
    cumulative: f64,
    /// Errors that the current burst still has.
    burst: u64,
}

impl Sequence {
    /// Times that begin at 0.
    #[must_use]
    pub fn new(times: Times, random: Random) -> Self {
        Sequence {
            times,
            random,
            now: 0.0,
            given: 0,
            cumulative: 0.0,
            burst: 0,
        }
    }

    /// What else is drawn for what happens then.
    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    fn burst_size(&mut self, mean: f64) -> u64 {
        // Geometric on 1, 2, …: the probability to end is 1 / mean.
        if mean <= 1.0 {
            return 1;
        }
        let stay = 1.0 - 1.0 / mean;
        1 + (self.random.fraction().ln() / stay.ln()) as u64
    }
}

impl Iterator for Sequence {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        let random = &mut self.random;
        let interval = match &self.times {
            Times::At(times) => {
                let at = *times.get(self.given)?;
                self.given += 1;
                self.now = at;
                return Some(at);
            }
            Times::Every(interval) => *interval,
            Times::Exponential { mean } => mean * random.exponential(),
            Times::Weibull { shape, scale } => Weibull::new(*shape, *scale)
                .ok()?
                .inverse_cdf(random.fraction()),
            Times::LogNormal { mu, sigma } => LogNormal::new(*mu, *sigma)
                .ok()?
                .inverse_cdf(random.fraction()),
            Times::Bathtub(bathtub) => {
                self.cumulative += random.exponential();
                bathtub.time(self.cumulative) - self.now
            }
            Times::Bursts {
                between,
                size,
                within,
            } => {
                let (between, size, within) = (*between, *size, *within);
                if self.burst == 0 {
                    self.burst = self.burst_size(size) - 1;
                    between * self.random.exponential()
                } else {
                    self.burst -= 1;
                    within * self.random.exponential()
                }
            }
        };
        self.given += 1;
        self.now += interval;
        Some(self.now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use statrs::distribution::{ChiSquared, Exp};

    const COUNT: usize = 20_000;

    fn intervals(times: Times, seed: u64) -> Vec<f64> {
        let sequence: Vec<f64> = Sequence::new(times, Random::new(seed, 0))
            .take(COUNT)
            .collect();
        std::iter::once(0.0)
            .chain(sequence.iter().copied())
            .zip(&sequence)
            .map(|(before, after)| after - before)
            .collect()
    }

    /// Kolmogorov-Smirnov: the largest distance between the sample's distribution and `cdf`, times the root of the sample's size. Above 1.63
    /// the hypothesis is rejected at 1 %.
    fn kolmogorov_smirnov(mut sample: Vec<f64>, cdf: impl Fn(f64) -> f64) -> f64 {
        sample.sort_by(f64::total_cmp);
        let count = sample.len() as f64;
        let distance = |(index, value): (usize, &f64)| {
            let expected = cdf(*value);
            let (below, above) = (index as f64 / count, (index + 1) as f64 / count);
            (expected - below).abs().max((above - expected).abs())
        };
        let largest = sample.iter().enumerate().map(distance).fold(0.0, f64::max);
        largest * count.sqrt()
    }

    const REJECTED: f64 = 1.63;

    #[test]
    fn exponential_intervals_fit() {
        let sample = intervals(Times::Exponential { mean: 2.5 }, 1);
        let exact = Exp::new(0.4).expect("a rate");
        assert!(kolmogorov_smirnov(sample.clone(), |x| exact.cdf(x)) < REJECTED);
        // The test can fail: another mean is rejected.
        let other = Exp::new(0.43).expect("a rate");
        assert!(kolmogorov_smirnov(sample, |x| other.cdf(x)) > REJECTED);
    }

    #[test]
    fn weibull_intervals_fit() {
        for (shape, scale) in [(0.7, 3.0), (2.0, 0.5)] {
            let exact = Weibull::new(shape, scale).expect("a distribution");
            let sample = intervals(Times::Weibull { shape, scale }, 2);
            assert!(kolmogorov_smirnov(sample, |x| exact.cdf(x)) < REJECTED);
        }
    }

    #[test]
    fn log_normal_intervals_fit() {
        let exact = LogNormal::new(-1.0, 0.8).expect("a distribution");
        let times = Times::LogNormal {
            mu: -1.0,
            sigma: 0.8,
        };
        let sample = intervals(times, 3);
        assert!(kolmogorov_smirnov(sample, |x| exact.cdf(x)) < REJECTED);
    }

    #[test]
    fn first_errors_of_a_bathtub_fit_and_its_rate_falls_stays_and_rises() {
        let bathtub = Bathtub {
            early: (50.0, 0.5),
            useful: 40.0,
            late: (60.0, 5.0),
        };
        let first: Vec<f64> = (0..COUNT as u64)
            .map(|seed| {
                let mut sequence = Sequence::new(Times::Bathtub(bathtub), Random::new(seed, 0));
                sequence.next().expect("there is always one")
            })
            .collect();
        let cdf = |time: f64| 1.0 - (-bathtub.expected(time)).exp();
        assert!(kolmogorov_smirnov(first, cdf) < REJECTED);
        let rate = |from: f64| bathtub.expected(from + 1.0) - bathtub.expected(from);
        assert!(rate(0.0) > 1.5 * rate(30.0) && rate(90.0) > 1.5 * rate(30.0));
    }

    #[test]
    fn bursts_have_geometric_sizes() {
        // Far apart and quick, so that bursts can be told apart.
        let times = Times::Bursts {
            between: 1e6,
            size: 3.0,
            within: 1e-3,
        };
        let sample = intervals(times, 4);
        let mut sizes = vec![0_u64; 9];
        let mut size = 0;
        for interval in sample.into_iter().skip(1) {
            size += 1;
            if interval > 1.0 {
                let last = sizes.len();
                sizes[(size - 1).min(last - 1)] += 1;
                size = 0;
            }
        }
        let bursts: u64 = sizes.iter().sum();
        let stay = 2.0_f64 / 3.0;
        let last = sizes.len() - 1;
        let square: f64 = (0..)
            .zip(&sizes)
            .map(|(index, &seen)| {
                let share = stay.powi(index)
                    * if index as usize == last {
                        1.0
                    } else {
                        1.0 - stay
                    };
                let expected = share * bursts as f64;
                (seen as f64 - expected).powi(2) / expected
            })
            .sum();
        let limit = ChiSquared::new(last as f64)
            .expect("degrees of freedom")
            .inverse_cdf(0.99);
        assert!(square < limit, "{square} of {limit}: {sizes:?}");
    }

    #[test]
    fn fixed_times_are_as_written() {
        let at = Sequence::new(Times::At(vec![0.5, 0.75]), Random::new(0, 0));
        assert_eq!(at.collect::<Vec<f64>>(), [0.5, 0.75]);
        let every = Sequence::new(Times::Every(0.5), Random::new(0, 0));
        assert_eq!(every.take(3).collect::<Vec<f64>>(), [0.5, 1.0, 1.5]);
    }

    #[test]
    fn a_seed_gives_the_same_times() {
        let times = Times::Exponential { mean: 1.0 };
        assert_eq!(intervals(times.clone(), 7), intervals(times.clone(), 7));
        assert_ne!(intervals(times.clone(), 7), intervals(times, 8));
    }
}
