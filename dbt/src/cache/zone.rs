//! Zones: stretches of the target's address space that hold translated code, so near to the guest code that displacements
//! of 32 bits reach from one to whatever the other refers to.

use fits_stats::template::UnitId;
use rustc_hash::FxHashMap;

use super::placed::Place;
use super::{Cache, CacheError};
use crate::translate;

/// Size of a zone.
pub const ZONE_BYTES: u64 = 96 << 20;

/// How many zones there can be.
pub const ZONE_LIMIT: usize = 16;

/// Units begin at multiples of this.
const ALIGN: u64 = 64;

/// So much must be free before a unit is translated: more than any unit has.
const HEADROOM: u64 = 256 << 10;

/// With less, not even one unit would have room beside the stubs.
pub(super) const LEAST_ROOM: u64 = HEADROOM + (64 << 10);

/// A zone serves code up to this distance: what that code refers to is usually within the rest of 2 GiB.
const REACH: u64 = 0x6800_0000;

/// Where zones lie if they can: below programs that are not position-independent, below those that are, and above the
/// area from which the kernel hands out addresses (between it and the stack). The kernel puts nothing there by itself.
const FIXED: [u64; 3] = [0x7700_0000, 0x5555_1000_0000, 0x7fff_f800_0000];

/// For system calls that the supervisor has a thread execute.
const SYSCALL: [u8; 3] = [0x0f, 0x05, 0xcc];

/// Zones begin between these.
const LOWEST: u64 = 0x1_0000;
const HIGHEST: u64 = 0x7fff_ff00_0000;

/// A stretch of host addresses.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) base: u64,
    used: u64,
    pub(super) jump_miss: u64,
    syscall: u64,
    /// What lies where, ascending: offset and owner (none for stubs).
    pieces: Vec<(u64, Option<UnitId>)>,
    /// Jumps to far targets: target, host address.
    thunks: FxHashMap<u64, u64>,
}

/// Whether code in a zone at `base` serves guest code at `pc`.
pub fn reaches(base: u64, pc: u64) -> bool {
    pc.abs_diff(base + ZONE_BYTES / 2) < REACH
}

/// Where a zone for `pc` could lie, best first: each must still be tried against what is mapped.
pub fn candidates(pc: u64) -> impl Iterator<Item = u64> {
    const STEP: u64 = 64 << 20;
    let fixed = FIXED.into_iter();
    // Far below first: the kernel hands out addresses downwards, so it comes there last.
    let around = (2..24u64).rev().flat_map(move |steps| {
        let here = pc & !(STEP - 1);
        [
            here.checked_sub(steps * STEP),
            here.checked_add(steps * STEP),
        ]
    });
    fixed
        .chain(around.flatten())
        .filter(move |&base| reaches(base, pc) && (LOWEST..HIGHEST).contains(&base))
}

pub(super) fn file_offset(index: usize, zone: &Zone, host: u64) -> u64 {
    index as u64 * ZONE_BYTES + (host - zone.base)
}

impl Cache {
    /// The zone for guest code at `pc`, if there is one.
    pub fn zone_for(&self, pc: u64) -> Option<usize> {
        self.zones.iter().position(|zone| reaches(zone.base, pc))
    }

    /// Adds a zone that was mapped at `base`, with its stubs.
    ///
    /// # Errors
    /// [`CacheError::Full`] when there are too many.
    pub fn add_zone(&mut self, base: u64) -> Result<usize, CacheError> {
        if self.zones.len() == ZONE_LIMIT {
            return Err(CacheError::Full);
        }
        self.zones.push(Zone {
            base,
            used: 0,
            jump_miss: 0,
            syscall: 0,
            pieces: Vec::new(),
            thunks: FxHashMap::default(),
        });
        let index = self.zones.len() - 1;
        self.place_stubs(index)?;
        if index == 0 {
            self.reset_table();
        }
        Ok(index)
    }

    /// Where the zones begin.
    pub fn zone_bases(&self) -> Vec<u64> {
        self.zones.iter().map(|zone| zone.base).collect()
    }

    /// How many zones there are; the next one is that part of the memory file.
    pub fn zone_count(&self) -> usize {
        self.zones.len()
    }

