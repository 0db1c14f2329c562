//! The tables that indirect branches and returns go through: host addresses, indexed by the low bits of the guest address.
//!
//! Guest addresses with the same low bits share a bucket: each entry goes on to the one before it when the address is
//! another. A chain that grows too long is begun anew.

use std::io;
use std::sync::atomic::Ordering::{Relaxed, Release};

use fits_stats::ring::shm::SharedMemory;
use fits_stats::template::UnitId;
use rustc_hash::FxHashMap;

use super::{Cache, CacheError};
use crate::layout::{LOOKUP_BITS, LOOKUP_BYTES};
use crate::translate;

/// Which table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Table {
    /// Indirect jumps and calls.
    Jump,
    /// Returns.
    Return,
}

const BUCKETS: u64 = 1 << LOOKUP_BITS;

/// The most entries that one bucket has.
const CHAIN: usize = 8;

/// The two tables, jumps first.
#[derive(Debug)]
pub(super) struct Lookup {
    memory: SharedMemory,
    /// Guest addresses that have an entry, for each bucket that has any.
    chains: FxHashMap<(Table, u64), Vec<u64>>,
    misses: [u64; 2],
}

impl Lookup {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            memory: SharedMemory::create(LOOKUP_BYTES)?,
            chains: FxHashMap::default(),
            misses: [0; 2],
        })
    }

    pub(super) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Empties both tables.
    pub(super) fn reset(&mut self, jump_miss: u64, return_miss: u64) {
        self.misses = [jump_miss, return_miss];
        self.chains.clear();
        for (table, miss) in [(Table::Jump, jump_miss), (Table::Return, return_miss)] {
            for bucket in 0..BUCKETS {
                self.memory
                    .word64(offset(table, bucket))
                    .store(miss, Relaxed);
            }
        }
    }

    fn get(&self, table: Table, pc: u64) -> u64 {
        self.memory
            .word64(offset(table, pc % BUCKETS))
            .load(Relaxed)
    }

    fn set(&self, table: Table, pc: u64, host: u64) {
        self.memory
            .word64(offset(table, pc % BUCKETS))
            .store(host, Release);
    }

    fn miss(&self, table: Table) -> u64 {
        self.misses[table as usize]
    }

    fn is_empty(&self, table: Table, pc: u64) -> bool {
        self.get(table, pc) == self.miss(table)
    }

    fn chain(&mut self, table: Table, pc: u64) -> &mut Vec<u64> {
        self.chains.entry((table, pc % BUCKETS)).or_default()
    }

    /// Empties the bucket of `pc`.
    pub(super) fn forget(&mut self, table: Table, pc: u64) {
        self.chains.remove(&(table, pc % BUCKETS));
        self.set(table, pc, self.miss(table));
    }
}

fn offset(table: Table, bucket: u64) -> u64 {
    8 * (table as u64 * BUCKETS + bucket)
}

impl Cache {
    /// Makes indirect jumps to the unit find it from now on.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn register_jump(&mut self, id: UnitId) -> Result<(), CacheError> {
        self.register(Table::Jump, id)
    }

    /// Makes returns to the unit find it from now on.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn register_return(&mut self, id: UnitId) -> Result<(), CacheError> {
        let Some(unit) = self.unit(id) else {
            return Ok(());
        };
        let pc = unit.pc;
        if self.lookup.is_empty(Table::Return, pc)
            && let Some(&landing) = self.landings.get(&pc)
        {
            self.lookup.set(Table::Return, pc, landing);
            self.lookup.chain(Table::Return, pc).push(pc);
            return Ok(());
        }
        self.register(Table::Return, id)
    }

    fn register(&mut self, table: Table, id: UnitId) -> Result<(), CacheError> {
        let Some(unit) = self.unit(id) else {
            return Ok(());
        };
        let (pc, host, zone) = (unit.pc, unit.host, unit.zone);
        let chain = self.lookup.chain(table, pc);
        if chain.contains(&pc) {
            return Ok(());
        }
        if chain.len() == CHAIN {
            self.lookup.forget(table, pc);
        }
        // Whoever comes past an entry has left the state of a return miss: the miss of jumps takes over.
        let before = if self.lookup.is_empty(table, pc) {
            self.lookup.miss(Table::Jump)
        } else {
            self.lookup.get(table, pc)
        };
        let before = self.near(zone, before)?;
        let at = self.next_host(zone)?;
        let code = match table {
            Table::Jump => translate::jump_entry(pc, host, before, at)?,
            Table::Return => translate::return_entry(pc, host, before, at)?,
        };
        self.place(zone, &code, None)?;
        self.lookup.set(table, pc, at);
        self.lookup.chain(table, pc).push(pc);
        Ok(())
    }

    /// A return landing exists for guest address `pc`; it takes a bucket that is empty.
    pub(super) fn add_landing(&mut self, pc: u64, host: u64) {
        self.landings.insert(pc, host);
        if self.lookup.is_empty(Table::Return, pc) {
            self.lookup.set(Table::Return, pc, host);
            self.lookup.chain(Table::Return, pc).push(pc);
        }
    }

    /// Forgets everything that indirect branches know about a unit at `pc`.
    pub(super) fn forget_entries(&mut self, pc: u64) {
        self.lookup.forget(Table::Jump, pc);
        self.lookup.forget(Table::Return, pc);
    }

    /// Forgets the landing for `pc`, unless another unit has one there.
    pub(super) fn forget_landing(&mut self, pc: u64, within: std::ops::Range<u64>) {
        if self
            .landings
            .get(&pc)
            .is_some_and(|host| within.contains(host))
        {
            self.landings.remove(&pc);
            self.lookup.forget(Table::Return, pc);
        }
    }
}
