//! Distributions: how long registers hold a value until its last read, and how far apart two accesses to the
//! same memory are. Too slow for every instruction of a long run, so most chunks of streams are left out.

use rustc_hash::FxHashMap;

use super::access::address;
use super::shape::{RegSet, members};
use super::unit::Unit;
use crate::model::{HistogramKind, Statistics};
use crate::register::Reg;

/// A place is this many bytes of memory.
const PLACE: u64 = 8;

/// Places that are remembered; when there are more, all are forgotten.
const MAX_PLACES: usize = 1 << 20;

const NEVER: u64 = u64::MAX;

/// Counts of the two distributions.
#[derive(Debug)]
pub struct Histograms(Statistics);

impl Default for Histograms {
    fn default() -> Self {
        Histograms(Statistics::new(crate::model::Level::Full))
    }
}

impl Histograms {
    fn record(&mut self, kind: HistogramKind, value: u64) {
        self.0.record(kind, value, 1);
    }

    /// The distributions alone.
    pub fn take(&mut self) -> Statistics {
        std::mem::take(self).0
    }
}

/// What must be remembered of a thread, or of one of its chunks.
#[derive(Clone, Debug)]
pub struct Detail {
    now: u64,
    /// When each register's value was written and last read.
    values: [(u64, u64); Reg::COUNT],
    accesses: u64,
    places: FxHashMap<u64, u64>,
}

impl Default for Detail {
    fn default() -> Self {
        Detail {
            now: 0,
            values: [(NEVER, NEVER); Reg::COUNT],
            accesses: 0,
            places: FxHashMap::default(),
        }
    }
}

impl Detail {
    /// An instruction with its registers.
    pub fn instruction(&mut self, reads: RegSet, kills: RegSet, histograms: &mut Histograms) {
        for register in members(reads) {
            self.values[register].1 = self.now;
        }
        for register in members(kills) {
            let (written, read) = self.values[register];
            if written != NEVER && read != NEVER {
                histograms.record(HistogramKind::RegisterLifetime, read - written);
            }
            self.values[register] = (self.now, NEVER);
        }
        self.now += 1;
    }

    /// An access to memory.
    pub fn access(&mut self, address: u64, histograms: &mut Histograms) {
        if self.places.len() >= MAX_PLACES {
            self.places.clear();
        }
        if let Some(previous) = self.places.insert(address / PLACE, self.accesses) {
            histograms.record(HistogramKind::MemoryReuse, self.accesses - previous - 1);
        }
        self.accesses += 1;
    }

    /// The first `executed` instructions of a unit, with its row.
    pub fn unit(
        &mut self,
        unit: &Unit,
        executed: usize,
        row: &[u8],
        fs: u64,
        histograms: &mut Histograms,
    ) {
        let mut accesses = unit.accesses.all.iter().peekable();
        for (number, instruction) in unit.instructions.iter().take(executed).enumerate() {
            while let Some(access) = accesses.next_if(|a| usize::from(a.instruction) <= number) {
                self.access(address(access, row, fs), histograms);
            }
            self.instruction(instruction.shape.reads, instruction.shape.kills, histograms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_from_write_to_last_read() {
        let (mut detail, mut histograms) = (Detail::default(), Histograms::default());
        for (reads, kills) in [(0, 1), (1, 0), (0, 0), (1, 0), (0, 1), (0, 1)] {
            detail.instruction(reads, kills, &mut histograms);
        }
        let statistics = histograms.take();
        let lifetimes = &statistics.histograms[&HistogramKind::RegisterLifetime];
        assert_eq!(
            (lifetimes.len(), lifetimes.max()),
            (1, 3),
            "the value that nobody read has none"
        );
    }

    #[test]
    fn reuse_counts_the_accesses_between() {
        let (mut detail, mut histograms) = (Detail::default(), Histograms::default());
        for address in [0x10, 0x20, 0x30, 0x14] {
            detail.access(address, &mut histograms);
        }
        let statistics = histograms.take();
        let reuse = &statistics.histograms[&HistogramKind::MemoryReuse];
        assert_eq!((reuse.len(), reuse.max()), (1, 2));
    }
}
