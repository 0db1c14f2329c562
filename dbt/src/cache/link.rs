//! Links: an exit's jump is pointed at the next unit instead of its trap.
//!
//! The displacement lies within one cache line and is written at once, so a thread that executes the jump meanwhile sees the old
//! or the new target.

use fits_stats::template::UnitId;

use super::{Cache, CacheError, zone};

const INT3: u8 = 0xcc;

impl Cache {
    /// Links exit number `exit` of `from` to `to`, if it can be linked.
    ///
    /// # Errors
    /// [`CacheError::Full`] when there is no room for a thunk.
    pub fn link(&mut self, from: UnitId, exit: usize, to: UnitId) -> Result<(), CacheError> {
        let (Some(source), Some(target)) = (self.unit(from), self.unit(to)) else {
            return Ok(());
        };
        let Some(at) = source.exits[exit].link else {
            return Ok(());
        };
        let (zone, place) = (source.zone, source.host + u64::from(at));
        let host = target.host;
        let warm = source.exits[exit].warm.map(|warm| {
            let entry = (target.warm_entry).filter(|entry| {
                target.zone == zone
                    && source
                        .warm_entry
                        .is_some_and(|own| own.cursor == entry.cursor)
            });
            let otherwise = source.host + u64::from(warm.otherwise);
            let to = entry.map_or(otherwise, |entry| host + u64::from(entry.offset));
            (source.host + u64::from(warm.at), to)
        });
        let host = self.near(zone, host)?;
        self.patch(zone, place, host);
        if let Some((place, to)) = warm {
            self.patch(zone, place, to);
        }
        if let Some(target) = self.units[to as usize].as_deref_mut() {
            target.incoming.push((from, exit as u16));
        }
        Ok(())
    }

    /// Everything that leads to `old` leads to `new` from now on; both begin at the same guest address.
    ///
    /// # Errors
    /// [`CacheError::Full`].
    pub fn supersede(&mut self, old: UnitId, new: UnitId) -> Result<(), CacheError> {
        let Some(unit) = self.units[old as usize].as_deref_mut() else {
            return Ok(());
        };
        let pc = unit.pc;
        for (from, exit) in std::mem::take(&mut unit.incoming) {
            self.link(from, usize::from(exit), new)?;
        }
        self.forget_entries(pc);
        Ok(())
    }

    /// Points all exits that lead to `id` back to their traps.
    pub(super) fn unlink_incoming(&mut self, id: UnitId) {
        let Some(unit) = self.units[id as usize].as_deref_mut() else {
            return;
        };
        for (from, exit) in std::mem::take(&mut unit.incoming) {
            let Some(source) = self.unit(from) else {
                continue;
            };
            let exit = &source.exits[exit as usize];
            if let Some(at) = exit.link {
                let place = source.host + u64::from(at);
                self.patch(source.zone, place, source.host + u64::from(exit.trap));
            }
            if let Some(warm) = exit.warm {
                let place = source.host + u64::from(warm.at);
                self.patch(source.zone, place, source.host + u64::from(warm.otherwise));
            }
        }
    }

    /// Makes each block of a region begin with a trap, so that nobody goes round in it any more.
    pub(super) fn break_up(&self, id: UnitId) {
        let Some(unit) = self.unit(id) else {
            return;
        };
        for head in &unit.heads {
            let place = unit.host + u64::from(head.offset);
            let offset = zone::file_offset(unit.zone, self.zone(unit.zone), place);
            self.memory.write(offset, &[INT3]);
        }
    }

    /// Makes the displacement at host address `place` lead to `target`.
    fn patch(&self, zone: usize, place: u64, target: u64) {
        let displacement = target.wrapping_sub(place + 4) as u32;
        let offset = zone::file_offset(zone, self.zone(zone), place);
        self.memory.write(offset, &displacement.to_le_bytes());
    }
}
