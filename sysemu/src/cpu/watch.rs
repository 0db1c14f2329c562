//! Watched RAM and stuck cells, for faults. A page with either never gets into the part of the TLB that would hide the access: see
//! [`Cpu::may_cache`].

use std::ops::Range;

use rustc_hash::FxHashMap;

use crate::cpu::state::{Cpu, Stop};
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
    fn covers(&self, write: bool) -> bool {
        let kinds = Kinds::of(write);
        write && !self.stuck.is_empty() || self.stretches.iter().any(|s| s.kinds.meets(kinds))
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
    /// Whether the TLB may let accesses of a page of RAM through unseen: reads of what isn't watched, writes where also no decoded code lies
    /// and no cell is stuck.
    pub(crate) fn may_cache(&self, physical: u64, write: bool) -> bool {
        if write && self.code.has_code(physical) {
            return false;
        }
        self.watches
            .page(physical)
            .is_none_or(|page| !page.covers(write))
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
            at = next;
        }
        self.tlb.flush(true);
    }

    /// Ends a watch.
    pub fn unwatch(&mut self, number: u32) {
        for page in self.watches.pages.values_mut() {
            page.stretches.retain(|stretch| stretch.number != number);
        }
        self.watches.tidy();
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
            return;
        }
        let value = value & mask;
        stuck.insert(offset, Stuck { mask, value });
        self.tlb.flush(true);
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
