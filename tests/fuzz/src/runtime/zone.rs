//! The zone of translated code: units where they lie, and finding them again.

use super::Via;
use super::tables;
use crate::case::Layout;
use crate::child::Shared;
use crate::places::{CODE, FAR, NEAR, UNITS, ZONE_BYTES};
use fits_dbt::layout::COUNTERS;
use fits_dbt::translate::{self, Stubs};
use fits_dbt::unit::{GuestCode, Point, Request, Unit};
use fits_stats::protocol::Level;
use fits_stats::template::{Prefix, UnitId, UnitTemplate};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::collections::HashMap;

/// What a unit is a translation of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) pc: u64,
    pub(super) prefix: Option<Prefix>,
}

/// A unit in its place.
pub(super) struct Placed {
    pub(super) unit: Unit,
    pub(super) host: u64,
}

/// A number that rows and counters know: of a unit (its index), or of a side of it.
struct Numbered {
    unit: usize,
    side: Option<usize>,
    /// Executions that its counter has shown.
    counted: u64,
}

/// The zone.
pub(super) struct Zone {
    pub(super) units: Vec<Placed>,
    /// By number, the first is 1.
    numbers: Vec<Numbered>,
    base: u64,
    used: u64,
    code: Vec<u8>,
    by_key: HashMap<Key, usize>,
    stubs: Stubs,
    /// Entries of the lookup tables that were changed.
    changed: Vec<usize>,
    /// Addresses whose entries lead to others' entries.
    collide: Vec<u64>,
}

struct Code<'a>(&'a [u8]);

impl GuestCode for Code<'_> {
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize {
        let from = pc.wrapping_sub(CODE).min(self.0.len() as u64) as usize;
        let length = buffer.len().min(self.0.len() - from);
        buffer[..length].copy_from_slice(&self.0[from..from + length]);
        length
    }
}

impl Zone {
    /// An empty zone.
    pub(super) fn new(shared: &mut Shared, far: bool, collide: bool, layout: &Layout) -> Self {
        let base = if far { FAR } else { NEAR };
        let stubs = translate::stubs();
        shared.zone[..stubs.code.len()].copy_from_slice(&stubs.code);
        let mut zone = Zone {
            units: Vec::new(),
            numbers: Vec::new(),
            base,
            used: 64,
            code: layout.code.clone(),
            by_key: HashMap::new(),
            stubs,
            changed: Vec::new(),
            collide: if collide {
                layout.addresses.clone()
            } else {
                Vec::new()
            },
        };
        tables::fill(shared, zone.miss());
        zone.changed.clear();
        zone
    }

    fn miss(&self) -> u64 {
        self.base + u64::from(self.stubs.jump_miss)
    }

    /// Whether `at` is the trap of the stub.
    pub(super) fn is_miss(&self, at: u64) -> bool {
        self.miss() == at
    }

    /// The template of that number.
    pub(super) fn template(&self, id: UnitId) -> Option<&UnitTemplate> {
        let numbered = self.numbers.get((id as usize).checked_sub(1)?)?;
        let unit = &self.units.get(numbered.unit)?.unit;
        match numbered.side {
            None => Some(&unit.template),
            Some(side) => unit.sides.get(side),
        }
    }

    /// All numbers.
    pub(super) fn ids(&self) -> std::ops::RangeInclusive<UnitId> {
        1..=self.numbers.len() as UnitId
    }

    /// The number of a unit.
    pub(super) fn id(&self, unit: usize) -> UnitId {
        self.units[unit].unit.template.id
    }

    /// The counter of that number shows `count`: how many executions are new.
    pub(super) fn count(&mut self, id: UnitId, count: u64) -> u64 {
        let numbered = &mut self.numbers[id as usize - 1];
        let more = count.wrapping_sub(numbered.counted);
        numbered.counted = count;
        more
    }

    /// The translation of `key`: an old one, or a new one.
    pub(super) fn unit(
        &mut self,
        shared: &mut Shared,
        key: Key,
        level: Level,
        path: &[u64],
    ) -> Result<usize, String> {
        if let Some(&unit) = self.by_key.get(&key) {
            return Ok(unit);
        }
        let host = self.base + self.used;
        let id = self.numbers.len() as UnitId + 1;
        let request = Request {
            id,
            pc: key.pc,
            prefix: key.prefix,
            host,
            mode: level.into(),
            virtual_tsc: true,
        };
        let code = Code(&self.code);
        let unit = if path.is_empty() {
            translate::unit(&code, &request)
        } else {
            translate::trace(&code, &request, path)
        };
        let unit = unit.map_err(|error| error.to_string())?;
        self.place(shared, &unit.code)?;
        let count = 1 + unit.sides.len();
        if id as usize + count > UNITS as usize {
            return Err("too many units".to_owned());
        }
        let counters = COUNTERS as usize + 8 * id as usize;
        shared.area[counters..counters + 8 * count].fill(0);
        for number in 0..count {
            self.numbers.push(Numbered {
                unit: self.units.len(),
                side: number.checked_sub(1),
                counted: 0,
            });
        }
        if unit
            .sides
            .iter()
            .enumerate()
            .any(|(n, side)| side.id as usize != id as usize + 1 + n)
        {
            return Err("the sides' numbers don't follow the unit's".to_owned());
        }
        self.units.push(Placed { unit, host });
        self.by_key.insert(key, self.units.len() - 1);
        Ok(self.units.len() - 1)
    }

