//! The code cache: where translated code lies, and how its pieces find each other.
//!
//! One memory file holds all zones; the target maps it readable and executable, the supervisor readable and writable.
//!
//! - [`zone`]: stretches of host addresses near guest code, each with its stubs.
//! - [`placed`]: units that have their place, and the map from host addresses back to them.
//! - [`link`]: jumps from unit to unit.
//! - [`lookup`]: the table that indirect branches and returns go through.
//! - [`invalidate`]: forgetting code that the guest has changed.
//!
//! Code that is forgotten is unreachable but stays where it is until the whole cache is flushed: a thread may still be in it.

mod invalidate;
mod link;
mod lookup;
mod placed;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;

use fits_stats::ring::shm::SharedMemory;
use fits_stats::template::{Prefix, UNIT_LIMIT, UnitId, UnitTemplate};
use rustc_hash::FxHashMap;

use crate::translate::TranslateError;
use crate::unit::Unit;
use lookup::Lookup;
pub use placed::{Ending, Place, Placed};
use zone::{LEAST_ROOM, Zone};
pub use zone::{ZONE_BYTES, ZONE_LIMIT, candidates, reaches};

/// What a unit is found by: its guest address, and the part of its basic block that came before.
pub type Key = (u64, Option<Prefix>);

const LONGEST_INSTRUCTION: u64 = 15;

/// More than a unit has.
const SIDES: UnitId = 256;

/// What is known about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is translated.
    Unit(UnitId),
    /// Its first instruction needs the slow path.
    Slow,
    /// Its first instruction is a system call.
    Syscall,
}

/// Why something could not be placed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The memory file could not be made.
    #[error("cannot make the memory of the code cache: {0}")]
    Memory(#[from] io::Error),
    /// The zone has no room for another unit: flush.
    #[error("the code cache is full")]
    Full,
    /// All unit numbers are used up.
    #[error(
        "the program was translated into more than {UNIT_LIMIT} units: it changes its code too often for fits"
    )]
    Units,
    /// A stub could not be emitted.
    #[error(transparent)]
    Translate(#[from] TranslateError),
}

/// The code cache.
#[derive(Debug)]
pub struct Cache {
    /// Bytes of each zone that are used.
    room: u64,
    memory: SharedMemory,
    lookup: Lookup,
    zones: Vec<Zone>,
    units: Vec<Option<Box<Placed>>>,
    known: FxHashMap<Key, Known>,
    pages: BTreeMap<u64, Vec<Key>>,
}

impl Cache {
    /// An empty cache without zones.
    ///
    /// # Errors
    /// When the memory file can't be made.
    pub fn new() -> Result<Self, CacheError> {
        Ok(Self {
            room: ZONE_BYTES,
            memory: SharedMemory::create(ZONE_BYTES * ZONE_LIMIT as u64)?,
            lookup: Lookup::new()?,
            zones: Vec::new(),
            // Unit 0 marks inline events, so no unit has that number.
            units: vec![None],
            known: FxHashMap::default(),
            pages: BTreeMap::new(),
        })
    }

    /// Uses only so many bytes of each zone (but never less than one unit may need): it is full, and flushed, sooner.
    pub fn limit(&mut self, room: u64) {
        self.room = room.clamp(LEAST_ROOM, ZONE_BYTES);
    }

    /// Gives the memory files back. The many small pieces beside them are left to the end of this process, which is near, and much faster
    /// at it.
    pub fn abandon(self) {
        let Self {
            units,
            known,
            pages,
            ..
        } = self;
        std::mem::forget((units, known, pages));
    }

    /// The memory file of all zones; zone `z` begins at `z * ZONE_BYTES`.
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// The memory file of the lookup table, to be mapped read-only at [`crate::layout::LOOKUP`].
    pub fn table(&self) -> &SharedMemory {
        self.lookup.memory()
    }

    /// What is known about a key.
    pub fn known(&self, key: Key) -> Option<Known> {
        self.known.get(&key).copied()
    }

