//! Addresses of symbols and regions in a process as it is mapped now.

use std::path::PathBuf;

use fits_stats::symbols::Names;
use fits_tracer::live::Live;
use fits_tracer::process::Mapping;

use super::Draw;
use crate::fault::{MemoryPlace, Place, Region, did_you_mean, nearest};

/// The files that are mapped into a process, the program first.
#[derive(Debug)]
pub(super) struct Modules {
    modules: Vec<Module>,
}

#[derive(Debug)]
struct Module {
    path: PathBuf,
    names: Names,
    base: u64,
}

/// A symbol that no module has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) name: String,
    pub(super) near: Vec<String>,
}

impl Missing {
    pub(super) fn sentence(&self) -> String {
        let near: Vec<&str> = self.near.iter().map(String::as_str).collect();
        format!(
            "symbol '{}' is in no symbol table of the program or its libraries{}",
            self.name,
            did_you_mean(&near)
        )
    }
}

impl Modules {
    pub(super) fn of(live: &Live) -> Result<Self, fits_tracer::Error> {
        let mappings = live.mappings()?;
        let mut modules: Vec<Module> = Vec::new();
        let files = mappings
            .iter()
            .filter(|mapping| mapping.path.starts_with('/'));
        for mapping in files {
            let path = PathBuf::from(&mapping.path);
            if modules.iter().any(|module| module.path == path) {
                continue;
            }
            let loaded = Names::load(&path);
            let placed = loaded.and_then(|names| {
                let base = names.base(mapping.start, mapping.offset)?;
                Some((names, base))
            });
            if let Some((names, base)) = placed {
                modules.push(Module { path, names, base });
            }
        }
        let program = std::fs::canonicalize(live.executable()).unwrap_or_default();
        modules.sort_by_key(|module| module.path != program);
        Ok(Self { modules })
    }

    /// The address of a place.
    pub(super) fn address(&self, place: &Place) -> Result<u64, Missing> {
        match place {
            Place::Address(address) => Ok(*address),
            Place::Symbol { name, offset } => self
                .symbol(name)
                .map(|address| address.wrapping_add_signed(*offset))
                .ok_or_else(|| self.missing(name)),
        }
    }

    fn symbol(&self, name: &str) -> Option<u64> {
        self.modules.iter().find_map(|module| {
            let found = module.names.find(name)?;
            Some(module.base.wrapping_add(found.address))
        })
    }

    fn missing(&self, name: &str) -> Missing {
        let program = self.modules.first().into_iter();
        let names = program.flat_map(|module| module.names.all());
        Missing {
            name: name.to_owned(),
            near: nearest(name, names)
                .into_iter()
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Where the program itself begins, after its loader.
    pub(super) fn entry(&self) -> Option<u64> {
        let program = self.modules.first()?;
        Some(program.base.wrapping_add(program.names.entry()?))
    }
}

/// The address of memory that a fault goes into, at its moment.
pub(crate) fn memory(
    live: &Live,
    place: &MemoryPlace,
    bytes: usize,
    draw: &mut Draw,
) -> Result<u64, String> {
    match place {
        MemoryPlace::At(Place::Address(address)) => Ok(*address),
        MemoryPlace::At(place) => {
            let modules = Modules::of(live).map_err(|error| error.to_string())?;
            modules.address(place).map_err(|missing| missing.sentence())
        }
        MemoryPlace::Stack(offset) => {
            let registers = live.registers().map_err(|error| error.to_string())?;
            Ok(registers.rsp.wrapping_add_signed(*offset))
        }
        MemoryPlace::Random(region) => random(live, *region, bytes as u64, draw),
    }
}

fn random(live: &Live, region: Region, bytes: u64, draw: &mut Draw) -> Result<u64, String> {
    let ranges = ranges(live, region).map_err(|error| error.to_string())?;
    // First addresses from which all bytes lie in the range.
    let room = |range: &(u64, u64)| (range.1 - range.0 + 1).saturating_sub(bytes.max(1));
    let total: u64 = ranges.iter().map(room).sum();
    if total == 0 {
        return Err(match region {
            Region::Heap => "the program has no heap at this moment",
            Region::Stack => "the thread has no stack that is mapped at this moment",
            Region::Data => "the program has no writable data",
        }
        .to_owned());
    }
    let mut drawn = draw.address(total);
    for range in &ranges {
        let room = room(range);
        if drawn < room {
            return Ok(range.0 + drawn);
        }
        drawn -= room;
    }
    Err("no address was drawn".to_owned())
}

/// First addresses and first addresses after them, ascending.
fn ranges(live: &Live, region: Region) -> Result<Vec<(u64, u64)>, fits_tracer::Error> {
    let mappings = live.mappings()?;
    let range = |mapping: &Mapping| (mapping.start, mapping.end);
    Ok(match region {
        Region::Heap => mappings
            .iter()
            .filter(|mapping| mapping.path == "[heap]")
            .map(range)
            .collect(),
        Region::Stack => {
            let sp = live.registers()?.rsp;
            let stack = mappings.iter().find(|mapping| mapping.contains(sp));
            stack.map(|mapping| (sp, mapping.end)).into_iter().collect()
        }
        Region::Data => data(live, &mappings).iter().map(range).collect(),
    })
}

/// Writable mappings of the program's file, and what follows them without a name (`.bss`).
fn data(live: &Live, mappings: &[Mapping]) -> Vec<Mapping> {
    let program = std::fs::canonicalize(live.executable()).unwrap_or_default();
    let mut found: Vec<Mapping> = Vec::new();
    let mut last_end = 0;
    for mapping in mappings {
        let own = program.as_os_str() == mapping.path.as_str();
        let follows = mapping.path.is_empty() && mapping.start == last_end;
        if own || follows {
            last_end = mapping.end;
            if mapping.write {
                found.push(mapping.clone());
            }
        }
    }
    found
}
