//! Every trigger becomes a moment before anything is injected.

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Engine, EngineOptions, Found, HowEnded, Landmark, Moment};
use fits_tracer::live::Live;
use fits_tracer::process::Command;

use super::Draw;
use super::places::Modules;
use crate::drive::Planned;
use crate::fault::{Arrival, Fault, Location, MemoryPlace, Place, Trigger, When};

/// What planning needs beside the faults.
#[derive(Clone, Debug, Default)]
pub struct PlanOptions {
    /// What faults without a seed of their own are drawn from: the first one from this number, each further one from the next.
    pub seed: u64,
    /// What is known of the golden run; without it, moments that need it make the program run once more.
    pub golden: Option<Golden>,
}

/// A fault-free run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// Instructions of each thread.
    pub instructions: Vec<u64>,
    /// Processor time of the process.
    pub cpu_seconds: f64,
}

/// Why a fault cannot be planned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// Running the program failed.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// No such symbol.
    #[error("{fault}: {sentence}")]
    Symbol {
        /// The fault.
        fault: Box<Fault>,
        /// Which symbol, and those with a similar name.
        sentence: String,
    },
    /// No such thread.
    #[error("{fault}: the program has {threads} thread{} in its golden run, numbered from 0", if *threads == 1 { "" } else { "s" })]
    Thread {
        /// The fault.
        fault: Box<Fault>,
        /// How many there are.
        threads: usize,
    },
    /// After the end.
    #[error("{fault}: {what} is beyond the end: {end}")]
    Beyond {
        /// The fault.
        fault: Box<Fault>,
        /// The index or time.
        what: String,
        /// Where the end is.
        end: String,
    },
    /// The fault-free run used up a limit, so its length is unknown.
    #[error(
        "the fault-free run was ended by a limit, so that random moments and times mean nothing"
    )]
    Endless,
}

/// A trigger on its way to a moment.
enum Wanted {
    /// Known but for what stands there.
    Landmark(Landmark),
    /// Counted from a landmark.
    After {
        landmark: Landmark,
        instructions: u64,
    },
    /// Drawn between a landmark and the end.
    Between { landmark: Landmark, end: u64 },
}

/// Finds the moments of faults. `None`: the fault-free run ends before.
///
/// # Errors
/// What is wrong with a fault, as far as it can be known before it is injected.
pub fn plan(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    faults: &[Fault],
    plan: &PlanOptions,
) -> Result<Vec<Option<Planned>>, PlanError> {
    let mut faults = faults.to_vec();
    for (number, fault) in (0..).zip(&mut faults) {
        if fault.draws() {
            fault.seed.get_or_insert(plan.seed.wrapping_add(number));
        }
    }
    let golden = match &plan.golden {
        Some(golden) => golden.clone(),
        None if faults.iter().any(needs_golden) => count(engine, command, options)?,
        None => Golden::default(),
    };
    let modules = modules(command, options, &faults)?;
    let mut wanted = Vec::new();
    for fault in &faults {
        wanted.push(want(fault, modules.as_ref(), &golden)?);
    }
    let found = locate(engine, command, options, &faults, &wanted)?;
    let both = faults.into_iter().zip(found);
    Ok(both
        .map(|(fault, found)| found.map(|found| Planned { fault, found }))
        .collect())
}

fn needs_golden(fault: &Fault) -> bool {
    matches!(fault.trigger.when, When::Time(_) | When::Random { .. })
}

fn count(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
) -> Result<Golden, PlanError> {
    let end = engine.count(command, options)?;
    match end.how {
        HowEnded::Ended(_) => Ok(Golden {
            instructions: end.instructions,
            cpu_seconds: end.cpu.user + end.cpu.system,
        }),
        HowEnded::CpuLimit | HowEnded::WallLimit => Err(PlanError::Endless),
    }
}

/// The places that a fault names.
fn places(fault: &Fault) -> Vec<&Place> {
    let mut places = Vec::new();
    if let Location::Memory(MemoryPlace::At(place)) = &fault.location {
        places.push(place);
    }
    match &fault.trigger.when {
        When::Arrival(arrival) => places.push(&arrival.place),
        When::Access { place, .. } => places.push(place),
        When::Index { from, .. } | When::Random { from } => {
            places.extend(from.iter().map(|arrival| &arrival.place));
        }
        When::Call { .. } | When::Time(_) => {}
    }
    places
}

/// The modules that are needed for the symbols of the faults: the program's own, or, when it does not have them all, its libraries' too.
fn modules(
    command: &Command,
    options: &EngineOptions,
    faults: &[Fault],
) -> Result<Option<Modules>, PlanError> {
    let named = |fault: &Fault| {
        places(fault)
            .iter()
            .any(|place| matches!(place, Place::Symbol { .. }))
    };
    if !faults.iter().any(named) {
        return Ok(None);
    }
    let mut live = Live::launch(command, options)?;
    let mut modules = Modules::of(&live).map_err(BackendError::from)?;
    let Some(fault) = faults
        .iter()
        .find(|fault| unknown(fault, &modules).is_some())
    else {
        return Ok(Some(modules));
    };
    if let Some(entry) = modules.entry() {
        // There, the loader has mapped the libraries.
        live.arrive(entry, 1, &options.limits)?;
        modules = Modules::of(&live).map_err(BackendError::from)?;
    }
    match faults
        .iter()
        .find_map(|fault| Some((fault, unknown(fault, &modules)?)))
    {
        None => Ok(Some(modules)),
        Some((_, sentence)) => Err(PlanError::Symbol {
            fault: Box::new(fault.clone()),
            sentence,
        }),
    }
}

