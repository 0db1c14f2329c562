//! Watched RAM and stuck cells, for faults. A page with either is marked in the TLB, with the lines of 64 bytes that are concerned: see
//! [`Cpu::watched_lines`].

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::cpu::state::{Cpu, Stop};
use crate::cpu::tlb::Lines;
use crate::cpu::trap::Trap;

/// Which accesses are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds {
    /// Reads.
    pub reads: bool,
    /// Writes.
    pub writes: bool,
}

impl Kinds {
    fn of(write: bool) -> Self {
        Kinds {
            reads: !write,
            writes: write,
        }
    }

    fn meets(self, other: Kinds) -> bool {
        self.reads && other.reads || self.writes && other.writes
    }
}

/// A stretch of one page, by offset.
#[derive(Clone, Debug)]
struct Stretch {
    number: u32,
    range: Range<u64>,
    kinds: Kinds,
}

/// A byte of RAM of which some bits can't be changed.
#[derive(Clone, Copy, Debug, Default)]
struct Stuck {
    mask: u8,
    value: u8,
}

/// What of a page is watched.
#[derive(Debug, Default)]
struct Page {
    stretches: Vec<Stretch>,
    stuck: FxHashMap<u16, Stuck>,
}

impl Page {
    /// What the TLB must not let through. An instruction that reads what it writes back uses the table for writes alone, so that knows all.
    fn lines(&self, write: bool) -> Lines {
        let mut lines = Lines::default();
        for stretch in &self.stretches {
            if write || stretch.kinds.reads {
                lines.add(stretch.range.clone());
            }
        }
        for &offset in self.stuck.keys().filter(|_| write) {
            lines.add(offset.into()..u64::from(offset) + 1);
        }
        lines
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    pages: FxHashMap<u64, Page>,
    /// A bit for each page that is in `pages`, so that most pages need no look-up.
    any: Vec<u64>,
    /// The instruction that was stopped at, and what it was stopped for: it goes on when it is executed again.
    reported_at: (u64, u64),
    reported: Vec<u32>,
}

impl Watches {
    fn page(&self, physical: u64) -> Option<&Page> {
        let page = physical >> 12;
        let word = self.any.get((page >> 6) as usize)?;
        if word >> (page & 63) & 1 == 0 {
            return None;
        }
        self.pages.get(&page)
    }

    fn page_mut(&mut self, page: u64) -> &mut Page {
        let word = (page >> 6) as usize;
        if self.any.len() <= word {
            self.any.resize(word + 1, 0);
        }
        self.any[word] |= 1 << (page & 63);
        self.pages.entry(page).or_default()
    }

    /// The machine is no longer at the instruction that it was stopped at.
    pub(crate) fn forget_reported(&mut self) {
        self.reported.clear();
    }

    /// Forgets pages that have nothing left.
    fn tidy(&mut self) {
        let any = &mut self.any;
        self.pages.retain(|&page, what| {
            let used = !what.stretches.is_empty() || !what.stuck.is_empty();
            if !used {
                any[(page >> 6) as usize] &= !(1 << (page & 63));
            }
            used
        });
    }
}

impl Cpu {
    /// The lines of a page of RAM of which the TLB must not let accesses through unseen; none where it may have no entry: decoded code must be
    /// told of all writes.
    pub(crate) fn watched_lines(&self, physical: u64, write: bool) -> Option<Lines> {
        if write && self.code.has_code(physical) {
            return None;
        }
        let page = self.watches.page(physical);
        Some(page.map(|page| page.lines(write)).unwrap_or_default())
    }

    /// Makes the TLB know what is watched of a page.
    fn mark_watched(&mut self, page: u64) {
        let page = page << 12;
        let [reads, writes] = [false, true].map(|write| {
            let watched = self.watches.page(page);
            watched.map(|page| page.lines(write)).unwrap_or_default()
        });
        self.tlb.mark(page, reads, writes);
    }

    /// Nothing is watched any more, and no cell is stuck.
    pub(crate) fn forget_watches(&mut self) {
        let pages: Vec<u64> = self.watches.pages.keys().copied().collect();
        self.watches = Watches::default();
        for page in pages {
            self.mark_watched(page);
        }
    }

    /// Stops the machine before each instruction that accesses `[physical, physical + length)` in such a way, until
    /// [`Cpu::unwatch`] is called with the number.
    pub fn watch_memory(&mut self, number: u32, physical: u64, length: u64, kinds: Kinds) {
        let end = physical.saturating_add(length);
        let mut at = physical;
        while at < end {
            let base = at & !0xfff;
            let next = (base + 4096).min(end);
            self.watches.page_mut(base >> 12).stretches.push(Stretch {
                number,
                range: at - base..next - base,
                kinds,
            });
            self.mark_watched(base >> 12);
            at = next;
        }
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, number: u32) {
        let mut changed = Vec::new();
        for (&at, page) in &mut self.watches.pages {
            let before = page.stretches.len();
            page.stretches.retain(|stretch| stretch.number != number);
            if page.stretches.len() != before {
                changed.push(at);
            }
        }
        self.watches.tidy();
        for page in changed {
            self.mark_watched(page);
        }
    }

    /// From now on the bits of `mask` of a byte of RAM are those of `value`, whatever is written; a mask of 0 makes it sound again.
    pub fn stick(&mut self, physical: u64, mask: u8, value: u8) {
        if !self.ram.contains(physical, 1) {
            return;
        }
        let stuck = &mut self.watches.page_mut(physical >> 12).stuck;
        let offset = (physical & 0xfff) as u16;
        if mask == 0 {
            stuck.remove(&offset);
            self.watches.tidy();
            self.mark_watched(physical >> 12);
            return;
        }
        let value = value & mask;
        stuck.insert(offset, Stuck { mask, value });
        self.mark_watched(physical >> 12);
        self.note_write(physical, 1);
    }

    /// Puts stuck bits back after a write within one page; true where that changed anything.
    pub(crate) fn enforce_stuck(&mut self, physical: u64, length: u64) -> bool {
        let Some(page) = self.watches.page(physical) else {
            return false;
        };
        let mut changed = false;
        for (&offset, stuck) in &page.stuck {
            let at = physical & !0xfff | u64::from(offset);
            if at < physical || at - physical >= length {
                continue;
            }
            let old = self.ram.read::<u8>(at);
            let new = old & !stuck.mask | stuck.value;
            changed |= old != new;
            self.ram.write(at, new);
        }
        changed
    }

    /// Stops where an access of RAM is watched and was not reported for this instruction yet. Accesses that the processor makes while it
    /// delivers an interrupt are reported after the delivery.
    pub(crate) fn check_watches(
        &mut self,
        physical: u64,
        length: u64,
        write: bool,
    ) -> Result<(), Trap> {
        let Some(page) = self.watches.page(physical) else {
            return Ok(());
        };
        let here = (self.retired, self.rip());
        let fresh = self.watches.reported_at != here;
        let start = physical & 0xfff;
        let kinds = Kinds::of(write);
        let hit = page.stretches.iter().find(|stretch| {
            stretch.kinds.meets(kinds)
                && stretch.range.start < start + length
                && start < stretch.range.end
                && (fresh || !self.watches.reported.contains(&stretch.number))
        });
        let Some(number) = hit.map(|stretch| stretch.number) else {
            return Ok(());
        };
        if fresh {
            self.watches.reported.clear();
            self.watches.reported_at = here;
        }
        self.watches.reported.push(number);
        let trap = self.stop_with(Stop::Watched {
            number,
            physical,
            length,
            write,
        });
        if self.delivering { Ok(()) } else { Err(trap) }
    }
}
