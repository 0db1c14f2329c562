//! The translation cache: direct-mapped tables of pages that may be accessed without looking at page tables.
//!
//! There is a table for reads and one for writes in each *class* of data access, and one for fetches by privilege. An entry
//! is only made for RAM, for writes only where the dirty bit is set and no decoded code lies in the page.
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

/// Reads of class c are table 2c, writes 2c + 1, then fetches of supervisor and user.
const TABLES: usize = 10;
const FETCH: usize = 8;

#[repr(C)]
#[derive(Debug)]
pub(crate) struct Tlb {
    tables: [[Entry; ENTRIES]; TABLES],
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

/// The bytes from the beginning of a [`Tlb`] to the table of fetches.
pub(crate) const fn fetch_table(user: bool) -> usize {
    (FETCH + user as usize) * ENTRIES * size_of::<Entry>()
}

impl Tlb {
    /// An empty one, for memory that begins there in the host.
    pub(crate) fn new(start: u64) -> Self {
        Tlb {
            tables: [std::array::from_fn(empty); TABLES],
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
    ) {
        if class != SLOW {
            self.fill(2 * class + usize::from(write), linear, physical, kind);
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
            if table[index].tag == linear & !0xfff {
                table[index] = empty(index);
            }
        }
    }

    /// Exchanges the physical page of all entries of a linear one; where `writable` is false, write entries are dropped instead.
    pub(crate) fn redirect(&mut self, linear: u64, physical: u64, writable: bool) -> usize {
        let index = Tlb::index(linear);
        let host = self.start.wrapping_add(physical & !0xfff);
        let mut changed = 0;
        for (number, table) in self.tables.iter_mut().enumerate() {
            let entry = &mut table[index];
            if entry.tag != linear & !0xfff {
                continue;
            }
            let write = number < FETCH && number % 2 == 1;
            if write && !writable {
                *entry = empty(index);
            } else {
                entry.host = host;
                changed += 1;
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
        }
    }
}
