//! The translation cache: direct-mapped tables of pages that may be accessed without looking at page tables.
//!
//! There is a table for reads and one for writes in each *class* of data access, and one for fetches by privilege. An entry
//! is only made for RAM, for writes only where the dirty bit is set and no decoded code lies in the page.
//!
//! A page of which somebody watches accesses has *marked* entries: their tags are those of no address, so that the quick ways miss them, and beside
//! each is which lines of 64 bytes are watched. Accesses of the other lines need no more than that, and marks decide nothing else: a machine that is
//! watched walks its page tables when one that is not does.
//!
//! Translated code reads the tables itself, so their layout is fixed. What is in them decides when page tables are walked, and so when
//! accessed bits are set: nothing but the guest's own accesses and flushes may change it, or the two stages would differ.

use rustc_hash::FxHashSet;

/// Data access with user privilege.
pub(crate) const USER: usize = 0;
/// With supervisor privilege, user pages being out of bounds if SMAP is on.
pub(crate) const SUPERVISOR: usize = 1;
/// With supervisor privilege and RFLAGS.AC.
pub(crate) const SUPERVISOR_AC: usize = 2;
/// Every access takes the slow path (alignment checks, data breakpoints): never filled.
pub(crate) const SLOW: usize = 3;

/// Entries of a table.
pub(crate) const ENTRIES: usize = 1024;

/// A page: its linear address, and where it is in the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// An address that belongs to another index where the entry is empty, so that none matches.
    pub(crate) tag: u64,
    /// Where the page lies in the host.
    pub(crate) host: u64,
}

/// The lines of a page that are watched: bit n is set where an access that begins in `[64 n, 64 n + 64)` may concern a watched byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) watched: u64,
    /// As far apart as entries are, so that one index serves for both.
    _apart: u64,
}

impl Lines {
    /// No access has more bytes.
    const LONGEST: u64 = 64;

    /// Adds bytes of the page.
    pub(crate) fn add(&mut self, bytes: std::ops::Range<u64>) {
        if bytes.is_empty() {
            return;
        }
        let first = bytes.start.saturating_sub(Lines::LONGEST - 1) >> 6;
        for line in first..=(bytes.end - 1) >> 6 {
            self.watched |= 1 << line;
        }
    }

    /// Whether an access that begins there may concern a watched byte.
    pub(crate) fn at(self, linear: u64) -> bool {
        self.watched >> (linear >> 6 & 63) & 1 != 0
    }

    /// Bytes from there to the next line that is watched, or to the end of the page.
    pub(crate) fn clear_bytes(self, linear: u64) -> u64 {
        let line = linear >> 6 & 63;
        let clear = u64::from((self.watched >> line).trailing_zeros()).min(64 - line);
        (64 * (line + clear)).saturating_sub(linear & 0xfff)
    }
}

/// What is changed in the tag of a marked entry: like that of an empty one, but with another bit, it is of another index.
pub(crate) const MARK: u64 = 4 << 12;

/// Reads of class c are table 2c, writes 2c + 1, then fetches of supervisor and user.
const TABLES: usize = 10;
const FETCH: usize = 8;
/// Tables of data accesses in classes that have entries.
const DATA: usize = 2 * SLOW;

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Tlb {
    tables: [[Entry; ENTRIES]; TABLES],
    /// Of marked entries for data.
    lines: [[Lines; ENTRIES]; DATA],
    /// Where physical address 0 is in the host.
    start: u64,
    /// Per entry: whether it is listed in `used`, and whether it is global.
    marks: [[u8; ENTRIES]; TABLES],
    /// Entries that may be in use: table, index.
    used: Vec<(u8, u16)>,
    /// Larger pages of which entries may be in use: address and number of address bits inside.
    large: FxHashSet<(u64, u32)>,
}

/// What is remembered of a page besides where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) global: bool,
    /// How many address bits are inside the page: 12, or more for a large one.
    pub(crate) shift: u32,
}

const LISTED: u8 = 1;
const GLOBAL: u8 = 2;

/// Neither a page of this index has the tag nor the one behind it, which an access that reaches over a page's end is compared with.
fn empty(index: usize) -> Entry {
    Entry {
        tag: (index as u64 ^ 2) << 12,
        host: 0,
    }
}

