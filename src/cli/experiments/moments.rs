//! Where the moments of faults lie.

use fits_injectors::experiment::job::EngineName;
use fits_injectors::experiment::session::Session;
use fits_injectors::fault::Fault;
use fits_tracer::engine::Found;

use super::conduct::Conduct;
use super::faults;
use crate::cli::CliError;

/// A fault whose moment has been looked for: its text, and where it is. `None`: the fault-free run ends before.
pub(crate) type Planned = Option<(String, Found)>;

/// The moments of all faults, experiment by experiment.
pub(crate) fn find(
    conduct: &Conduct,
    seed: u64,
    session: &mut Session,
    experiments: &[Vec<Fault>],
) -> Result<Vec<Vec<Planned>>, CliError> {
    let all: Vec<&Fault> = experiments.iter().flatten().collect();
    if conduct.hang_instructions.is_some() || all.iter().any(|fault| faults::needs_count(fault)) {
        session.count()?;
    }
    let mut found = find_all(conduct, seed, session, &all)?;
    let beyond = |(fault, found): (&&Fault, &Planned)| found.is_none() && faults::is_index(fault);
    if session.instructions().is_empty() && all.iter().zip(&found).any(beyond) {
        // Now that the end is known, the sentence about it can be said.
        session.count()?;
        found = find_all(conduct, seed, session, &all)?;
    }
    let mut found = found.into_iter();
    let each = experiments
        .iter()
        .map(|faults| found.by_ref().take(faults.len()).collect());
    Ok(each.collect())
}

fn find_all(
    conduct: &Conduct,
    seed: u64,
    session: &mut Session,
    all: &[&Fault],
) -> Result<Vec<Planned>, CliError> {
    let finder = conduct.engines().1;
    let mut found: Vec<Planned> = vec![None; all.len()];
    for accesses in [false, true] {
        let places: Vec<usize> = (0..all.len())
            .filter(|&place| faults::is_access(all[place]) == accesses)
            .collect();
        if places.is_empty() {
            continue;
        }
        let finder = match (accesses, finder) {
            (true, EngineName::Dbt) => EngineName::Steps,
            (_, finder) => finder,
        };
        let texts: Vec<String> = places.iter().map(|&place| all[place].to_string()).collect();
        let some = session.plan(&texts, seed, finder)?;
        for (place, one) in places.into_iter().zip(some) {
            found[place] = one;
        }
    }
    Ok(found)
}
