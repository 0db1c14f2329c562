//! Finding the hot paths and translating them anew, each as one unit.
//!
//! A unit of one basic block pays for its count or its row each time. Where the program spends its time, several blocks are joined: the hottest
//! blocks become units that go on along their hottest successors, around loops more than once. What is hot is seen without stopping
//! anybody: at level `counts` in the counters, now and then (the same when a budget is used up); at level `full` in the rows of a chunk that is published.
//! Where branches go either way, so that no path is followed far, mode `budget` joins all hot blocks that are reached from a head to a *region*
//! (`translate::region`).
//! Nothing of this is visible in the statistics, except in the time.

use std::time::{Duration, Instant};

use fits_stats::protocol::Message;
use fits_stats::ring::Cursor;
use fits_stats::template::UnitId;
use fits_tracer::process::Ticker;
use rustc_hash::{FxHashMap, FxHashSet};

use super::error::{Result, RuntimeError};
use super::supervisor::Supervisor;
use crate::cache::{CacheError, Ending, Known};
use crate::mode::Mode;
use crate::translate::{self, HotBlock};
use crate::unit::Request;

/// The first pause between looks at the counters, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LAST_PAUSE: Duration = Duration::from_millis(250);

/// Rows that are looked at in a chunk, and chunks that are passed over, at most, between two looks.
const ROWS: usize = 2000;
const LONGEST_SKIP: u32 = 256;

/// Executions that a look must have seen for its shares to mean something.
const LEAST: u64 = 1000;

/// A block goes on a path if it has at least this share of the executions of the block before it.
const SUCCESSOR_SHARE: f64 = 0.3;

/// A unit becomes the head of a path if it has at least this share of the executions.
const HEAD_SHARE: f64 = 0.003;

/// What has less than one of so many executions matters for no share.
const RARE: u64 = 4096;

/// Blocks of a path, at most; the translator limits the number of instructions as well.
const LONGEST_PATH: usize = 24;

/// A path that is left before so many blocks, and before this share of its own, on average, gives way to a region.
const FEW_BLOCKS: f64 = 2.2;
const STAYING_SHARE: f64 = 0.6;

/// A path of which so many blocks are executed, on average, is better than a region: loops that go round often.
const MANY_BLOCKS: f64 = 6.0;

/// Blocks of a region, at least and at most, and the share of the executions of its hottest block that each must have.
const SMALLEST_REGION: usize = 6;
const LARGEST_REGION: usize = 40;
const REGION_SHARE: f64 = 0.02;

/// What has been seen.
#[derive(Debug, Default)]
pub(super) struct Hot {
    /// Level `counts`: what the counters said at the last look.
    counts: Vec<u64>,
    pause: Duration,
    /// Interrupts waiting.
    pub(super) ticker: Option<Ticker>,
    due: Option<Instant>,
    /// Level `full`: chunks to pass over, and how many to pass over next time.
    skip: u32,
    next_skip: u32,
    /// Paths made.
    pub(super) paths: u64,
    /// Units of one block whose place a path has taken, by guest address.
    singles: FxHashMap<u64, UnitId>,
}

/// Executions that one look saw.
#[derive(Debug, Default)]
struct Seen {
    units: FxHashMap<UnitId, u64>,
    blocks: FxHashMap<u64, u64>,
    all: u64,
}