/// The bytes from the beginning of a [`Tlb`] to the table of data accesses.
pub(crate) const fn data_table(class: usize, write: bool) -> usize {
    (2 * class + write as usize) * ENTRIES * size_of::<Entry>()
}

/// The bytes from the beginning of a [`Tlb`] to the lines beside a table of data accesses, in a class that is not [`SLOW`].
pub(crate) const fn lines_table(class: usize, write: bool) -> usize {
    std::mem::offset_of!(Tlb, lines) + data_table(class, write)
}

/// The bytes from the beginning of a [`Tlb`] to the table of fetches.
pub(crate) const fn fetch_table(user: bool) -> usize {
    (FETCH + user as usize) * ENTRIES * size_of::<Entry>()
}

/// Whether it is the entry of that page, marked or not.
fn is_of(entry: Entry, linear: u64) -> bool {
    (entry.tag ^ linear & !0xfff) & !MARK == 0
}

impl Tlb {
    /// An empty one, for memory that begins there in the host.
    pub(crate) fn new(start: u64) -> Self {
        Tlb {
            tables: [std::array::from_fn(empty); TABLES],
            lines: [[Lines::default(); ENTRIES]; DATA],
            start,
            marks: [[0; ENTRIES]; TABLES],
            used: Vec::new(),
            large: FxHashSet::default(),
        }
    }

    #[inline(always)]
    pub(crate) fn index(linear: u64) -> usize {
        (linear >> 12) as usize & (ENTRIES - 1)
    }

    /// The physical page of an entry that is in use.
    #[inline(always)]
    pub(crate) fn physical(&self, entry: Entry) -> u64 {
        entry.host.wrapping_sub(self.start)
    }

    #[inline(always)]
    pub(crate) fn data(&self, class: usize, write: bool, linear: u64) -> Entry {
        self.tables[(2 * class + usize::from(write)) & 7][Tlb::index(linear)]
    }

    /// The physical address and the watched lines of the page that `linear` and the last of `length` bytes lie in, if its entry is marked.
    pub(crate) fn marked(
        &self,
        class: usize,
        write: bool,
        linear: u64,
        length: u64,
    ) -> Option<(u64, Lines)> {
        let entry = self.data(class, write, linear);
        let last = linear.wrapping_add(length - 1) & !0xfff;
        (class != SLOW && entry.tag ^ MARK == last).then(|| {
            let lines = self.lines[2 * class + usize::from(write)][Tlb::index(linear)];
            (self.physical(entry) | linear & 0xfff, lines)
        })
    }

    /// Where `linear` is, and how many bytes of its page from there on nobody watches; none where the page is not in the table.
    pub(crate) fn unwatched(&self, class: usize, write: bool, linear: u64) -> Option<(u64, u64)> {
        let entry = self.data(class, write, linear);
        if entry.tag == linear & !0xfff {
            let offset = linear & 0xfff;
            return Some((self.physical(entry) | offset, 4096 - offset));
        }
        let (physical, lines) = self.marked(class, write, linear, 1)?;
        Some((physical, lines.clear_bytes(linear)))
    }

    /// Marks the entries of a physical page, or takes their marks away, by what is watched of reads and of writes.
    pub(crate) fn mark(&mut self, physical: u64, reads: Lines, writes: Lines) {
        let host = self.start.wrapping_add(physical & !0xfff);
        for number in 0..self.used.len() {
            let (table, index) = self.used[number];
            let (table, index) = (usize::from(table), usize::from(index));
            if table < DATA && self.tables[table][index].host == host {
                let lines = if table % 2 == 1 { writes } else { reads };
                self.set_lines(table, index, lines);
            }
        }
    }

    fn set_lines(&mut self, table: usize, index: usize, lines: Lines) {
        let tag = &mut self.tables[table][index].tag;
        // The bits of an index are in every address.
        let unmarked = *tag & !MARK | (index as u64) << 12 & MARK;
        *tag = unmarked ^ if lines.watched != 0 { MARK } else { 0 };
        self.lines[table][index] = lines;
    }

    #[inline(always)]
    pub(crate) fn fetch(&self, user: bool, linear: u64) -> Entry {
        self.tables[FETCH + usize::from(user)][Tlb::index(linear)]
    }

