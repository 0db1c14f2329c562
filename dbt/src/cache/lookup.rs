//! The table that indirect branches and returns go through: host addresses, indexed by the low bits of the guest address.
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

const BUCKETS: u64 = 1 << LOOKUP_BITS;

/// The most entries that one bucket has.
const CHAIN: usize = 8;

/// The table.
#[derive(Debug)]
pub(super) struct Lookup {
    memory: SharedMemory,
    /// Guest addresses that have an entry, for each bucket that has any.
    chains: FxHashMap<u64, Vec<u64>>,
    miss: u64,
}

impl Lookup {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            memory: SharedMemory::create(LOOKUP_BYTES)?,
            chains: FxHashMap::default(),
            miss: 0,
        })
    }

    pub(super) fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Empties the table.
    pub(super) fn reset(&mut self, miss: u64) {
        self.miss = miss;
        self.chains.clear();
        for bucket in 0..BUCKETS {
            self.memory.word64(8 * bucket).store(miss, Relaxed);
        }
    }

    fn get(&self, pc: u64) -> u64 {
        self.memory.word64(offset(pc)).load(Relaxed)
    }

    fn set(&self, pc: u64, host: u64) {
        self.memory.word64(offset(pc)).store(host, Release);
    }

    fn chain(&mut self, pc: u64) -> &mut Vec<u64> {
        self.chains.entry(pc % BUCKETS).or_default()
    }

    /// Empties the bucket of `pc`.
    pub(super) fn forget(&mut self, pc: u64) {
        self.chains.remove(&(pc % BUCKETS));
        self.set(pc, self.miss);
    }
}

fn offset(pc: u64) -> u64 {
    8 * (pc % BUCKETS)
}

impl Cache {
    /// Makes indirect branches to the unit find it from now on.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn register_jump(&mut self, id: UnitId) -> Result<(), CacheError> {
        let Some(unit) = self.unit(id) else {
            return Ok(());
        };
        let (pc, host, zone) = (unit.pc, unit.host, unit.zone);
        let chain = self.lookup.chain(pc);
        if chain.contains(&pc) {
            return Ok(());
        }
        if chain.len() == CHAIN {
            self.lookup.forget(pc);
        }
        let before = self.near(zone, self.lookup.get(pc))?;
        let at = self.next_host(zone)?;
        let code = translate::jump_entry(pc, host, before, at)?;
        self.place(zone, &code, None)?;
        self.lookup.set(pc, at);
        self.lookup.chain(pc).push(pc);
        Ok(())
    }

    /// Forgets what indirect branches know about a unit at `pc`.
    pub(super) fn forget_entries(&mut self, pc: u64) {
        self.lookup.forget(pc);
    }
}
