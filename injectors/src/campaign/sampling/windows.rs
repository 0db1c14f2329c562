//! The windows of a space: ranges of moments, for exhaustive campaigns in which most outcomes are known without running anything.

use std::ops::Range;

use super::located::probe;
use super::{Oracle, PlanError};
use crate::campaign::file::{Campaign, MaskChoice, Restriction};
use crate::campaign::prune::{Locations, Window};
use crate::campaign::space::Space;
use crate::fault::{Duration, Location, MemoryPlace, Operation, Place};

/// Moments that are looked up at most.
const MOST_MOMENTS: u64 = 1_000_000;
/// Ranges that are gone through at most: each costs a run of the program.
const MOST_WINDOWS: usize = 256;

/// What an exhaustive campaign with pruning goes through.
#[derive(Debug, Clone, PartialEq)]
pub struct Windows {
    /// Ranges of moments, in ascending order.
    pub windows: Vec<Window>,
    /// What is changed at each moment.
    pub locations: Locations,
    /// In which ways.
    pub operations: Vec<Operation>,
    /// Points of all.
    pub points: u128,
}

/// The windows that the space of a campaign consists of.
///
/// # Errors
/// [`PlanError::Refused`] for what pruning knows nothing about, and for regions that are entered too often; [`PlanError::Oracle`].
pub fn windows(
    campaign: &Campaign,
    space: &Space,
    oracle: &mut dyn Oracle,
) -> Result<Windows, PlanError> {
    let (locations, bits) = locations(campaign, space)?;
    let windows = ranges(campaign, space, oracle)?;
    let moments: u128 = windows
        .iter()
        .map(|window| u128::from(window.to - window.from))
        .sum();
    let operations = campaign.space.operations.clone();
    Ok(Windows {
        points: moments * bits * operations.len() as u128,
        windows,
        locations,
        operations,
    })
}

fn refused(what: &str) -> PlanError {
    PlanError::Refused(format!(
        "an exhaustive campaign with pruning = \"def-use\" goes through every bit of registers and memory at addresses, one bit at a time, once: {what}"
    ))
}

/// What is changed, and how many bits that are.
fn locations(campaign: &Campaign, space: &Space) -> Result<(Locations, u128), PlanError> {
    let asked = &campaign.space;
    let plain = [Operation::Flip, Operation::Stuck0, Operation::Stuck1];
    if asked.population.is_some() || !asked.instruction.is_empty() {
        return Err(refused("population and instruction do not go with it"));
    }
    if asked.restrict != Restriction::Any {
        return Err(refused(
            "restrict does not go with it (what is not live has a verdict)",
        ));
    }
    if asked.masks != [MaskChoice::Bit] || asked.bits.is_some() {
        return Err(refused("masks and bits do not go with it"));
    }
    if asked.durations != [Duration::Transient] {
        return Err(refused("durations do not go with it"));
    }
    if !asked
        .operations
        .iter()
        .all(|operation| plain.contains(operation))
    {
        return Err(refused("operations are flip, stuck0 and stuck1"));
    }
    let mut locations = Locations::default();
    let mut bits = 0;
    let Some(site) = space.sites.first() else {
        return Ok((locations, 0));
    };
    // The same at every site, since there are no parts of instructions.
    for choice in &space.shape(site).choices {
        match choice.location() {
            Location::Register(register) => {
                locations.registers.push(register.name().to_owned());
            }
            Location::Memory(MemoryPlace::At(Place::Address(address))) => {
                locations.memory.push((*address, choice.bytes().into()));
            }
            other => {
                return Err(refused(&format!(
                    "{other} is not at an address (0x404028,bytes=4)"
                )));
            }
        }
        bits += choice.points / asked.operations.len() as u128;
    }
    Ok((locations, bits))
}

fn ranges(
    campaign: &Campaign,
    space: &Space,
    oracle: &mut dyn Oracle,
) -> Result<Vec<Window>, PlanError> {
    if campaign.space.region.is_empty() && campaign.space.exclude.is_empty() {
        let spans = space.spans.iter();
        return Ok(spans
            .map(|span| Window {
                thread: span.thread,
                from: span.first,
                to: span.first + span.instructions,
            })
            .collect());
    }
    let mut moments = moments(space, oracle)?;
    moments.sort_unstable();
    moments.dedup();
    let mut windows: Vec<(u32, Range<u64>)> = Vec::new();
    for (thread, index) in moments {
        match windows.last_mut() {
            Some((last, range)) if *last == thread && range.end == index => range.end += 1,
            _ => windows.push((thread, index..index + 1)),
        }
    }
    if windows.len() > MOST_WINDOWS {
        return Err(PlanError::Refused(format!(
            "the region is entered {} times, and each stay in it is gone through by itself: at most {MOST_WINDOWS}; add indices = \"FIRST-LAST\", or take a region that is entered less often",
            windows.len()
        )));
    }
    let window = |(thread, range): (u32, Range<u64>)| Window {
        thread,
        from: range.start,
        to: range.end,
    };
    Ok(windows.into_iter().map(window).collect())
}

/// Threads and indices of all executions of all sites.
fn moments(space: &Space, oracle: &mut dyn Oracle) -> Result<Vec<(u32, u64)>, PlanError> {
    let many = |moments: u64| {
        PlanError::Refused(format!(
            "{moments} moments would have to be looked up to find when the program is in the region, at most {MOST_MOMENTS} are: make the region smaller, or add indices = \"FIRST-LAST\""
        ))
    };
    let probes: Vec<String> = if space.by_index {
        let all: u64 = space.spans.iter().map(|span| span.instructions).sum();
        if all > MOST_MOMENTS {
            return Err(many(all));
        }
        let indices = space.spans.iter().flat_map(|span| {
            (span.first..span.first + span.instructions).map(|index| probe(span.thread, index))
        });
        indices.collect()
    } else {
        let all = space.executions();
        if all > MOST_MOMENTS {
            return Err(many(all));
        }
        let sites = space.sites.iter();
        sites
            .flat_map(|site| {
                (1..=site.executions).map(|time| format!("skip@{:#x}:{time}", site.pc))
            })
            .collect()
    };
    let found = oracle.locate(&probes).map_err(PlanError::Oracle)?;
    let here = found.into_iter().flatten().map(|(_, found)| found);
    let here = here.filter(|found| space.site_at(found.pc).is_some());
    Ok(here
        .map(|found| (found.moment.thread, found.moment.index))
        .collect())
}
