//! The lookup table of indirect branches.

use crate::child::Shared;
use fits_dbt::layout::{LOOKUP, LOOKUP_BITS};

const ENTRIES: usize = 1 << LOOKUP_BITS;

/// Where in the area the entry of `pc` is.
pub(super) fn slot(pc: u64) -> usize {
    LOOKUP as usize + 8 * (pc as usize % ENTRIES)
}

/// Sets the entry of `pc`; returns its place.
pub(super) fn set(shared: &mut Shared, pc: u64, host: u64) -> usize {
    let slot = slot(pc);
    put(shared, slot, host);
    slot
}

/// Fills the table, unless that has been done.
pub(super) fn fill(shared: &mut Shared, miss: u64) {
    let first = slot(0);
    if shared.area[first..first + 8] == miss.to_le_bytes() {
        return;
    }
    for entry in 0..ENTRIES {
        put(shared, first + 8 * entry, miss);
    }
}

/// Sets the entry at `at`.
pub(super) fn put(shared: &mut Shared, at: usize, host: u64) {
    shared.area[at..at + 8].copy_from_slice(&host.to_le_bytes());
}
