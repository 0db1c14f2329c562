//! From a space to a list of faults: which points, by chance or by rule, and what each stands for.
//!
//! The same campaign, golden run and seed give the same list. Everything comes from one stream of ChaCha with 8 rounds, its key made of the seed.
//!
//! - `random`: unbiased numbers below a bound. `picker`: points of a stratum by their weight. `direct`: distinct points by address and occurrence.
//! - `located`: points by thread and index, where occurrences do not say enough. `strata`: dividing a space. `exhaustive`: all points.
//! - `windows`: ranges of moments, for exhaustive campaigns with pruning. `list`: a given list.

mod direct;
mod exhaustive;
mod list;
mod located;
mod picker;
mod random;
mod strata;
#[cfg(test)]
mod tests;
mod windows;

use fits_stats::folder::GoldenFolder;
use fits_tracer::engine::Found;
use serde::{Deserialize, Serialize};

use super::file::{Campaign, Pruning, Restriction, Sampling, Size};
use super::space::{Space, SpaceError};
use super::statistics::sample_size;
use picker::{Candidate, Picker};
use random::Random;
pub use windows::{Windows, windows};

/// Who knows the program: it finds moments, and looks ahead from them.
pub trait Oracle {
    /// Where faults lie, in the same order, each with everything decided that was drawn. `None`: the fault-free run ends before.
    ///
    /// # Errors
    /// A sentence.
    fn locate(&mut self, faults: &[String]) -> Result<Vec<Option<(String, Found)>>, String>;

    /// Whether what a fault changes is read before it is overwritten (or may be: what is not known counts as live).
    ///
    /// # Errors
    /// A sentence.
    fn live(&mut self, points: &[(String, Found)]) -> Result<Vec<bool>, String>;
}

/// Knows nothing: enough where faults are drawn by address and occurrence.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoOracle;

impl Oracle for NoOracle {
    fn locate(&mut self, _: &[String]) -> Result<Vec<Option<(String, Found)>>, String> {
        Err("moments cannot be looked up here".to_owned())
    }

    fn live(&mut self, _: &[(String, Found)]) -> Result<Vec<bool>, String> {
        Err("what is live cannot be looked up here".to_owned())
    }
}

/// Why no list of faults came about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no space.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// A list cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A list has something else than faults in it.
    #[error("{0}")]
    List(String),
    /// Running the program failed.
    #[error("{0}")]
    Oracle(String),
    /// More points than are taken.
    #[error(
        "an exhaustive campaign of this space has {points} experiments, more than [sampling] limit = {limit}: make the space smaller (a function, a range of indices, fewer \
         registers), raise the limit{}", if *.pruned { "" } else { ", or let pruning = \"def-use\" decide most of them without running them" }
    )]
    TooMany {
        /// How many there are.
        points: String,
        /// How many are taken.
        limit: u64,
        /// Whether pruning is on already.
        pruned: bool,
    },
    /// What was asked for does not go with the program.
    #[error("{0}")]
    Refused(String),
}

/// A fault of the list.
#[derive(Debug, Clone, PartialEq)]
pub struct DrawnFault {
    /// In its text form.
    pub text: String,
    /// How many points it stands for: 1 in a uniform sample, points ÷ drawn of its stratum in a stratified one.
    pub weight: f64,
    /// Its stratum.
    pub stratum: Option<String>,
    /// Where it lies, if that had to be looked up already.
    pub found: Option<Found>,
}

/// A stratum, and how much was drawn from it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StratumSize {
    /// Its name.
    pub name: String,
    /// Its points; of a population with a name, its executions.
    pub points: f64,
    /// Faults drawn from it.
    pub drawn: u64,
}

/// What was drawn from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// uniform, stratified, exhaustive or list.
    pub kind: String,
    /// The name of the population, if it has one.
    pub name: Option<String>,
    /// Points, dynamic instruction × bit; `None`: not known (a window of indices, some threads, what is live, random live memory).
    pub points: Option<u128>,
    /// Executed instructions of the space.
    pub executions: u64,
    /// Static instructions of the space.
    pub instructions: u64,
    /// What all draws came from.
    pub seed: u64,
    /// The strata.
    pub strata: Vec<StratumSize>,
    /// What to know before trusting the figures.
    pub warnings: Vec<String>,
}

/// A list of faults, and what it was drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// In the order of the plan; every beginning of a uniform sample is one.
    pub faults: Vec<DrawnFault>,
    /// What they were drawn from.
    pub population: Population,
}

/// Makes the list of faults of a campaign.
///
/// # Errors
/// See [`PlanError`].
pub fn draw(
    campaign: &Campaign,
    golden: &GoldenFolder,
    oracle: &mut dyn Oracle,
) -> Result<Drawn, PlanError> {
    if let Sampling::List { faults, file } = &campaign.sampling {
        return list::read(faults, file.as_deref(), campaign.seed);
    }
    let space = Space::of(campaign, golden)?;
    from_space(campaign, &space, oracle)
}

