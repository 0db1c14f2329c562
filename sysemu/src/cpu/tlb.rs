//! The translation cache: direct-mapped tables of pages that may be accessed without looking at page tables.
//!
//! There is a table for reads and one for writes in each *class* of data access, and one for fetches by privilege. An entry
//! is only made for RAM, for writes only where the dirty bit is set and no decoded code lies in the page.

/// Data access with user privilege.
pub(crate) const USER: usize = 0;
/// With supervisor privilege, user pages being out of bounds if SMAP is on.
pub(crate) const SUPERVISOR: usize = 1;
/// With supervisor privilege and RFLAGS.AC.
pub(crate) const SUPERVISOR_AC: usize = 2;
/// Every access takes the slow path (alignment checks, data breakpoints): never filled.
pub(crate) const SLOW: usize = 3;

const ENTRIES: usize = 1024;
const EMPTY: u64 = 1;

/// A page: linear address (no page has [`EMPTY`]) and physical address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) tag: u64,
    pub(crate) page: u64,
}

/// Reads of class c are table 2c, writes 2c + 1, then fetches of supervisor and user.
const TABLES: usize = 10;
const FETCH: usize = 8;

#[derive(Debug)]
pub(crate) struct Tlb {
    tables: [[Entry; ENTRIES]; TABLES],
    /// Entries that are in use: table, index, global.
    used: Vec<(u8, u16, bool)>,
}

const CLEAR: Entry = Entry {
    tag: EMPTY,
    page: 0,
};

impl Tlb {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Tlb {
            tables: [[CLEAR; ENTRIES]; TABLES],
            used: Vec::new(),
        })
    }

    #[inline(always)]
    fn index(linear: u64) -> usize {
        (linear >> 12) as usize & (ENTRIES - 1)
    }

    #[inline(always)]
    pub(crate) fn data(&self, class: usize, write: bool, linear: u64) -> Entry {
        self.tables[(2 * class + usize::from(write)) & 7][Tlb::index(linear)]
    }

    #[inline(always)]
    pub(crate) fn fetch(&self, user: bool, linear: u64) -> Entry {
        self.tables[FETCH + usize::from(user)][Tlb::index(linear)]
    }

    fn fill(&mut self, table: usize, linear: u64, physical: u64, global: bool) {
        let index = Tlb::index(linear);
        self.tables[table][index] = Entry {
            tag: linear & !0xfff,
            page: physical & !0xfff,
        };
        if self.used.len() >= 4 * ENTRIES * TABLES {
            self.compact();
        }
        self.used.push((table as u8, index as u16, global));
    }

    /// The list has grown by entries that replaced others: everything is dropped, which is always allowed.
    fn compact(&mut self) {
        self.flush(true);
    }

    pub(crate) fn fill_data(
        &mut self,
        class: usize,
        write: bool,
        linear: u64,
        physical: u64,
        global: bool,
    ) {
        if class != SLOW {
            self.fill(2 * class + usize::from(write), linear, physical, global);
        }
    }

    pub(crate) fn fill_fetch(&mut self, user: bool, linear: u64, physical: u64, global: bool) {
        self.fill(FETCH + usize::from(user), linear, physical, global);
    }

    /// Drops all entries, or all that are not global.
    pub(crate) fn flush(&mut self, with_global: bool) {
        let Tlb { tables, used } = self;
        used.retain(|&(table, index, global)| {
            if global && !with_global {
                return true;
            }
            tables[table as usize][index as usize] = CLEAR;
            false
        });
    }

    /// Drops the entries of one page.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        let index = Tlb::index(linear);
        for table in &mut self.tables {
            if table[index].tag == linear & !0xfff {
                table[index] = CLEAR;
            }
        }
    }

    /// Exchanges the physical page of all entries of a linear one; where `writable` is false, write entries are dropped instead.
    pub(crate) fn redirect(&mut self, linear: u64, physical: u64, writable: bool) -> usize {
        let index = Tlb::index(linear);
        let mut changed = 0;
        for (number, table) in self.tables.iter_mut().enumerate() {
            let entry = &mut table[index];
            if entry.tag != linear & !0xfff {
                continue;
            }
            let write = number < FETCH && number % 2 == 1;
            if write && !writable {
                *entry = CLEAR;
            } else {
                entry.page = physical & !0xfff;
                changed += 1;
            }
        }
        changed
    }

    /// Drops write entries of a physical page, which now holds code.
    pub(crate) fn protect(&mut self, physical: u64) {
        for class in 0..3 {
            for entry in &mut self.tables[2 * class + 1] {
                if entry.page == physical & !0xfff {
                    *entry = CLEAR;
                }
            }
        }
    }
}