    /// Host address of a `syscall` instruction, if there is a zone.
    pub fn syscall_instruction(&self) -> Option<u64> {
        self.zones.first().map(|zone| zone.syscall)
    }

    /// Forgets where the zones lie: the target has a new address space.
    pub fn remove_zones(&mut self) {
        self.clear();
        self.zones.clear();
    }

    /// Empties all zones; the stubs are placed anew.
    pub(super) fn empty_zones(&mut self) -> Result<(), CacheError> {
        for index in 0..self.zones.len() {
            let zone = &mut self.zones[index];
            zone.used = 0;
            zone.pieces.clear();
            zone.thunks.clear();
            self.place_stubs(index)?;
        }
        self.reset_table();
        Ok(())
    }

    fn place_stubs(&mut self, index: usize) -> Result<(), CacheError> {
        let stubs = translate::stubs();
        let host = self.place(index, &stubs.code, None)?;
        let syscall = self.place(index, &SYSCALL, None)?;
        let zone = &mut self.zones[index];
        zone.syscall = syscall;
        zone.jump_miss = host + u64::from(stubs.jump_miss);
        Ok(())
    }

    fn reset_table(&mut self) {
        if let Some(zone) = self.zones.first() {
            self.lookup.reset(zone.jump_miss);
        }
    }

    pub(super) fn zone(&self, index: usize) -> &Zone {
        &self.zones[index]
    }

    pub(super) fn zone_at(&self, host: u64) -> Option<(usize, &Zone)> {
        let holds = |zone: &Zone| (zone.base..zone.base + ZONE_BYTES).contains(&host);
        let index = self.zones.iter().position(holds)?;
        Some((index, &self.zones[index]))
    }

    /// Whether `host` lies in the cache.
    pub fn contains(&self, host: u64) -> bool {
        self.zone_at(host).is_some()
    }

    /// The host address of the next unit in a zone.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn next_host(&self, zone: usize) -> Result<u64, CacheError> {
        let zone = &self.zones[zone];
        if zone.used + HEADROOM > self.room {
            return Err(CacheError::Full);
        }
        Ok(zone.base + zone.used)
    }

    /// Puts code at [`Cache::next_host`].
    pub(super) fn place(
        &mut self,
        index: usize,
        code: &[u8],
        owner: Option<UnitId>,
    ) -> Result<u64, CacheError> {
        let host = self.next_host(index)?;
        let zone = &mut self.zones[index];
        if zone.used + code.len() as u64 > ZONE_BYTES {
            return Err(CacheError::Full);
        }
        zone.pieces.push((zone.used, owner));
        let offset = index as u64 * ZONE_BYTES + zone.used;
        zone.used += (code.len() as u64).next_multiple_of(ALIGN);
        self.memory.write(offset, code);
        Ok(host)
    }

    /// The host address that code in zone `index` jumps to in order to reach `target`: itself, or a thunk if it is far.
    pub(super) fn near(&mut self, index: usize, target: u64) -> Result<u64, CacheError> {
        let base = self.zones[index].base;
        if target.abs_diff(base) < (1 << 31) - ZONE_BYTES {
            return Ok(target);
        }
        if let Some(&thunk) = self.zones[index].thunks.get(&target) {
            return Ok(thunk);
        }
        // jmp [rip]; the target behind it.
        let mut code = vec![0xff, 0x25, 0, 0, 0, 0];
        code.extend(target.to_le_bytes());
        let thunk = self.place(index, &code, None)?;
        self.zones[index].thunks.insert(target, thunk);
        Ok(thunk)
    }

    /// What lies at a host address.
    pub fn at(&self, host: u64) -> Option<Place> {
        let (_, zone) = self.zone_at(host)?;
        if host == zone.jump_miss {
            return Some(Place::JumpMiss);
        }
        let offset = host - zone.base;
        let after = zone.pieces.partition_point(|piece| piece.0 <= offset);
        let (start, owner) = *zone.pieces.get(after.checked_sub(1)?)?;
        Some(match owner {
            Some(id) => Place::Unit {
                id,
                offset: (offset - start) as u32,
            },
            None => Place::Stub,
        })
    }
}
