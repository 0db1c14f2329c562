//! The lookup tables of indirect branches.

use crate::child::Shared;
use fits_dbt::layout::{LOOKUP_BITS, LOOKUP_JUMP, LOOKUP_RETURN};

/// Which table.
#[derive(Clone, Copy)]
pub(super) enum Table {
    Jump,
    Return,
}

const ENTRIES: usize = 1 << LOOKUP_BITS;

/// Where in the area the entry of `pc` is.
pub(super) fn slot(table: Table, pc: u64) -> usize {
    let base = match table {
        Table::Jump => LOOKUP_JUMP,
        Table::Return => LOOKUP_RETURN,
    };
    base as usize + 8 * (pc as usize % ENTRIES)
}

/// Sets the entry of `pc`; returns its place.
pub(super) fn set(shared: &mut Shared, table: Table, pc: u64, host: u64) -> usize {
    let slot = slot(table, pc);
    put(shared, slot, host);
    slot
}

/// Puts the entry at `slot` back.
pub(super) fn clear(shared: &mut Shared, slot: usize, jump: u64, back: u64) {
    put(
        shared,
        slot,
        if slot < LOOKUP_RETURN as usize {
            jump
        } else {
            back
        },
    );
}

/// Fills both tables, unless that has been done.
pub(super) fn fill(shared: &mut Shared, jump: u64, back: u64) {
    let first = slot(Table::Jump, 0);
    if shared.area[first..first + 8] == jump.to_le_bytes() {
        return;
    }
    for entry in 0..ENTRIES {
        put(shared, first + 8 * entry, jump);
        put(shared, slot(Table::Return, 0) + 8 * entry, back);
    }
}

fn put(shared: &mut Shared, at: usize, value: u64) {
    shared.area[at..at + 8].copy_from_slice(&value.to_le_bytes());
}