impl Supervisor<'_> {
    /// Begins to look at the counters now and then.
    pub(super) fn watch_counters(&mut self) {
        if self.mode != Mode::Full {
            self.hot.pause = FIRST_PAUSE;
            self.hot.due = Some(Instant::now() + FIRST_PAUSE);
            // Without the timer units stay as they are.
            self.hot.ticker = Ticker::start(FIRST_PAUSE).ok();
        }
    }

    /// The timer may have woken us: looks at the counters.
    pub(super) fn tick(&mut self) -> Result<()> {
        let now = Instant::now();
        if self.hot.due.is_none_or(|due| now < due) {
            return Ok(());
        }
        let seen = self.counted();
        if self.join_hot_blocks(&seen)? == 0 {
            self.hot.pause = (self.hot.pause * 2).min(LAST_PAUSE);
            self.hot.ticker = Ticker::start(self.hot.pause).ok();
        }
        self.hot.due = Some(Instant::now() + self.hot.pause);
        Ok(())
    }

    /// A chunk was filled up to there.
    pub(super) fn look_at_rows(&mut self, filled: Cursor) -> Result<()> {
        if self.hot.skip > 0 {
            self.hot.skip -= 1;
            return Ok(());
        }
        let seen = self.traced(filled);
        if self.join_hot_blocks(&seen)? == 0 {
            self.hot.next_skip = (2 * self.hot.next_skip + 1).min(LONGEST_SKIP);
        } else {
            self.hot.next_skip = 0;
        }
        self.hot.skip = self.hot.next_skip;
        Ok(())
    }

    fn counted(&mut self) -> Seen {
        let limit = self.cache.unit_count();
        let mut now = vec![0; limit as usize];
        for thread in self.threads.values() {
            thread.area.add_counts(&mut now);
        }
        let mut before = std::mem::replace(&mut self.hot.counts, now);
        before.resize(limit as usize, 0);
        let counts = self.hot.counts.iter().zip(before).enumerate();
        let executed: Vec<(UnitId, u64)> = counts
            .map(|(id, (now, before))| (id as UnitId, now.saturating_sub(before)))
            .filter(|&(_, executions)| executions > 0)
            .collect();
        let all = executed.iter().map(|one| one.1).sum();
        let mut seen = Seen::default();
        if all >= LEAST {
            for (id, executions) in executed.into_iter().filter(|one| one.1 >= all / RARE) {
                self.see(&mut seen, id, executions);
            }
        }
        seen.all = all;
        seen
    }

    fn traced(&self, filled: Cursor) -> Seen {
        let Some(stats) = self.stats.rows() else {
            return Seen::default();
        };
        let rows = stats.written(filled);
        let mut seen = Seen::default();
        let mut at = 0;
        for _ in 0..ROWS {
            let Some(header) = rows.get(at..at + 4) else {
                break;
            };
            let header = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let (id, bytes) = (header >> 10, 8 * (header & 0x3ff) as usize);
            if bytes == 0 {
                break;
            }
            self.see(&mut seen, id, 1);
            at += bytes;
        }
        seen
    }

    fn see(&self, seen: &mut Seen, id: UnitId, executions: u64) {
        let Some((unit, blocks)) = self.cache.executed(id) else {
            return;
        };
        seen.all += executions;
        *seen.units.entry(unit).or_default() += executions;
        for pc in blocks {
            *seen.blocks.entry(pc).or_default() += executions;
        }
    }

    /// Makes paths of the hottest blocks that are units of their own; how many.
    fn join_hot_blocks(&mut self, seen: &Seen) -> Result<usize> {
        if seen.all < LEAST {
            return Ok(0);
        }
        let least = seen.all as f64 * HEAD_SHARE;
        let units = seen.units.iter().map(|(&id, &executions)| (id, executions));
        let mut heads: Vec<(UnitId, u64)> = units.filter(|&(_, n)| n as f64 >= least).collect();
        heads.sort_unstable_by_key(|&(id, executions)| (std::cmp::Reverse(executions), id));
        let mut covered = FxHashSet::default();
        let mut joined = 0;
        for (id, _) in heads {
            match self.join(id, seen, &mut covered) {
                Ok(true) => {
                    joined += 1;
                    self.hot.paths += 1;
                }
                Ok(false) => {}
                // Joining is a favour, not a need.
                Err(RuntimeError::Cache(CacheError::Full | CacheError::Units)) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(joined)
    }

    /// Translates the path from unit `id` on as one unit that takes its place, if it is one block and not on another such path.
    fn join(&mut self, id: UnitId, seen: &Seen, covered: &mut FxHashSet<u64>) -> Result<bool> {
        let Some(unit) = self.cache.unit(id) else {
            return Ok(false);
        };
        let (pc, zone) = (unit.pc, unit.zone);
        let current = self.cache.known((pc, None)) == Some(Known::Unit(id));
        let alone = !unit.starts.is_empty() || self.is_marked(pc);
        if !current || alone || covered.contains(&pc) {
            return Ok(false);
        }
        let path = self.path_from(id, &|pc| seen.blocks.get(&pc).copied().unwrap_or(0));
        if path.is_empty() {
            return Ok(false);
        }
        covered.insert(pc);
        covered.extend(&path);
        let request = Request {
            id: self.cache.next_id()?,
            pc,
            prefix: None,
            host: self.cache.next_host(zone)?,
            mode: self.mode,
            virtual_tsc: self.options.environment.is_controlled(),
        };
        let region = match self.mode {
            Mode::Budget if self.is_soon_left(id, &path) => self.region_from(id),
            _ => Vec::new(),
        };
        let mut joined = None;
        if region.len() >= SMALLEST_REGION {
            let unit = translate::region(&self.translatable(), &request, &region)?;
            joined = Some(unit).filter(|unit| !unit.template.starts.is_empty());
        }
        let path = match joined {
            Some(unit) => {
                covered.extend(region.iter().map(|block| block.pc));
                unit
            }
            None => translate::trace(&self.translatable(), &request, &path)?,
        };
        if path.template.starts.is_empty() {
            return Ok(false);
        }
        let (new, templates) = self.cache.insert(zone, path)?;
        for template in templates {
            self.stats.send(|| Message::Unit(Box::new(template)))?;
        }
        self.hot.singles.insert(pc, id);
        self.cache.supersede(id, new)?;
        self.translate_ahead(new)?;
        Ok(true)
    }

    /// The hottest successors, one after the other; a path that comes back to where it was goes around again.
    fn path_from(&self, head: UnitId, executions: &dyn Fn(u64) -> u64) -> Vec<u64> {
        let mut path = Vec::new();
        let mut calls = Vec::new();
        let mut at = head;
        while path.len() < LONGEST_PATH {
            let Some(next) = self.hottest_successor(at, &mut calls, executions) else {
                break;
            };
            path.push(next);
            match self.single(next) {
                Some(id) => at = id,
                None => break,
            }
        }
        path
    }

    /// How many blocks of a path are executed before it is left, on average, as far as the counters tell.
    fn blocks_along(&self, head: UnitId, path: &[u64]) -> f64 {
        let mut at = head;
        let (mut reached, mut blocks) = (1.0, 0.0);
        for &next in path {
            let Some(unit) = self.cache.unit(at) else {
                break;
            };
            let all: u64 = unit.direct_targets().map(|pc| self.executions(pc)).sum();
            if unit.direct_targets().count() > 1 && all > 0 {
                reached *= self.executions(next) as f64 / all as f64;
            }
            blocks += reached;
            match self.single(next) {
                Some(id) => at = id,
                None => break,
            }
        }
        blocks
    }

    /// Whether a path is left so soon that it gives way to a region.
    fn is_soon_left(&self, head: UnitId, path: &[u64]) -> bool {
        self.blocks_along(head, path) < FEW_BLOCKS.min(STAYING_SHARE * path.len() as f64)
    }

    /// Whether a unit is the head of a path of its own that is better not a part of any region.
    fn stays(&self, head: UnitId) -> bool {
        let path = self.path_from(head, &|pc| self.executions(pc));
        self.blocks_along(head, &path) >= MANY_BLOCKS
    }

    /// How often the counters say that the block at `pc` was executed, since the beginning.
    fn executions(&self, pc: u64) -> u64 {
        let count = |id: UnitId| self.hot.counts.get(id as usize).copied();
        self.single(pc).and_then(count).unwrap_or(0)
    }

    /// The hot blocks that can be reached from `head`, in an order in which the hottest successor follows wherever it can.
    fn region_from(&self, head: UnitId) -> Vec<HotBlock> {
        let Some(pc) = self.cache.unit(head).map(|unit| unit.pc) else {
            return Vec::new();
        };
        let mut region = Vec::new();
        let mut open = vec![pc];
        let mut next = Some(pc);
        let mut hottest = 0;
        while region.len() < LARGEST_REGION {
            // Where the last one leads to nothing new: the hottest of all that are reached.
            let Some(pc) = next.or_else(|| {
                let new = open
                    .iter()
                    .filter(|&&pc| !region.iter().any(|one: &HotBlock| one.pc == pc));
                new.copied().max_by_key(|&pc| self.executions(pc))
            }) else {
                break;
            };
            let executions = self.executions(pc);
            hottest = executions.max(hottest);
            open.retain(|&other| other != pc);
            next = None;
            if (executions as f64) < hottest as f64 * REGION_SHARE
                || !region.is_empty() && self.single(pc).is_some_and(|id| self.stays(id))
            {
                continue;
            }
            region.push(HotBlock { pc, executions });
            let Some(unit) = self.single(pc).and_then(|id| self.cache.unit(id)) else {
                continue;
            };
            let mut targets: Vec<u64> = unit.direct_targets().collect();
            next = (targets.iter().copied())
                .filter(|&pc| !region.iter().any(|one| one.pc == pc))
                .max_by_key(|&pc| self.executions(pc));
            if let Ending::Call(returns_to) = unit.ending {
                targets.push(returns_to);
            }
            open.extend(targets);
        }
        region
    }

    /// `calls`: where the calls of the path return to that it has not returned from yet.
    fn hottest_successor(
        &self,
        id: UnitId,
        calls: &mut Vec<u64>,
        executions: &dyn Fn(u64) -> u64,
    ) -> Option<u64> {
        let unit = self.cache.unit(id)?;
        let next = match unit.ending {
            Ending::Return => calls.pop()?,
            _ => unit.direct_targets().max_by_key(|&pc| executions(pc))?,
        };
        if let Ending::Call(returns_to) = unit.ending {
            calls.push(returns_to);
        }
        let least = executions(unit.pc) as f64 * SUCCESSOR_SHARE;
        (executions(next) > 0 && executions(next) as f64 >= least).then_some(next)
    }

    /// The unit that is the block at `pc` alone, also if a path took its place.
    fn single(&self, pc: u64) -> Option<UnitId> {
        let Known::Unit(id) = self.cache.known((pc, None))? else {
            return None;
        };
        if self.cache.unit(id)?.starts.is_empty() {
            return Some(id);
        }
        self.hot.singles.get(&pc).copied()
    }
}