    fn fill(&mut self, table: usize, linear: u64, physical: u64, kind: Kind) {
        let index = Tlb::index(linear);
        self.tables[table][index] = Entry {
            tag: linear & !0xfff,
            host: self.start.wrapping_add(physical & !0xfff),
        };
        let marks = &mut self.marks[table][index];
        if *marks & LISTED == 0 {
            self.used.push((table as u8, index as u16));
        }
        *marks = LISTED | if kind.global { GLOBAL } else { 0 };
        if kind.shift > 12 {
            self.large.insert((linear >> kind.shift, kind.shift));
        }
    }

    pub(crate) fn fill_data(
        &mut self,
        class: usize,
        write: bool,
        linear: u64,
        physical: u64,
        kind: Kind,
        lines: Lines,
    ) {
        if class != SLOW {
            let table = 2 * class + usize::from(write);
            self.fill(table, linear, physical, kind);
            if lines.watched != 0 {
                self.set_lines(table, Tlb::index(linear), lines);
            }
        }
    }

    pub(crate) fn fill_fetch(&mut self, user: bool, linear: u64, physical: u64, kind: Kind) {
        self.fill(FETCH + usize::from(user), linear, physical, kind);
    }

    /// Drops all entries, or all that are not global.
    pub(crate) fn flush(&mut self, with_global: bool) {
        let Tlb {
            tables,
            marks,
            used,
            large,
            ..
        } = self;
        if with_global {
            large.clear();
        }
        used.retain(|&(table, index)| {
            let (table, index) = (usize::from(table), usize::from(index));
            let stays = marks[table][index] & GLOBAL != 0 && !with_global;
            if !stays {
                tables[table][index] = empty(index);
                marks[table][index] = 0;
            }
            stays
        });
    }

    /// Drops the entries of one page, all of them if it is a large one.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        for shift in [21, 22, 30] {
            if self.large.remove(&(linear >> shift, shift)) {
                self.flush_range(linear, shift);
            }
        }
        let index = Tlb::index(linear);
        for table in &mut self.tables {
            if is_of(table[index], linear) {
                table[index] = empty(index);
            }
        }
    }

    /// Exchanges the physical page of all entries of a linear one, of which reads and writes are watched so; without the latter, write entries are
    /// dropped instead.
    pub(crate) fn redirect(
        &mut self,
        linear: u64,
        physical: u64,
        reads: Lines,
        writes: Option<Lines>,
    ) -> usize {
        let index = Tlb::index(linear);
        let host = self.start.wrapping_add(physical & !0xfff);
        let mut changed = 0;
        for number in 0..TABLES {
            let entry = &mut self.tables[number][index];
            if !is_of(*entry, linear) {
                continue;
            }
            let write = number < FETCH && number % 2 == 1;
            let lines = if write { writes } else { Some(reads) };
            let Some(lines) = lines else {
                *entry = empty(index);
                continue;
            };
            entry.host = host;
            changed += 1;
            if number < DATA {
                self.set_lines(number, index, lines);
            }
        }
        changed
    }

    fn flush_range(&mut self, linear: u64, shift: u32) {
        for &(table, index) in &self.used {
            let entry = &mut self.tables[usize::from(table)][usize::from(index)];
            if entry.tag >> shift == linear >> shift {
                *entry = empty(index.into());
            }
        }
    }

    /// Drops write entries of a physical page, which now holds code.
    pub(crate) fn protect(&mut self, physical: u64) {
        let host = self.start.wrapping_add(physical & !0xfff);
        for class in 0..3 {
            for (index, entry) in self.tables[2 * class + 1].iter_mut().enumerate() {
                if entry.host == host {
                    *entry = empty(index);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_entry_is_no_page_and_not_the_one_behind_it() {
        let tlb = Tlb::new(0);
        for page in 0..3 * ENTRIES as u64 {
            let entry = tlb.data(USER, false, page << 12);
            assert_ne!(entry.tag, page << 12);
            assert_ne!(entry.tag, (page + 1) << 12, "page {page:#x}");
            assert!(!is_of(entry, page << 12), "page {page:#x}");
            assert_eq!(tlb.marked(USER, false, page << 12, 1), None);
        }
    }
}
