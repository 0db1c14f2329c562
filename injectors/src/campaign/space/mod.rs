//! The faults that there can be: every executed instruction of a region, everything that can be changed there, every bit of it.
//!
//! A *point* is one dynamic instruction × one way to change something there. Points are counted and numbered, never listed: static instructions with
//! the same locations share a [`Shape`], and an instruction that was executed a million times is one [`Site`] with a million occurrences.
//!
//! - `locations`: what can be changed at an instruction. `masks`: which bits together. `region`: which instructions.

mod locations;
mod masks;
mod region;
#[cfg(test)]
pub(in crate::campaign) mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use fits_stats::folder::{FolderError, GoldenFolder};
use fits_stats::functions;
use fits_stats::listing::{self, ListedInstruction};
use fits_stats::protocol::ThreadNumber;
use iced_x86::InstructionInfoFactory;

use super::file::{Campaign, IndexRange, MaskChoice, Preset, Restriction, Space as Asked};
use crate::fault::{
    Arrival, Change, Duration, Fault, Location, Mask, MemoryPlace, Operation, Place, Trigger, When,
};
use locations::{Known, Locations, Spot};
use region::{Filter, Program};

/// Why there is no space to draw from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpaceError {
    /// The golden run cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The golden run cannot be used.
    #[error("{0}")]
    Golden(String),
    /// A region names something that is not there.
    #[error("{field}: {sentence}")]
    Region {
        /// The field of the campaign file.
        field: String,
        /// What is not there.
        sentence: String,
    },
    /// Nothing is left.
    #[error("the space has no points: {0}")]
    Empty(String),
}

/// How finely the weight of one execution is divided where destination registers are alike: by up to 20 registers, and each by up to 20 bits, without a
/// rest.
pub(super) const WHOLE: u128 = 232_792_560 * 232_792_560;

/// One static instruction of the space.
#[derive(Debug, Clone, Copy)]
pub struct Site {
    /// Its address.
    pub pc: u64,
    /// How often it was executed, by all threads.
    pub executions: u64,
    shape: u32,
    /// Its function, one of [`Space::functions`].
    pub function: u32,
    /// Its mnemonic, one of [`Space::opcodes`].
    pub opcode: u32,
}

/// What can be changed at an instruction.
#[derive(Debug)]
pub struct Shape {
    /// The locations.
    pub choices: Vec<Choice>,
    /// Points of one execution.
    pub points: u128,
    /// The weight of one execution when sites are drawn.
    pub weight: u128,
}

/// A location and everything that can happen to it.
#[derive(Debug)]
pub struct Choice {
    spot: Spot,
    /// Points of one execution.
    pub points: u128,
    /// The weight in its shape.
    pub weight: u128,
}

impl Choice {
    /// Where; of memory, its first byte.
    #[must_use]
    pub fn location(&self) -> &Location {
        &self.spot.location
    }

    /// Of memory: how many bytes from there.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        self.spot.bytes
    }

    /// What a stratum by register class is called: general, flags, vector …, memory, or the part of the instruction.
    #[must_use]
    pub fn class(&self) -> &'static str {
        self.spot.class
    }
}

/// A thread whose instructions are in the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its number.
    pub thread: ThreadNumber,
    /// The first index.
    pub first: u64,
    /// How many instructions there are from there.
    pub instructions: u64,
}

/// A space of faults.
#[derive(Debug)]
pub struct Space {
    asked: Arc<Asked>,
    /// The static instructions with at least one point, by address.
    pub sites: Vec<Site>,
    shapes: Vec<Shape>,
    /// Names of functions, `sub_…` where there is no symbol.
    pub functions: Vec<String>,
    /// Mnemonics.
    pub opcodes: Vec<String>,
    /// The threads.
    pub spans: Vec<Span>,
    /// Whether the K-th arrival of the first thread is not the K-th execution, or not all executions are in the space: moments are then drawn by index,
    /// and looked up.
    pub by_index: bool,
    /// What to know before trusting the numbers.
    pub warnings: Vec<String>,
}

impl Space {
    /// The space that a campaign asks for, in the program of a golden run.
    ///
    /// # Errors
    /// When the golden run cannot be used, the region names what is not there, or nothing is left.
    pub fn of(campaign: &Campaign, golden: &GoldenFolder) -> Result<Self, SpaceError> {
        let summary = golden.summary();
        if let Some(why) = &summary.incomplete {
            let path = golden.path().display();
            return Err(SpaceError::Golden(format!(
                "the golden run in {path} was not complete: {why}"
            )));
        }
        if !summary.controlled {
            let path = golden.path().display();
            return Err(SpaceError::Golden(format!(
                "the golden run in {path} was made with --raw-environment: its addresses are those of no other run"
            )));
        }
        let rows = listing::instructions(golden)?;
        let threads = summary.threads.iter();
        let own: Vec<_> = threads
            .clone()
            .filter(|thread| thread.process == 0)
            .map(|thread| (thread.thread, thread.instructions))
            .collect();
        let alone = summary.threads.len() == 1;
        let spans = spans(&campaign.space, &own)?;
        let program = Program::new(&summary.program);
        let mut space = Builder::new(&campaign.space, &rows, &program).build()?;
        space.by_index = !alone || campaign.space.indices.is_some();
        space.spans = spans;
        Ok(space)
    }