/// [`draw`] from a space that is there already.
///
/// # Errors
/// See [`PlanError`].
pub fn from_space(
    campaign: &Campaign,
    space: &Space,
    oracle: &mut dyn Oracle,
) -> Result<Drawn, PlanError> {
    let live = campaign.space.restrict == Restriction::Live;
    let window = campaign.space.indices.is_some() || !campaign.space.threads.is_empty();
    let mut population = Population {
        kind: "uniform".to_owned(),
        name: campaign.space.population.map(|_| "refine".to_owned()),
        points: space.points().filter(|_| !window),
        executions: space.executions(),
        instructions: space.sites.len() as u64,
        seed: campaign.seed,
        strata: Vec::new(),
        warnings: space.warnings.clone(),
    };
    if window {
        population.warnings.push("how many points the chosen indices or threads have is not known before: the sample size is that of a population without end".to_owned());
    }
    let mut random = Random::new(campaign.seed);
    let faults = match &campaign.sampling {
        Sampling::Uniform { size } => {
            let wanted = wanted(*size, population.points);
            let candidates = uniform(space, wanted, live, &mut random, oracle)?;
            if (candidates.len() as u64) < wanted {
                population.warnings.push(format!(
                    "the space has only {} points, fewer than the {wanted} faults asked for: all are taken",
                    candidates.len()
                ));
            }
            candidates
                .into_iter()
                .map(|(text, found)| DrawnFault {
                    text,
                    weight: 1.0,
                    stratum: None,
                    found,
                })
                .collect()
        }
        Sampling::Stratified { by, size } => {
            population.kind = "stratified".to_owned();
            if space.by_index || live || !space.is_countable() {
                return Err(PlanError::Refused(
                    "stratified sampling needs to know how many points each stratum has: it goes with programs of one thread, and without indices, live registers and random memory".to_owned(),
                ));
            }
            let wanted = wanted(*size, population.points);
            let (faults, strata) = strata::draw(space, *by, wanted, &mut random)?;
            population.strata = strata;
            faults
        }
        Sampling::Exhaustive { limit } => {
            population.kind = "exhaustive".to_owned();
            let pruned = campaign.pruning != Pruning::Off;
            let faults = exhaustive::all(space, *limit, pruned, &mut random, oracle)?;
            population.points = Some(faults.len() as u128);
            faults
        }
        Sampling::List { faults, file } => {
            return list::read(faults, file.as_deref(), campaign.seed);
        }
    };
    Ok(Drawn { faults, population })
}

/// How many faults a size means.
fn wanted(size: Size, points: Option<u128>) -> u64 {
    match size {
        Size::Number(number) => number,
        Size::Margin { margin, confidence } => sample_size(points, margin, confidence),
        Size::UntilWidth { maximum, .. } => {
            let points = points.and_then(|points| u64::try_from(points).ok());
            points.map_or(maximum, |points| maximum.min(points))
        }
    }
}

type Text = (String, Option<Found>);

/// Distinct points, every one with the same probability (or by the rule of a population with a name); fewer if there are no more.
fn uniform(
    space: &Space,
    wanted: u64,
    live: bool,
    random: &mut Random,
    oracle: &mut dyn Oracle,
) -> Result<Vec<Text>, PlanError> {
    let picker = Picker::whole(space);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if space.by_index {
        let mut source = located::Source::new(space);
        return located::draw(&mut source, wanted, live, random, oracle);
    }
    let mut source = direct::Source::new(space, &picker, wanted, random);
    if !live {
        let points = (0..wanted).map_while(|_| source.next(random));
        let candidates: Vec<Candidate> = points.collect();
        return Ok(candidates
            .iter()
            .map(|point| (point.text(space, random), None))
            .collect());
    }
    let mut kept = Vec::new();
    let mut tried = 0;
    while kept.len() < wanted {
        let batch = (2 * (wanted - kept.len())).clamp(256, 20_000);
        let points: Vec<Candidate> = (0..batch).map_while(|_| source.next(random)).collect();
        let texts: Vec<String> = points
            .iter()
            .map(|point| point.text(space, random))
            .collect();
        if texts.is_empty() {
            break;
        }
        tried += texts.len();
        let found = oracle.locate(&texts).map_err(PlanError::Oracle)?;
        keep_live(
            found.into_iter().flatten().collect(),
            wanted,
            oracle,
            &mut kept,
        )?;
        give_up(kept.len(), tried, "are live")?;
    }
    Ok(kept)
}

/// Adds those that are live, until there are enough.
fn keep_live(
    points: Vec<(String, Found)>,
    wanted: usize,
    oracle: &mut dyn Oracle,
    kept: &mut Vec<Text>,
) -> Result<(), PlanError> {
    let live = oracle.live(&points).map_err(PlanError::Oracle)?;
    let alive = points.into_iter().zip(live).filter(|(_, live)| *live);
    let room = wanted.saturating_sub(kept.len());
    kept.extend(
        alive
            .map(|((text, found), _)| (text, Some(found)))
            .take(room),
    );
    Ok(())
}

/// A space that is met hardly ever is not worth the search.
fn give_up(kept: usize, tried: usize, what: &str) -> Result<(), PlanError> {
    const PATIENCE: usize = 200_000;
    if tried >= PATIENCE && kept < tried / 2000 {
        return Err(PlanError::Refused(format!(
            "of {tried} moments that were tried, {kept} {what}: this space is too rare to be found by chance; make the rest of the space smaller"
        )));
    }
    Ok(())
}
