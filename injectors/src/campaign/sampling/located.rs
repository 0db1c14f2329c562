//! Points by thread and index, where the K-th arrival does not name one: programs of several threads, windows of indices.
//!
//! Moments are drawn uniformly from all instructions of the threads, looked up, and kept with a probability in proportion to the weight that the
//! instruction there has in the space; so the kept ones are distributed as if they had been drawn from the space.

use std::collections::HashSet;

use fits_tracer::engine::Found;

use super::picker::{Candidate, Picker};
use super::random::Random;
use super::{Oracle, PlanError, Text, give_up, keep_live};
use crate::campaign::space::Space;

/// The most moments that are looked up in one run.
const BATCH: usize = 100_000;

/// Draws moments and keeps points.
pub(super) struct Source<'s> {
    space: &'s Space,
    picker: Picker<'s>,
    heaviest: u128,
    seen: HashSet<Candidate>,
    /// Moments that were looked up.
    tried: usize,
    /// Points that were kept.
    kept: usize,
}

impl<'s> Source<'s> {
    pub(super) fn new(space: &'s Space) -> Self {
        Self {
            space,
            picker: Picker::whole(space),
            heaviest: space.heaviest(),
            seen: HashSet::new(),
            tried: 0,
            kept: 0,
        }
    }

    fn instructions(&self) -> u128 {
        let spans = self.space.spans.iter();
        spans.map(|span| u128::from(span.instructions)).sum()
    }

    /// Moments for a batch that should give `wanted` points.
    fn size(&self, wanted: usize) -> usize {
        let rate = if self.tried > 0 {
            (self.kept + 1) as f64 / self.tried as f64
        } else {
            let whole = self.instructions() as f64 * self.heaviest as f64;
            (self.picker.weight() as f64 / whole).min(1.0)
        };
        let size = 1.1 * wanted as f64 / rate.max(1e-6) + 32.0;
        (size as usize).clamp(64, BATCH)
    }

    /// A batch of new points, in the order in which they were drawn.
    pub(super) fn batch(
        &mut self,
        wanted: usize,
        random: &mut Random,
        oracle: &mut dyn Oracle,
    ) -> Result<Vec<(String, Found)>, PlanError> {
        let size = self.size(wanted);
        let probes: Vec<String> = (0..size).map(|_| self.probe(random)).collect();
        let found = oracle.locate(&probes).map_err(PlanError::Oracle)?;
        self.tried += probes.len();
        let mut points = Vec::new();
        for (_, found) in found.into_iter().flatten() {
            // Drawn for each, so that what one becomes does not depend on the others.
            let weight = random.below(self.heaviest);
            let Some(at) = self.space.site_at(found.pc) else {
                continue;
            };
            let site = &self.space.sites[at];
            if weight >= self.space.shape(site).weight {
                continue;
            }
            let (choice, number) = self.picker.choose(site, weight, random);
            let point = Candidate {
                site: at as u32,
                choice,
                number,
                thread: found.moment.thread,
                occurrence: found.arrivals,
            };
            if self.seen.insert(point) || self.space.has_random_memory() {
                points.push((point.text(self.space, random), found));
            }
        }
        self.kept += points.len();
        Ok(points)
    }

    /// A fault that is never carried out, at a random moment: what names it.
    fn probe(&self, random: &mut Random) -> String {
        let mut drawn = random.below(self.instructions());
        for span in &self.space.spans {
            let instructions = u128::from(span.instructions);
            if drawn < instructions {
                return probe(span.thread, span.first + drawn as u64);
            }
            drawn -= instructions;
        }
        probe(0, 0)
    }
}

/// The text of a fault that changes nothing of the plan: it names a moment.
pub(super) fn probe(thread: u32, index: u64) -> String {
    match thread {
        0 => format!("skip@{index}"),
        _ => format!("skip@{index},thread={thread}"),
    }
}

/// So many points.
pub(super) fn draw(
    source: &mut Source<'_>,
    wanted: usize,
    live: bool,
    random: &mut Random,
    oracle: &mut dyn Oracle,
) -> Result<Vec<Text>, PlanError> {
    let mut kept: Vec<Text> = Vec::new();
    let mut idle = 0;
    while kept.len() < wanted {
        let before = kept.len();
        let missing = wanted - before;
        let points = source.batch(if live { 2 * missing } else { missing }, random, oracle)?;
        if live {
            keep_live(points, wanted, oracle, &mut kept)?;
        } else {
            let room = points.into_iter().take(missing);
            kept.extend(room.map(|(text, found)| (text, Some(found))));
        }
        give_up(kept.len(), source.tried, "are in the space")?;
        // A small window has been seen as a whole when nothing new comes any more.
        idle = if kept.len() == before { idle + 1 } else { 0 };
        if idle >= 5 {
            break;
        }
    }
    Ok(kept)
}