    /// Whether points are numbered: of live registers, or random live bytes of a region, there is no number.
    #[must_use]
    pub fn is_countable(&self) -> bool {
        self.asked.restrict != Restriction::Live && !self.has_random_memory()
    }

    /// What a site has.
    #[must_use]
    pub fn shape(&self, site: &Site) -> &Shape {
        &self.shapes[site.shape as usize]
    }

    /// The site at an address.
    #[must_use]
    pub fn site_at(&self, pc: u64) -> Option<usize> {
        self.sites.binary_search_by_key(&pc, |site| site.pc).ok()
    }

    /// All points, of all executions of all sites; `None` where they have no number. With a window of indices or some threads only, it counts what would be
    /// there without.
    #[must_use]
    pub fn points(&self) -> Option<u128> {
        let points = |site: &Site| u128::from(site.executions) * self.shape(site).points;
        self.is_countable()
            .then(|| self.sites.iter().map(points).sum())
    }

    /// Executions of all sites.
    #[must_use]
    pub fn executions(&self) -> u64 {
        self.sites.iter().map(|site| site.executions).sum()
    }

    /// The thread whose arrivals are executions, where moments are not drawn by index.
    #[must_use]
    pub fn first_thread(&self) -> ThreadNumber {
        self.spans.first().map_or(0, |span| span.thread)
    }

    /// Whether one point is several: a random live byte of a region.
    #[must_use]
    pub fn has_random_memory(&self) -> bool {
        self.asked
            .memory
            .iter()
            .any(|choice| matches!(choice.place, MemoryPlace::Random(_)))
    }

    /// Whether every execution has the same weight, rather than every point.
    #[must_use]
    pub fn is_by_execution(&self) -> bool {
        self.asked.population.is_some()
    }

    /// The most weight that one execution has.
    #[must_use]
    pub fn heaviest(&self) -> u128 {
        let weights = self.sites.iter().map(|site| self.shape(site).weight);
        weights.max().unwrap_or_default()
    }

    /// Point `number` of a choice, at a moment; `seed` is what a random value is drawn from.
    #[must_use]
    pub fn fault(&self, choice: &Choice, number: u128, occasion: &Occasion, seed: u64) -> Fault {
        let (location, change, duration) = self.variant(choice, number);
        let mut fault = Fault {
            location,
            change,
            duration,
            trigger: Trigger {
                thread: occasion.thread,
                when: When::Arrival(Arrival {
                    place: Place::Address(occasion.pc),
                    count: occasion.occurrence,
                }),
            },
            seed: None,
        };
        if fault.draws() {
            fault.seed = Some(seed);
        }
        fault
    }

    /// What point `number` of a choice does: durations change slowest, then operations, then masks, then the bytes of memory, then the bits.
    fn variant(&self, choice: &Choice, number: u128) -> (Location, Option<Change>, Duration) {
        let spot = &choice.spot;
        let durations = &self.asked.durations;
        let each = choice.points / durations.len().max(1) as u128;
        let (duration, mut number) = (number / each.max(1), number % each.max(1));
        let duration = durations
            .get(duration as usize)
            .copied()
            .unwrap_or_default();
        if spot.location.is_whole() {
            return (spot.location.clone(), None, duration);
        }
        for &operation in &self.asked.operations {
            for &mask in &self.asked.masks {
                let masks = ways(operation, mask, spot);
                let all = masks * u128::from(spot.bytes);
                if number >= all {
                    number -= all;
                    continue;
                }
                let byte = (number / masks) as u32;
                let bits = masks::nth(mask, spot.bits, number % masks);
                let change = Change {
                    operation,
                    mask: Mask::Bits(bits),
                };
                return (
                    locations::byte(&spot.location, byte),
                    Some(change),
                    duration,
                );
            }
        }
        // Points are counted by the same loops.
        (spot.location.clone(), None, duration)
    }
}

/// When a point is: an arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Occasion {
    /// In which thread.
    pub thread: ThreadNumber,
    /// At which instruction.
    pub pc: u64,
    /// Which arrival, from 1.
    pub occurrence: u64,
}

