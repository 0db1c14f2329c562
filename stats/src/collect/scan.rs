//! The fast path: rows of translated code.
//!
//! A scan goes once through a chunk. Per row it looks up the unit, brings the lifetimes forward, and puts the
//! row's offset on the unit's list; when the list has [`BATCH`] rows, their bits and memory accesses are
//! counted together. Lists that are not full are counted before the chunk is handed back.

use std::sync::Arc;

use super::access::{LastPage, count_one};
use super::bits::{BATCH, Planes};
use super::kernels::{Isa, Job, Lane, fetch};
use super::lifetime::Window;
use super::memory::Pages;
use super::unit::{Effect, Unit};
use crate::template::{ROW_ALIGN, ROW_HEADER, UnitId};

/// How far ahead of the scan its bytes are fetched: they come from another core's cache, and where the next row begins is known only from the
/// header before it.
const AHEAD: usize = 8192;

/// What is counted from rows: for each unit, and the pages that all units share.
#[derive(Debug, Default)]
pub struct Counts {
    hot: Vec<Hot>,
    tallies: Vec<Option<Tally>>,
    pages: Pages,
    /// The first unit that has rows on its list, maybe.
    listed: UnitId,
}

/// Ends the chain of listed units; there is no unit 0.
const NOBODY: UnitId = 0;

/// Marks a unit that is not in the chain.
const UNLISTED: UnitId = UnitId::MAX;

/// What a scan touches for each row.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Hot {
    effects: [Effect; 2],
    offsets: [u32; BATCH],
    row_bytes: u32,
    pending: u32,
    instructions: u32,
    /// The next unit in the chain of those that have rows on their lists.
    listed: UnitId,
    more_effects: bool,
}

impl Hot {
    /// A unit that is not known: no row has this length.
    const UNKNOWN: Hot = Hot {
        effects: [Effect::NONE; 2],
        offsets: [0; BATCH],
        row_bytes: u32::MAX,
        pending: 0,
        instructions: 0,
        listed: UNLISTED,
        more_effects: false,
    };
}

/// What is counted of one unit.
#[derive(Debug)]
pub struct Tally {
    /// The unit.
    pub unit: Arc<Unit>,
    /// Ones by bit position of its rows.
    pub planes: Planes,
    /// Complete executions that left no row.
    pub without_row: u64,
    last_pages: Box<[LastPage]>,
}

impl Tally {
    /// Complete executions.
    pub fn executions(&self) -> u64 {
        self.planes.rows() + self.without_row
    }
}

/// Why a scan stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the rows.
    End,
    /// At a row of unit 0 of so many bytes.
    Event {
        /// Its offset.
        at: usize,
        /// Its length.
        bytes: usize,
    },
    /// At something that is no row.
    Damage {
        /// Its offset.
        at: usize,
    },
}

/// Rows to be scanned.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The rows, and [`super::bits::LANE`] readable bytes behind them.
    pub bytes: &'a [u8],
    /// Where the rows end.
    pub end: usize,
    /// The thread's fs base.
    pub fs: u64,
}

impl Counts {
    /// Makes a unit known.
    pub fn add_unit(&mut self, unit: Arc<Unit>) {
        let id = unit.id as usize;
        if self.tallies.len() <= id {
            self.tallies.resize_with(id + 1, || None);
        }
        let effect = |group: usize| {
            unit.effects[group]
                .as_deref()
                .copied()
                .unwrap_or(Effect::NONE)
        };
        if unit.row_bytes != 0 {
            if self.hot.len() <= id {
                self.hot.resize(id + 1, Hot::UNKNOWN);
            }
            self.hot[id] = Hot {
                effects: [effect(0), effect(1)],
                row_bytes: unit.row_bytes as u32,
                instructions: unit.length(),
                more_effects: unit.effects[2..].iter().any(Option::is_some),
                ..Hot::UNKNOWN
            };
        }
        self.tallies[id] = Some(Tally {
            planes: Planes::new(unit.row_bytes),
            without_row: 0,
            last_pages: vec![LastPage::default(); unit.accesses.groups.len()].into(),
            unit,
        });
    }

    /// A unit's tally.
    pub fn tally(&mut self, unit: UnitId) -> Option<&mut Tally> {
        self.tallies.get_mut(unit as usize)?.as_mut()
    }

    /// A unit, if it is known.
    pub fn unit(&self, unit: UnitId) -> Option<&Arc<Unit>> {
        Some(&self.tallies.get(unit as usize)?.as_ref()?.unit)
    }

    /// The pages.
    pub fn pages(&mut self) -> &mut Pages {
        &mut self.pages
    }

    /// Goes through rows from `at` on until it must stop. Rows may remain on lists until [`Counts::flush`].
    pub fn scan(&mut self, isa: Isa, window: &mut Window, rows: Rows<'_>, at: usize) -> Stop {
        let mut at = at;
        let mut fetched = at;
        loop {
            let ahead = (at + AHEAD).min(rows.end);
            if fetched < ahead {
                fetch(&rows.bytes[fetched..ahead]);
                fetched = ahead;
            }
            let hot = &mut self.hot[..];
            let listed = &mut self.listed;
            let stop = isa.run(Scan {
                hot,
                listed,
                tallies: &self.tallies,
                window,
                rows,
                at,
            });
            match stop {
                Pause::Stop(stop) => return stop,
                Pause::Full { unit, next } => {
                    self.count(isa, unit, rows);
                    at = next;
                }
            }
        }
    }

    /// Counts the rows that remained on lists.
    pub fn flush(&mut self, isa: Isa, rows: Rows<'_>) {
        while self.listed != NOBODY {
            let unit = self.listed;
            let hot = &mut self.hot[unit as usize];
            self.listed = std::mem::replace(&mut hot.listed, UNLISTED);
            self.count(isa, unit, rows);
        }
    }