    /// Puts code at the next 64-byte boundary.
    fn place(&mut self, shared: &mut Shared, code: &[u8]) -> Result<(), String> {
        let from = self.used as usize;
        let to = from + code.len();
        if to > ZONE_BYTES as usize {
            return Err("the zone is full".to_owned());
        }
        shared.zone[from..to].copy_from_slice(code);
        self.used = (to as u64).next_multiple_of(64);
        Ok(())
    }

    fn enter(&mut self, shared: &mut Shared, pc: u64, host: u64) {
        self.changed.push(tables::set(shared, pc, host));
        for other in self.collide.clone() {
            let slot = tables::slot(other);
            if !self.changed.contains(&slot) {
                self.changed.push(tables::set(shared, other, host));
            }
        }
    }

    /// Makes `via` lead to `unit` without a stop.
    pub(super) fn link(
        &mut self,
        shared: &mut Shared,
        via: Via,
        unit: usize,
    ) -> Result<(), String> {
        let (host, pc) = (self.units[unit].host, self.units[unit].unit.template.pc);
        let entry = self.base + self.used;
        match via {
            Via::Nothing => {}
            Via::Exit(from, number) => {
                let placed = &self.units[from];
                if let Some(at) = placed.unit.exits[number].link {
                    let place = placed.host + u64::from(at);
                    let displacement = host.wrapping_sub(place + 4) as u32;
                    let offset = (place - self.base) as usize;
                    shared.zone[offset..offset + 4].copy_from_slice(&displacement.to_le_bytes());
                }
            }
            Via::Jump => {
                let code = translate::jump_entry(pc, host, self.miss(), entry);
                self.place(shared, &code.map_err(|error| error.to_string())?)?;
                self.enter(shared, pc, entry);
            }
        }
        Ok(())
    }

    /// The unit and exit whose trap stands at `at`.
    pub(super) fn exit(&self, at: u64) -> Option<(usize, usize)> {
        let unit = self.find(at)?;
        let offset = at - self.units[unit].host;
        let exits = &self.units[unit].unit.exits;
        let number = exits
            .iter()
            .position(|exit| u64::from(exit.trap) == offset)?;
        Some((unit, number))
    }

    /// The unit and point of the host address `at`.
    pub(super) fn point(&self, at: u64) -> Option<(usize, Point)> {
        let unit = self.find(at)?;
        let offset = at - self.units[unit].host;
        let points = &self.units[unit].unit.points;
        let point = points
            .iter()
            .rev()
            .find(|point| u64::from(point.offset) <= offset)?;
        Some((unit, point.clone()))
    }

    fn find(&self, at: u64) -> Option<usize> {
        self.units
            .iter()
            .position(|placed| at.wrapping_sub(placed.host) < placed.unit.code.len() as u64)
    }

    /// Puts the lookup table back.
    pub(super) fn reset(&mut self, shared: &mut Shared) {
        let miss = self.miss();
        for slot in self.changed.drain(..) {
            tables::put(shared, slot, miss);
        }
    }

    /// The host code as text.
    pub(super) fn listing(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for placed in &self.units {
            let template = &placed.unit.template;
            lines.push(format!(
                "unit {} of {:#x}, {} instructions, row {} bytes",
                template.id,
                template.pc,
                template.instructions.len(),
                template.row_bytes
            ));
            let mut decoder =
                Decoder::with_ip(64, &placed.unit.code, placed.host, DecoderOptions::NONE);
            let mut formatter = IntelFormatter::new();
            while decoder.can_decode() {
                let instruction = decoder.decode();
                let mut text = String::new();
                formatter.format(&instruction, &mut text);
                lines.push(format!("    {:#x}  {text}", instruction.ip()));
            }
            for exit in &placed.unit.exits {
                lines.push(format!("    exit {exit:x?}"));
            }
        }
        lines
    }
}