/// In how many ways an operation with this kind of mask can be done to one byte or register.
fn ways(operation: Operation, mask: MaskChoice, spot: &Spot) -> u128 {
    // A number that is set must fit into the mask; masks of other kinds were checked when the file was read.
    match (operation, mask) {
        (Operation::Set(number), MaskChoice::All) if number.width() > spot.bits.count() => 0,
        _ => masks::count(mask, spot.bits),
    }
}

fn spans(asked: &Asked, own: &[(u32, u64)]) -> Result<Vec<Span>, SpaceError> {
    let field = |name: &str, sentence: String| SpaceError::Region {
        field: format!("[space] {name}"),
        sentence,
    };
    for wanted in &asked.threads {
        if !own.iter().any(|(thread, _)| thread == wanted) {
            let plural = if own.len() == 1 { "" } else { "s" };
            return Err(field(
                "threads",
                format!(
                    "there is no thread {wanted}: the program has {} thread{plural} in its golden run, numbered from 0",
                    own.len()
                ),
            ));
        }
    }
    let chosen = own
        .iter()
        .filter(|(thread, _)| asked.threads.is_empty() || asked.threads.contains(thread));
    let IndexRange { first, last } = asked.indices.unwrap_or(IndexRange {
        first: 0,
        last: u64::MAX - 1,
    });
    let spans: Vec<Span> = chosen
        .clone()
        .filter(|(_, instructions)| first < *instructions)
        .map(|&(thread, instructions)| Span {
            thread,
            first,
            instructions: instructions.min(last + 1) - first,
        })
        .collect();
    if spans.is_empty() {
        let longest = chosen
            .map(|(_, instructions)| *instructions)
            .max()
            .unwrap_or_default();
        return Err(field(
            "indices",
            format!(
                "{first}-{last} is beyond the end: the threads retire at most {longest} instructions, 0 to {}",
                longest.saturating_sub(1)
            ),
        ));
    }
    Ok(spans)
}

/// Puts a space together.
struct Builder<'a> {
    asked: &'a Asked,
    rows: &'a [ListedInstruction],
    program: &'a Program,
    locations: Locations<'a>,
    shapes: Vec<Shape>,
    /// Shapes by their locations, which are in groups that weigh the same.
    known: HashMap<Vec<Vec<Spot>>, u32>,
    /// Whether all instructions have the same locations.
    same: bool,
}

impl<'a> Builder<'a> {
    fn new(asked: &'a Asked, rows: &'a [ListedInstruction], program: &'a Program) -> Self {
        Self {
            asked,
            rows,
            program,
            locations: Locations::new(asked, Known::of(rows)),
            shapes: Vec::new(),
            known: HashMap::new(),
            same: asked.population.is_none()
                && asked.instruction.is_empty()
                && asked.restrict != Restriction::Written,
        }
    }

    fn build(mut self) -> Result<Space, SpaceError> {
        let (functions, of_row) = self.functions();
        let names: Vec<&str> = of_row
            .iter()
            .map(|&at| functions[at as usize].as_str())
            .collect();
        let within = Filter::new(&self.asked.region, self.program, "space.region")?;
        let without = Filter::new(&self.asked.exclude, self.program, "space.exclude")?;
        if let Some((list, sentence)) = within.unmet(self.rows, &names).into_iter().next() {
            return Err(SpaceError::Region {
                field: format!("[space.region] {list}"),
                sentence,
            });
        }
        let unmet = without.unmet(self.rows, &names).into_iter();
        let mut warnings: Vec<String> = unmet
            .map(|(list, sentence)| format!("[space.exclude] {list}: {sentence}"))
            .collect();
        let text = self.text()?;
        let mut opcodes: Vec<String> = Vec::new();
        let mut sites: Vec<Site> = Vec::new();
        let mut changed = Changed::default();
        let mut factory = InstructionInfoFactory::new();
        let (mut in_region, mut unreachable) = (0_u64, 0_u64);
        for (at, row) in self.rows.iter().enumerate() {
            let function = names[at];
            let of_preset = text.as_ref().is_none_or(|text| self.program.has(row, text));
            if !of_preset || !within.in_all(row, function) || without.in_any(row, function) {
                continue;
            }
            in_region += row.executions;
            let shape = self.shape(row);
            // One without points is kept for now: code that changed must not be taken for what it was.
            let none = self.shapes[shape as usize].points == 0;
            if none && text.is_some() && locations::writes_something(&row.instruction, &mut factory)
            {
                unreachable += row.executions;
            }
            let opcode = format!("{:?}", row.instruction.mnemonic()).to_lowercase();
            let opcode = position(&mut opcodes, opcode);
            let site = Site {
                pc: row.pc,
                executions: row.executions,
                shape,
                function: of_row[at],
                opcode,
            };
            changed.add(&mut sites, site);
        }
        changed.remove(&mut sites);
        sites.retain(|site| self.shapes[site.shape as usize].points > 0);
        if changed.executions > 0 {
            warnings.push(format!(
                "code was changed while it ran: {} executions at {} addresses with different instructions are left out",
                changed.executions,
                changed.addresses.len()
            ));
        }
        if unreachable > 0 {
            warnings.push(format!(
                "{unreachable} executions write only registers that faults cannot go into (MMX, x87 status, segment selectors): they are left out"
            ));
        }
        if sites.is_empty() {
            let why = match in_region {
                0 => "no executed instruction is in the region",
                _ => "no executed instruction of the region has such a location",
            };
            return Err(SpaceError::Empty(why.to_owned()));
        }
        Ok(Space {
            asked: Arc::new(self.asked.clone()),
            sites,
            shapes: self.shapes,
            functions,
            opcodes,
            spans: Vec::new(),
            by_index: false,
            warnings,
        })
    }

