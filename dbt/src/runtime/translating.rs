//! Finding the unit for a guest address, or making it, and those that it leads to.

use std::collections::VecDeque;

use fits_stats::protocol::Message;
use fits_stats::template::UnitId;
use fits_tracer::ptrace::Stopped;
use nix::sys::resource::{Resource, getrlimit};

use super::error::{Result, RuntimeError};
use super::supervisor::Supervisor;
use crate::cache::{CacheError, Key, Known, ZONE_BYTES, candidates};
use crate::translate;
use crate::unit::{ExitKind, Request};

/// Units that are made at one stop, at most: a stop costs as much as several of them.
const AHEAD: usize = 24;

impl Supervisor<'_> {
    /// What is known about `key` after translating it if need be.
    pub(super) fn find(&mut self, stopped: &mut Stopped, key: Key) -> Result<Known> {
        if let Some(known) = self.cache.known(key) {
            return Ok(known);
        }
        self.prepare(Some(stopped), key.0)?;
        if !self.code.holds(key.0) {
            return Ok(Known::Slow);
        }
        let zone = self.zone(stopped, key.0)?;
        let known = self.translate(zone, key)?;
        if let Known::Unit(id) = known {
            self.translate_ahead(id)?;
        }
        Ok(known)
    }

    /// Translates one unit.
    fn translate(&mut self, zone: usize, (pc, prefix): Key) -> Result<Known> {
        let request = Request {
            id: self.cache.next_id()?,
            pc,
            prefix,
            host: self.cache.next_host(zone)?,
            mode: self.mode,
            virtual_tsc: self.options.environment.is_controlled(),
        };
        let unit = translate::unit(&self.translatable(), &request)?;
        if unit.template.instructions.is_empty() {
            let known = match unit.exits.first().map(|exit| exit.kind) {
                Some(ExitKind::Syscall(_)) => Known::Syscall,
                _ => Known::Slow,
            };
            self.cache.remember((pc, prefix), known);
            return Ok(known);
        }
        let (id, templates) = self.cache.insert(zone, unit)?;
        self.note_unit(id);
        for template in templates {
            self.stats.send(|| Message::Unit(Box::new(template)))?;
        }
        Ok(Known::Unit(id))
    }

    /// Translates what direct branches lead to from a new unit, breadth first, and links it.
    pub(super) fn translate_ahead(&mut self, first: UnitId) -> Result<()> {
        let mut queue = VecDeque::from([first]);
        let mut made = 0;
        while let Some(from) = queue.pop_front() {
            for (exit, key) in self.next_keys(from) {
                let known = match self.cache.known(key) {
                    Some(known) => known,
                    None if made < AHEAD && self.prepare(None, key.0)? => {
                        made += 1;
                        let Some(zone) = self.cache.zone_for(key.0) else {
                            continue;
                        };
                        let known = match self.translate(zone, key) {
                            // Whoever comes there will see to it.
                            Err(RuntimeError::Cache(CacheError::Full)) => return Ok(()),
                            known => known?,
                        };
                        if let Known::Unit(id) = known {
                            queue.push_back(id);
                        }
                        known
                    }
                    None => continue,
                };
                if let Known::Unit(to) = known {
                    self.link(from, exit, to)?;
                }
            }
        }
        Ok(())
    }

    /// The linkable exits of a unit and what they lead to.
    fn next_keys(&self, id: UnitId) -> Vec<(usize, Key)> {
        let Some(unit) = self.cache.unit(id) else {
            return Vec::new();
        };
        let exits = unit.exits.iter().enumerate();
        exits
            .filter(|(_, exit)| exit.link.is_some())
            .filter_map(|(number, exit)| Some((number, (unit.direct_target(number)?, exit.prefix))))
            .collect()
    }

    /// Links an exit; that it could not be linked for lack of room is no harm.
    pub(super) fn link(&mut self, from: UnitId, exit: usize, to: UnitId) -> Result<()> {
        match self.cache.link(from, exit, to) {
            Ok(()) | Err(CacheError::Full) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The zone for code at `pc`, mapped.
    pub(super) fn zone(&mut self, stopped: &mut Stopped, pc: u64) -> Result<usize> {
        if let Some(zone) = self.cache.zone_for(pc) {
            return Ok(zone);
        }
        let base = self.room_for_zone(pc)?;
        let index = self.cache.zone_count();
        self.map_zone(stopped, index, base)?;
        Ok(self.cache.add_zone(base)?)
    }

    /// A free place for a zone near `pc`.
    fn room_for_zone(&mut self, pc: u64) -> Result<u64> {
        let stack_limit = getrlimit(Resource::RLIMIT_STACK).map_or(8 << 20, |(soft, _)| soft);
        self.read_map()?;
        let (map, avoided) = (self.code.known_map(), &self.avoided);
        let stack = map.iter().find(|mapping| mapping.path == "[stack]");
        let stack = stack.map_or(0..0, |stack| {
            let room = stack_limit.max(8 << 20).saturating_add(1 << 20);
            stack.end.saturating_sub(room)..stack.end
        });
        let is_free = |&base: &u64| {
            let end = base + ZONE_BYTES;
            let apart = |start: u64, stop: u64| end <= start || stop <= base;
            apart(stack.start, stack.end)
                && map.iter().all(|one| apart(one.start, one.end))
                && avoided.iter().all(|one| apart(one.start, one.end))
        };
        candidates(pc)
            .find(is_free)
            .ok_or_else(|| RuntimeError::Unsupported {
                what: "code without free address space near it".to_owned(),
                pc,
            })
    }
}