    /// Remembers that the first instruction at `key` is none that can be translated.
    pub fn remember(&mut self, key: Key, known: Known) {
        self.known.insert(key, known);
        self.register_pages(key, LONGEST_INSTRUCTION);
    }

    /// A unit that was inserted since the last flush.
    pub fn unit(&self, id: UnitId) -> Option<&Placed> {
        self.units.get(id as usize)?.as_deref()
    }

    /// What an execution of `id`, a unit or a way out of one before its end, is an execution of: the unit, and the
    /// guest addresses of the blocks.
    pub fn executed(&self, id: UnitId) -> Option<(UnitId, Vec<u64>)> {
        let (first, executed) = self.executed_by(id)?;
        Some((first, self.unit(first)?.blocks(executed)))
    }

    /// The unit and its last instruction that is executed by who leaves it as `id`.
    pub fn last_of(&self, id: UnitId) -> Option<(UnitId, u16)> {
        let (first, executed) = self.executed_by(id)?;
        Some((first, executed.checked_sub(1)? as u16))
    }

    fn executed_by(&self, id: UnitId) -> Option<(UnitId, usize)> {
        let first = (0..=id)
            .rev()
            .take(SIDES as usize)
            .find(|&first| self.unit(first).is_some())?;
        let unit = self.unit(first)?;
        let executed = match id - first {
            0 => unit.instructions.len(),
            side => *unit.sides.get(side as usize - 1)?,
        };
        Some((first, executed))
    }

    /// The number that the next unit gets.
    ///
    /// # Errors
    /// [`CacheError::Units`] when there may not be enough left for it and its sides.
    pub fn next_id(&self) -> Result<UnitId, CacheError> {
        let id = self.units.len() as UnitId;
        if id < UNIT_LIMIT - SIDES {
            Ok(id)
        } else {
            Err(CacheError::Units)
        }
    }

    /// Numbers of units given out so far are below this.
    pub fn unit_count(&self) -> UnitId {
        self.units.len() as UnitId
    }

    /// Puts a unit with code into `zone`, at the host address that [`Cache::next_host`] gave for it.
    ///
    /// Returns its number, and its templates for the statistics process.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn insert(
        &mut self,
        zone: usize,
        mut unit: Unit,
    ) -> Result<(UnitId, Vec<UnitTemplate>), CacheError> {
        let id = unit.template.id;
        let host = self.place(zone, &unit.code, Some(id))?;
        let mut templates = std::mem::take(&mut unit.sides);
        let sides = templates
            .iter()
            .map(|side| side.instructions.len())
            .collect();
        let (placed, template) = Placed::new(unit, sides, zone, host);
        templates.push(template);
        let key = (placed.pc, placed.prefix);
        self.known.insert(key, Known::Unit(id));
        self.register_unit(key, &placed.instructions);
        debug_assert_eq!(self.units.len() as UnitId, id);
        self.units.push(Some(Box::new(placed)));
        self.units
            .resize_with(self.units.len() + templates.len() - 1, || None);
        Ok((id, templates))
    }

    fn register_unit(&mut self, key: Key, instructions: &[u64]) {
        let last = |pc: &u64| (pc.saturating_add(LONGEST_INSTRUCTION - 1)) >> 12;
        let mut pages: Vec<u64> = instructions.iter().map(|pc| pc >> 12).collect();
        pages.extend(instructions.iter().map(last));
        pages.sort_unstable();
        pages.dedup();
        for page in pages {
            self.pages.entry(page).or_default().push(key);
        }
    }

    fn register_pages(&mut self, key: Key, bytes: u64) {
        let last = key.0.saturating_add(bytes - 1) >> 12;
        for page in key.0 >> 12..=last {
            self.pages.entry(page).or_default().push(key);
        }
    }

    /// Host code read back, for a look at the instruction that a thread is at.
    pub fn code(&self, host: u64, bytes: u64) -> Option<&[u8]> {
        let (index, zone) = self.zone_at(host)?;
        let end = (host + bytes).min(zone.base + ZONE_BYTES);
        Some(
            self.memory
                .bytes(zone::file_offset(index, zone, host), end - host),
        )
    }
}