    /// The addresses that a population with a name keeps to.
    fn text(&self) -> Result<Option<std::ops::Range<u64>>, SpaceError> {
        match self.asked.population {
            None => Ok(None),
            Some(Preset::Refine) => {
                let text = self.program.section(".text");
                let text = text.ok_or_else(|| SpaceError::Region {
                    field: "[space] population".to_owned(),
                    sentence: "the program's file has no section .text".to_owned(),
                })?;
                Ok(Some(text))
            }
        }
    }

    /// Names of functions, and which one each row belongs to.
    fn functions(&self) -> (Vec<String>, Vec<u32>) {
        let groups = functions::group(self.rows.iter().map(ListedInstruction::place));
        let mut of_row = vec![0; self.rows.len()];
        let mut names = Vec::new();
        for group in groups {
            let number = position(&mut names, group.name);
            for member in group.members {
                of_row[member] = number;
            }
        }
        (names, of_row)
    }

    /// The shape of an instruction, made if there is none like it.
    fn shape(&mut self, row: &ListedInstruction) -> u32 {
        if self.same && !self.shapes.is_empty() {
            return 0;
        }
        let groups = match self.asked.population {
            Some(Preset::Refine) => self.locations.destinations(&row.instruction),
            None => vec![self.locations.at(&row.instruction)],
        };
        if let Some(&number) = self.known.get(&groups) {
            return number;
        }
        let shape = self.make(&groups);
        let number = self.shapes.len() as u32;
        self.shapes.push(shape);
        self.known.insert(groups, number);
        number
    }

    fn make(&self, groups: &[Vec<Spot>]) -> Shape {
        let alike = self.asked.population.is_some();
        let mut choices: Vec<Choice> = Vec::new();
        for group in groups {
            let all: u128 = group.iter().map(|spot| self.points(spot)).sum();
            for spot in group {
                let points = self.points(spot);
                // Every destination register alike, every bit of it alike; otherwise every point alike.
                let weight = match alike {
                    true => WHOLE / groups.len() as u128 * points / all.max(1),
                    false => points,
                };
                if points > 0 {
                    choices.push(Choice {
                        spot: spot.clone(),
                        points,
                        weight,
                    });
                }
            }
        }
        Shape {
            points: choices.iter().map(|choice| choice.points).sum(),
            weight: choices.iter().map(|choice| choice.weight).sum(),
            choices,
        }
    }

    fn points(&self, spot: &Spot) -> u128 {
        let durations = self.asked.durations.len() as u128;
        if spot.location.is_whole() {
            return durations;
        }
        let masks = &self.asked.masks;
        let each = self
            .asked
            .operations
            .iter()
            .flat_map(|&operation| masks.iter().map(move |&mask| ways(operation, mask, spot)));
        each.sum::<u128>() * u128::from(spot.bytes) * durations
    }
}

/// Addresses at which different instructions were executed, one after the other: the K-th arrival says nothing about which one it meets.
#[derive(Default)]
struct Changed {
    addresses: Vec<u64>,
    executions: u64,
}

impl Changed {
    /// Adds a site, by ascending address; one with the same locations as the last one at its address is the same.
    fn add(&mut self, sites: &mut Vec<Site>, site: Site) {
        match sites.last_mut() {
            Some(last) if last.pc == site.pc => {
                if last.shape != site.shape && self.addresses.last() != Some(&site.pc) {
                    self.addresses.push(site.pc);
                }
                last.executions += site.executions;
            }
            _ => sites.push(site),
        }
    }

    fn remove(&mut self, sites: &mut Vec<Site>) {
        let Self {
            addresses,
            executions,
        } = self;
        sites.retain(|site| {
            let gone = addresses.binary_search(&site.pc).is_ok();
            *executions += if gone { site.executions } else { 0 };
            !gone
        });
    }
}

/// The place of a name in a list, added if it is not there.
fn position(names: &mut Vec<String>, name: String) -> u32 {
    let found = names.iter().rposition(|other| *other == name);
    found.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    }) as u32
}