    fn count(&mut self, isa: Isa, unit: UnitId, rows: Rows<'_>) {
        let hot = &mut self.hot[unit as usize];
        let offsets = &hot.offsets[..hot.pending as usize];
        hot.pending = 0;
        if let Some(tally) = &mut self.tallies[unit as usize]
            && !offsets.is_empty()
        {
            let pages = &mut self.pages;
            isa.run(Count {
                tally,
                pages,
                rows,
                offsets,
            });
        }
    }

    /// All tallies and pages, when no row remains on a list.
    pub fn take(&mut self) -> (Vec<Tally>, Pages) {
        let mut pages = std::mem::take(&mut self.pages);
        let mut tallies: Vec<Tally> = std::mem::take(&mut self.tallies)
            .into_iter()
            .flatten()
            .collect();
        self.hot.clear();
        for tally in &mut tallies {
            let executions = tally.executions();
            for (group, last) in tally.unit.accesses.groups.iter().zip(&mut tally.last_pages) {
                group.flush(last, &mut pages);
            }
            if executions != 0 {
                for access in &tally.unit.accesses.fixed {
                    pages.access(*access, executions);
                }
            }
        }
        (tallies, pages)
    }
}

/// The loop over the rows. Nothing in it calls a function, so that everything can stay in registers.
struct Scan<'a> {
    hot: &'a mut [Hot],
    listed: &'a mut UnitId,
    tallies: &'a [Option<Tally>],
    window: &'a mut Window,
    rows: Rows<'a>,
    at: usize,
}

/// Why the loop over the rows was left.
enum Pause {
    Stop(Stop),
    /// A unit's list is full; `next` is the next row.
    Full {
        unit: UnitId,
        next: usize,
    },
}

impl Job for Scan<'_> {
    type Output = Pause;

    #[inline(always)]
    fn run<L: Lane>(self) -> Pause {
        let Scan {
            hot: hots,
            listed,
            tallies,
            window,
            rows,
            mut at,
        } = self;
        let mut now = window.now;
        let (mut since, mut flags_since) = (L::get(&window.since[0]), L::get(&window.since[1]));
        let (mut sum, mut flags_sum) = (L::get(&window.sum[0]), L::get(&window.sum[1]));
        let pause = loop {
            if at >= rows.end {
                break Pause::Stop(Stop::End);
            }
            let header = read_header(rows.bytes, at);
            let (unit, bytes) = (
                (header >> 10) as usize,
                (header & 1023) as usize * ROW_ALIGN,
            );
            let known = hots
                .get_mut(unit)
                .filter(|hot| hot.row_bytes as usize == bytes);
            let Some(hot) = known.filter(|_| at + bytes <= rows.end) else {
                break Pause::Stop(match unit {
                    0 if bytes != 0 && at + bytes <= rows.end => Stop::Event { at, bytes },
                    _ => Stop::Damage { at },
                });
            };
            let time = L::splat(now);
            let [general, flags] = &hot.effects;
            (since, sum) = time.live(&general.first, &general.last, since, sum);
            (flags_since, flags_sum) = time.live(&flags.first, &flags.last, flags_since, flags_sum);
            if hot.more_effects {
                more_effects(time, &tallies[unit], window);
            }
            now += hot.instructions;
            hot.offsets[hot.pending as usize % BATCH] = at as u32;
            hot.pending += 1;
            at += bytes;
            if hot.listed == UNLISTED {
                hot.listed = std::mem::replace(listed, unit as UnitId);
            }
            if hot.pending as usize == BATCH {
                break Pause::Full {
                    unit: unit as UnitId,
                    next: at,
                };
            }
        };
        window.now = now;
        since.put(&mut window.since[0]);
        flags_since.put(&mut window.since[1]);
        sum.put(&mut window.sum[0]);
        flags_sum.put(&mut window.sum[1]);
        pause
    }
}

/// The header of the row at `at`.
#[inline(always)]
fn read_header(rows: &[u8], at: usize) -> u32 {
    let bytes: &[u8; ROW_HEADER] = rows[at..]
        .first_chunk()
        .expect("there are readable bytes behind the rows");
    u32::from_le_bytes(*bytes)
}

/// The lifetimes of what is neither a general register nor a flag (nor one of the first vector registers).
#[inline(always)]
fn more_effects<L: Lane>(time: L, tally: &Option<Tally>, window: &mut Window) {
    let Some(tally) = tally else { return };
    for (group, effect) in tally.unit.effects.iter().enumerate().skip(2) {
        if let Some(effect) = effect {
            let (since, sum) = (L::get(&window.since[group]), L::get(&window.sum[group]));
            let (since, sum) = time.live(&effect.first, &effect.last, since, sum);
            since.put(&mut window.since[group]);
            sum.put(&mut window.sum[group]);
        }
    }
}

/// Counts bits and memory accesses of some rows of a unit.
struct Count<'a> {
    tally: &'a mut Tally,
    pages: &'a mut Pages,
    rows: Rows<'a>,
    offsets: &'a [u32],
}

impl Job for Count<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lane>(self) {
        let Count {
            tally,
            pages,
            rows,
            offsets,
        } = self;
        tally.planes.add::<L>(rows.bytes, offsets);
        let accesses = &tally.unit.accesses;
        for (group, last) in accesses.groups.iter().zip(&mut tally.last_pages) {
            group.count(rows.bytes, offsets, rows.fs, last, pages);
        }
        for access in &accesses.others {
            for &row in offsets {
                count_one(access, &rows.bytes[row as usize..], rows.fs, pages);
            }
        }
    }
}
