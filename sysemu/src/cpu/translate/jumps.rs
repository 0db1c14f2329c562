//! Where indirect jumps and returns found their targets: tables that translated code reads itself.

use crate::cpu::tlb::Entry;

/// Entries of a table.
pub(super) const ENTRIES: usize = 2048;

/// A target: its address, its code, and the entry of the fetch table that must still be there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jump {
    pub(super) target: u64,
    pub(super) code: u64,
    pub(super) page: Entry,
}

/// An address that is not canonical, and so never that of an instruction.
const NOWHERE: u64 = 1 << 63;

const EMPTY: Jump = Jump {
    target: NOWHERE,
    code: 0,
    page: Entry { tag: 0, host: 0 },
};

/// A table for supervisor and one for user code.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Jumps {
    tables: [[Jump; ENTRIES]; 2],
}

/// The bytes from the beginning of [`Jumps`] to a table.
pub(super) const fn table(number: usize) -> usize {
    number * ENTRIES * size_of::<Jump>()
}

impl Jumps {
    pub(crate) const fn new() -> Self {
        Jumps {
            tables: [[EMPTY; ENTRIES]; 2],
        }
    }

    fn slot(&mut self, table: usize, target: u64) -> &mut Jump {
        &mut self.tables[table & 1][target as usize & (ENTRIES - 1)]
    }

    pub(super) fn set(&mut self, table: usize, jump: Jump) {
        *self.slot(table, jump.target) = jump;
    }

    pub(super) fn forget(&mut self, table: usize, target: u64) {
        let slot = self.slot(table, target);
        if slot.target == target {
            *slot = EMPTY;
        }
    }

    pub(super) fn clear(&mut self) {
        for table in &mut self.tables {
            table.fill(EMPTY);
        }
    }
}
