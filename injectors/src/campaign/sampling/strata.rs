//! A space divided into strata, each with the same number of faults.

use std::collections::{BTreeMap, BTreeSet};

use super::direct::Source;
use super::picker::Picker;
use super::random::Random;
use super::{DrawnFault, PlanError, StratumSize};
use crate::campaign::file::{Stratum, Words};
use crate::campaign::space::{Space, WHOLE};

/// Divides, draws, and mixes the strata, so that every beginning of the list has something of each.
pub(super) fn draw(
    space: &Space,
    by: Stratum,
    wanted: u64,
    random: &mut Random,
) -> Result<(Vec<DrawnFault>, Vec<StratumSize>), PlanError> {
    let strata = divide(space, by);
    if wanted < strata.len() as u64 {
        return Err(PlanError::Refused(format!(
            "{wanted} faults are too few for {} strata (by {}): one of each needs as many; ask for more, or make the space smaller",
            strata.len(),
            by.word()
        )));
    }
    let quotas = quotas(&strata, wanted);
    let mut keyed = Vec::new();
    let mut sizes = Vec::new();
    for ((name, picker), quota) in strata.iter().zip(quotas) {
        let quota = usize::try_from(quota).unwrap_or(usize::MAX);
        let mut source = Source::new(space, picker, quota, random);
        let points: Vec<_> = (0..quota).map_while(|_| source.next(random)).collect();
        let mass = match space.is_by_execution() {
            true => picker.weight() as f64 / WHOLE as f64,
            false => picker.points as f64,
        };
        sizes.push(StratumSize {
            name: name.clone(),
            points: mass,
            drawn: points.len() as u64,
        });
        let weight = mass / points.len().max(1) as f64;
        for point in points {
            let fault = DrawnFault {
                text: point.text(space, random),
                weight,
                stratum: Some(name.clone()),
                found: None,
            };
            keyed.push((random.number(), fault));
        }
    }
    keyed.sort_by_key(|(key, _)| *key);
    Ok((keyed.into_iter().map(|(_, fault)| fault).collect(), sizes))
}

/// The strata that have points, by name.
fn divide(space: &Space, by: Stratum) -> Vec<(String, Picker<'_>)> {
    let all = 0..space.sites.len() as u32;
    if by == Stratum::RegisterClass {
        let classes: BTreeSet<&'static str> = space
            .sites
            .iter()
            .flat_map(|site| {
                space
                    .shape(site)
                    .choices
                    .iter()
                    .map(|choice| choice.class())
            })
            .collect();
        return classes
            .into_iter()
            .map(|class| {
                (
                    class.to_owned(),
                    Picker::new(space, all.clone(), Some(class)),
                )
            })
            .collect();
    }
    let mut sites: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for number in all {
        let site = &space.sites[number as usize];
        let name = match by {
            Stratum::Opcode => &space.opcodes[site.opcode as usize],
            Stratum::Function | Stratum::RegisterClass => &space.functions[site.function as usize],
        };
        sites.entry(name).or_default().push(number);
    }
    sites
        .into_iter()
        .map(|(name, sites)| (name.to_owned(), Picker::new(space, sites, None)))
        .collect()
}

/// The same number for each; what a small one does not have goes to the others.
fn quotas(strata: &[(String, Picker<'_>)], wanted: u64) -> Vec<u64> {
    let mut ascending: Vec<usize> = (0..strata.len()).collect();
    ascending.sort_by_key(|&at| (strata[at].1.points, at));
    let mut quotas = vec![0; strata.len()];
    let mut left = wanted;
    for (done, &at) in ascending.iter().enumerate() {
        let share = left / (strata.len() - done) as u64;
        let points = u64::try_from(strata[at].1.points).unwrap_or(u64::MAX);
        quotas[at] = share.min(points);
        left -= quotas[at];
    }
    quotas
}
