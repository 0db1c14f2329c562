//! Distinct points by address and occurrence.

use std::collections::HashSet;

use super::picker::{Candidate, Picker};
use super::random::Random;
use crate::campaign::space::Space;

/// A space with fewer points than this, or than so many times the wanted ones, is put into a random order as a whole.
const SMALL: u128 = 100_000;
const FEW_TIMES: u128 = 4;

/// Gives one point after the other, none twice.
pub(super) enum Source<'p> {
    /// By chance, until one comes that was not there.
    Drawn {
        picker: &'p Picker<'p>,
        seen: HashSet<Candidate>,
    },
    /// All there are, in a random order, the last one first.
    Ordered(Vec<Candidate>),
    /// Their number is not known: none is there twice but by chance.
    Endless(&'p Picker<'p>),
}

impl<'p> Source<'p> {
    pub(super) fn new(
        space: &Space,
        picker: &'p Picker<'p>,
        wanted: usize,
        random: &mut Random,
    ) -> Self {
        if space.has_random_memory() {
            return Self::Endless(picker);
        }
        if picker.points > SMALL.max(FEW_TIMES * wanted as u128) {
            return Self::Drawn {
                picker,
                seen: HashSet::with_capacity(wanted.min(1 << 20)),
            };
        }
        // Efraimidis and Spirakis (2006): with the keys −ln(u)/w in ascending order, each next one is drawn by weight from what is left.
        let mut keyed: Vec<(f64, Candidate)> = picker
            .all()
            .map(|(point, weight)| (-random.part().ln() / weight, point))
            .collect();
        keyed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Self::Ordered(keyed.into_iter().map(|(_, point)| point).collect())
    }

    /// The next one; `None`: there are no more.
    pub(super) fn next(&mut self, random: &mut Random) -> Option<Candidate> {
        match self {
            Self::Ordered(points) => points.pop(),
            Self::Endless(picker) => Some(picker.pick(random)),
            // There are several times as many as are wanted, so that a new one comes soon.
            Self::Drawn { picker, seen } => loop {
                let point = picker.pick(random);
                if seen.insert(point) {
                    return Some(point);
                }
            },
        }
    }
}