fn unknown(fault: &Fault, modules: &Modules) -> Option<String> {
    let missing = places(fault)
        .into_iter()
        .find_map(|place| modules.address(place).err())?;
    Some(missing.sentence())
}

fn address(fault: &Fault, place: &Place, modules: Option<&Modules>) -> Result<u64, PlanError> {
    let symbol = |sentence: String| PlanError::Symbol {
        fault: Box::new(fault.clone()),
        sentence,
    };
    match (place, modules) {
        (Place::Address(address), _) => Ok(*address),
        (place, Some(modules)) => modules
            .address(place)
            .map_err(|missing| symbol(missing.sentence())),
        (place, None) => Err(symbol(format!("{place} was not looked up"))),
    }
}

fn want(fault: &Fault, modules: Option<&Modules>, golden: &Golden) -> Result<Wanted, PlanError> {
    let Trigger { thread, when } = &fault.trigger;
    let thread = *thread;
    let arrival = |arrival: &Arrival| {
        Ok::<_, PlanError>(Landmark::Arrival {
            thread,
            address: address(fault, &arrival.place, modules)?,
            count: arrival.count,
        })
    };
    let index = |index| Landmark::Index(Moment { thread, index });
    Ok(match when {
        When::Index {
            index: at,
            from: None,
        } => {
            check_index(fault, *at, golden)?;
            Wanted::Landmark(index(*at))
        }
        When::Index {
            index,
            from: Some(from),
        } => Wanted::After {
            landmark: arrival(from)?,
            instructions: *index,
        },
        When::Arrival(at) => Wanted::Landmark(arrival(at)?),
        When::Access {
            access,
            place,
            bytes,
            count,
        } => Wanted::Landmark(Landmark::Access {
            thread,
            address: address(fault, place, modules)?,
            bytes: *bytes,
            access: *access,
            count: *count,
        }),
        When::Call { number, count } => Wanted::Landmark(Landmark::Call {
            thread,
            number: *number,
            count: *count,
        }),
        When::Time(time) => {
            let instructions = length(fault, golden)?;
            let seconds = time.as_secs_f64();
            if seconds >= golden.cpu_seconds {
                return Err(PlanError::Beyond {
                    fault: Box::new(fault.clone()),
                    what: format!("{seconds} s"),
                    end: format!("the golden run takes {} s", golden.cpu_seconds),
                });
            }
            let at = seconds / golden.cpu_seconds * instructions as f64;
            Wanted::Landmark(index((at as u64).min(instructions.saturating_sub(1))))
        }
        When::Random { from: None } => {
            let instructions = length(fault, golden)?;
            let mut draw = Draw::new(fault.seed.unwrap_or_default());
            Wanted::Landmark(index(draw.moment(instructions)))
        }
        When::Random { from: Some(from) } => Wanted::Between {
            landmark: arrival(from)?,
            end: length(fault, golden)?,
        },
    })
}

/// How many instructions the thread of the fault retires.
fn length(fault: &Fault, golden: &Golden) -> Result<u64, PlanError> {
    let instructions = golden.instructions.get(fault.trigger.thread as usize);
    instructions.copied().ok_or_else(|| PlanError::Thread {
        fault: Box::new(fault.clone()),
        threads: golden.instructions.len(),
    })
}

/// An index beyond the end is refused where the end is known.
fn check_index(fault: &Fault, index: u64, golden: &Golden) -> Result<(), PlanError> {
    if golden.instructions.is_empty() {
        return Ok(());
    }
    let instructions = length(fault, golden)?;
    if index < instructions {
        return Ok(());
    }
    Err(PlanError::Beyond {
        fault: Box::new(fault.clone()),
        what: format!("index {index}"),
        end: format!(
            "thread {} retires {instructions} instructions, 0 to {}",
            fault.trigger.thread,
            instructions.saturating_sub(1)
        ),
    })
}

/// Runs the program once for all landmarks, and once more for those moments that are counted from one.
fn locate(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    faults: &[Fault],
    wanted: &[Wanted],
) -> Result<Vec<Option<Found>>, PlanError> {
    let landmarks: Vec<Landmark> = wanted.iter().map(Wanted::landmark).collect();
    let mut found = engine.locate(command, options, &landmarks)?;
    let mut second = Vec::new();
    for (place, wanted) in wanted.iter().enumerate() {
        if let Some(origin) = found[place]
            && let Some(moment) = wanted.counted(origin, faults[place].seed)
        {
            second.push((place, moment));
        }
    }
    if second.is_empty() {
        return Ok(found);
    }
    let landmarks: Vec<Landmark> = second
        .iter()
        .map(|(_, moment)| Landmark::Index(*moment))
        .collect();
    let again = engine.locate(command, options, &landmarks)?;
    for ((place, _), moment) in second.into_iter().zip(again) {
        found[place] = moment;
    }
    Ok(found)
}

impl Wanted {
    fn landmark(&self) -> Landmark {
        match self {
            Self::Landmark(landmark)
            | Self::After { landmark, .. }
            | Self::Between { landmark, .. } => *landmark,
        }
    }

    /// The moment that is counted from `origin`, if one is.
    fn counted(&self, origin: Found, seed: Option<u64>) -> Option<Moment> {
        let Moment { thread, index } = origin.moment;
        let more = match self {
            Self::Landmark(_) => return None,
            Self::After { instructions, .. } => *instructions,
            Self::Between { end, .. } => {
                Draw::new(seed.unwrap_or_default()).moment(end.saturating_sub(index))
            }
        };
        Some(Moment {
            thread,
            index: index.saturating_add(more),
        })
    }
}
