//! Every point of a space.

use super::located::probe;
use super::picker::{Candidate, Picker};
use super::random::Random;
use super::{DrawnFault, Oracle, PlanError};
use crate::campaign::space::Space;

pub(super) fn all(
    space: &Space,
    limit: u64,
    pruned: bool,
    random: &mut Random,
    oracle: &mut dyn Oracle,
) -> Result<Vec<DrawnFault>, PlanError> {
    let too_many = |points: u128, qualified: &str| PlanError::TooMany {
        points: format!("{qualified}{points}"),
        limit,
        pruned,
    };
    let fault = |text: String, found| DrawnFault {
        text,
        weight: 1.0,
        stratum: None,
        found,
    };
    if !space.by_index {
        let picker = Picker::whole(space);
        if picker.points > limit.into() {
            return Err(too_many(picker.points, ""));
        }
        let points = picker.all();
        return Ok(points
            .map(|(point, _)| fault(point.text(space, random), None))
            .collect());
    }
    let instructions: u128 = space
        .spans
        .iter()
        .map(|span| u128::from(span.instructions))
        .sum();
    if instructions > limit.into() {
        return Err(too_many(instructions, "up to one for each bit at "));
    }
    let probes: Vec<String> = space
        .spans
        .iter()
        .flat_map(|span| {
            (span.first..span.first + span.instructions).map(|index| probe(span.thread, index))
        })
        .collect();
    let found = oracle.locate(&probes).map_err(PlanError::Oracle)?;
    let moments: Vec<_> = found
        .into_iter()
        .flatten()
        .filter_map(|(_, found)| Some((space.site_at(found.pc)?, found)))
        .collect();
    let points: u128 = moments
        .iter()
        .map(|(site, _)| space.shape(&space.sites[*site]).points)
        .sum();
    if points > limit.into() {
        return Err(too_many(points, ""));
    }
    let mut faults = Vec::new();
    for (at, found) in moments {
        let shape = space.shape(&space.sites[at]);
        for (place, choice) in (0..).zip(&shape.choices) {
            for number in 0..choice.points {
                let point = Candidate {
                    site: at as u32,
                    choice: place,
                    number,
                    thread: found.moment.thread,
                    occurrence: found.arrivals,
                };
                faults.push(fault(point.text(space, random), Some(found)));
            }
        }
    }
    Ok(faults)
}
