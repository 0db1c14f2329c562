//! What a worker is asked to do, and what it answers.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use fits_stats::model::Level;
use fits_stats::symbols::Names;
use fits_tracer::backend::BackendError;
use fits_tracer::engine::{End, Engine, EngineOptions, Found, Limits, Reached};
use fits_tracer::live::checkpoint::CheckpointEngine;
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::{CpuPlan, Environment};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::collect::{Collect, CollectReport, collect};
use super::limits::processor_backstop;
use super::near::walk::{PROCESS, walk};
use super::outputs::{self, Difference, Output, differences, keep, read_kept};
use super::record::InjectionRecord;
use super::sandbox::Exceeded;
use super::worker::Inside;
use crate::campaign::prune::jobs::{Answer, PruneJob};
use crate::drive::{self, Activated, DriveOptions, Planned, Rejoined};
use crate::fault::{Fault, MemoryPlace, Place};
use crate::resolve::{self, Draw, Golden, PlanError, PlanOptions, plan};
use crate::trace::{self, Recording, Trace, TraceOptions};

/// Who executes the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineName {
    /// The translator.
    Dbt,
    /// Breakpoints and counting.
    Ptrace,
    /// Single steps only.
    Steps,
}

impl EngineName {
    /// What the engine calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dbt => "dbt",
            Self::Ptrace | Self::Steps => "ptrace",
        }
    }
}

/// How the program is run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Without a controlled start.
    pub raw: bool,
    /// When it is ended.
    pub limits: Limits,
}

/// A job of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Run without faults and without counting; keep the outputs in the store under this name.
    Reference {
        /// How.
        run: Run,
        /// Name of the folder for the outputs.
        keep: String,
        /// Patterns that are looked for in standard output and error.
        patterns: Vec<String>,
        /// A function that must not be reached.
        detector: Option<String>,
    },
    /// Count instructions.
    Count {
        /// How.
        run: Run,
        /// By whom.
        engine: EngineName,
    },
    /// Find the moments of faults.
    Plan {
        /// How.
        run: Run,
        /// By whom.
        engine: EngineName,
        /// The faults.
        faults: Vec<String>,
        /// What random ones are drawn from.
        seed: u64,
        /// Instructions of each thread and processor time of the fault-free run, where they are known.
        golden: Option<(Vec<u64>, f64)>,
    },
    /// Run without faults and count everything. For whoever has a backend that does: not for [`carry_out`].
    Golden(GoldenJob),
    /// Run with faults.
    Experiment(Box<Experiment>),
    /// Collect statistics from the moment of the fault on.
    Collect(Box<Collect>),
    /// Find out without faults what would become of them.
    Prune(Box<PruneJob>),
    /// Run without faults, and leave checkpoints in the store.
    Walk {
        /// How.
        run: Run,
        /// By whom.
        engine: EngineName,
        /// Indices of the first thread, in rising order.
        moments: Vec<u64>,
        /// How many checkpoints may wait.
        ahead: usize,
    },
}

impl Job {
    /// The folder of the host's that it needs: that of its checkpoint.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Experiment(experiment) => experiment.checkpoint.as_ref().map(PathBuf::from),
            _ => None,
        }
    }
}

/// A golden run in the sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoldenJob {
    /// How.
    pub run: Run,
    /// By whom: the translator, or single steps.
    pub engine: EngineName,
    /// What is counted.
    pub level: Level,
    /// Name of the folder in the store for the result.
    pub keep: String,
}

/// A run with faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// How.
    pub run: Run,
    /// Who brings it to the first moment.
    pub engine: EngineName,
    /// The folder of a checkpoint at the first moment.
    pub checkpoint: Option<OsString>,
    /// The faults and their moments.
    pub faults: Vec<(String, Found)>,
    /// Change nothing.
    pub dry_run: bool,
    /// How many instructions are stepped to see whether what was changed is read.
    pub window: u64,
    /// How many instructions a thread may retire while it is stepped.
    pub instructions: Option<u64>,
    /// Outputs of the reference run.
    pub golden: Vec<Output>,
    /// The folder of the store in which their contents are.
    pub golden_kept: String,
    /// Keep the outputs in the store under this name, if they differ.
    pub keep: Option<String>,
    /// Patterns that are looked for in standard output and error.
    pub patterns: Vec<String>,
    /// Address of the function that the program calls when it has detected a fault.
    pub detector: Option<u64>,
    /// Compare the path and the state after the fault with those of a run without it.
    pub trace: Option<TraceOptions>,
    /// How many instructions the run is compared with the fault-free one, and ended once it has the same state.
    pub early_stop: Option<u64>,
}

/// What a worker answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// Of a reference run.
    Reference(Box<ReferenceReport>),
    /// Instructions of each thread.
    Counted(End),
    /// The folder of a golden run is in the store.
    Golden,
    /// The moments, in the order of the faults, which have their seeds now. `None`: the fault-free run ends before.
    Planned(Vec<Option<(String, Found)>>),
    /// What is wrong with a fault: one sentence.
    Wrong(String),
    /// Of a run with faults.
    Experiment(Box<ExperimentReport>),
    /// What becomes of faults.
    Pruned(Box<Answer>),
    /// The walk is over.
    Walked,
    /// Of a run whose statistics were collected.
    Collected(CollectReport),
    /// The program cannot be run: one sentence.
    CannotRun(String),
    /// Two runs were not the same: one sentence.
    NotReproducible(String),
}

/// A run without faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceReport {
    /// How it ended.
    pub end: End,
    /// What it left.
    pub outputs: Vec<Output>,
    /// Files with code that were mapped when the program itself began: path, first address, first address after it, offset in the file.
    pub modules: Vec<(String, u64, u64, u64)>,
    /// The limit it was ended for.
    pub exceeded: Option<Exceeded>,
    /// The patterns that were found in its output.
    pub patterns: Vec<String>,
    /// Address of the function that it must not have reached.
    pub detector: Option<u64>,
}

/// A run with faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentReport {
    /// The faults whose moment came.
    pub injections: Vec<InjectionRecord>,
    /// Whether the first moment came.
    pub reached: bool,
    /// Whether what was changed was read.
    pub activated: String,
    /// Instructions from the fault to the end, where they were counted.
    pub latency: Option<u64>,
    /// How it ended.
    pub end: End,
    /// How many outputs there are.
    pub outputs: usize,
    /// How its outputs differ from those of the reference run.
    pub differences: Vec<Difference>,
    /// The limit it was ended for.
    pub exceeded: Option<Exceeded>,
    /// The patterns that were found in its output.
    pub patterns: Vec<String>,
    /// Whether the function was reached that the program calls when it has detected a fault.
    pub detected: bool,
    /// What the fault did to path and state, if that was asked for and its moment came.
    pub trace: Option<Trace>,
    /// It was ended since its state was that of the fault-free run again.
    pub rejoined: Option<Rejoined>,
}

/// Carries a job out. `engines` makes an engine by its name.
///
/// # Errors
/// One sentence.
pub fn carry_out(
    job: Job,
    inside: &mut Inside,
    engines: &dyn Fn(EngineName) -> Box<dyn Engine>,
) -> Result<Report, String> {
    let done = match job {
        Job::Reference {
            run,
            keep,
            patterns,
            detector,
        } => reference(run, &keep, &patterns, detector.as_deref(), inside),
        Job::Count { run, engine } => command(&run, inside).and_then(|command| {
            let end = engines(engine).count(&command, &options(&run))?;
            Ok(Report::Counted(end))
        }),
        Job::Plan {
            run,
            engine,
            faults,
            seed,
            golden,
        } => plan_all(&run, &mut *engines(engine), &faults, seed, golden, inside),
        Job::Golden(_) => Err(Failure::Other("golden runs are made elsewhere".to_owned())),
        Job::Experiment(experiment) => {
            let engine = engines(experiment.engine);
            experiment_near(&experiment, engine, inside)
        }
        Job::Collect(job) => collect(&job, inside, engines),
        Job::Prune(job) => command(&job.run, inside).and_then(|command| {
            let answer = job.answer(&mut *engines(job.engine), &command, &options(&job.run))?;
            Ok(Report::Pruned(Box::new(answer)))
        }),
        Job::Walk {
            run,
            engine,
            moments,
            ahead,
        } => command(&run, inside).and_then(|command| {
            let engine = &mut *engines(engine);
            walk(engine, &command, &options(&run), &moments, ahead, inside)?;
            Ok(Report::Walked)
        }),
    };
    match done {
        Ok(report) => Ok(report),
        Err(Failure::Backend(BackendError::Start(error))) => {
            Ok(Report::CannotRun(error.to_string()))
        }
        Err(Failure::Backend(error @ BackendError::NotReproducible(_))) => {
            Ok(Report::NotReproducible(error.to_string()))
        }
        Err(failure) => Err(failure.to_string()),
    }
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error("the outputs of the program cannot be read: {0}")]
    Outputs(#[from] io::Error),
    #[error("{0}")]
    Other(String),
}

/// How an engine is to run.
pub(super) fn options(run: &Run) -> EngineOptions {
    EngineOptions {
        environment: if run.raw {
            Environment::Raw
        } else {
            Environment::Controlled
        },
        cpus: CpuPlan::new(),
        limits: run.limits,
    }
}

/// The program, ready to run.
pub(super) fn command(
    run: &Run,
    inside: &Inside,
) -> Result<fits_tracer::process::Command, Failure> {
    let backstop = run.limits.cpu_seconds.map(processor_backstop);
    Ok(inside.command(backstop.as_slice())?)
}

fn reference(
    run: Run,
    name: &str,
    patterns: &[String],
    detector: Option<&str>,
    inside: &mut Inside,
) -> Result<Report, Failure> {
    let mut live = Live::launch(&command(&run, inside)?, &options(&run))?;
    let modules = modules(&mut live, &run)?;
    let detector = match detector.map(|name| address(&live, name)).transpose() {
        Ok(detector) => detector,
        Err(sentence) => return Ok(Report::Wrong(sentence)),
    };
    if let Some(address) = detector
        && live.arrive(address, 1, &run.limits)?
    {
        let sentence = "--detect-symbol: the fault-free run reaches it too".to_owned();
        return Ok(Report::Wrong(sentence));
    }
    let mut end = live.finish(&run.limits)?;
    inside.heed(&mut end.warnings);
    inside.settle();
    let outputs = inside.outputs()?;
    keep(&outputs, &inside.store().join(name))?;
    Ok(Report::Reference(Box::new(ReferenceReport {
        end,
        patterns: matching(patterns, &outputs)?,
        outputs,
        modules,
        exceeded: inside.exceeded(),
        detector,
    })))
}

fn address(live: &Live, name: &str) -> Result<u64, String> {
    let place = Place::Symbol {
        name: name.to_owned(),
        offset: 0,
    };
    // It draws nothing.
    let mut draw = Draw::new(0);
    resolve::memory(live, &MemoryPlace::At(place), 1, &mut draw)
}

/// What is mapped when the program itself begins: its loader has mapped the libraries by then.
fn modules(live: &mut Live, run: &Run) -> Result<Vec<(String, u64, u64, u64)>, BackendError> {
    if let Some(entry) = entry(live)? {
        live.arrive(entry, 1, &run.limits)?;
    }
    let mappings = live.mappings().unwrap_or_default();
    let code = mappings
        .into_iter()
        .filter(|mapping| mapping.execute && mapping.path.starts_with('/'));
    Ok(code
        .map(|mapping| (mapping.path, mapping.start, mapping.end, mapping.offset))
        .collect())
}

fn entry(live: &Live) -> Result<Option<u64>, BackendError> {
    let path = std::fs::canonicalize(live.executable()).unwrap_or_default();
    let Some(names) = Names::load(&path) else {
        return Ok(None);
    };
    let mappings = live.mappings()?;
    let own = mappings
        .iter()
        .find(|mapping| Path::new(&mapping.path) == path);
    Ok(own
        .and_then(|mapping| names.base(mapping.start, mapping.offset))
        .zip(names.entry())
        .map(|(base, entry)| base.wrapping_add(entry)))
}

fn parse(text: &str) -> Result<Fault, Failure> {
    text.parse()
        .map_err(|error: crate::fault::ParseError| Failure::Other(error.to_string()))
}

fn plan_all(
    run: &Run,
    engine: &mut dyn Engine,
    faults: &[String],
    seed: u64,
    golden: Option<(Vec<u64>, f64)>,
    inside: &mut Inside,
) -> Result<Report, Failure> {
    let faults: Vec<Fault> = faults
        .iter()
        .map(|text| parse(text))
        .collect::<Result<_, _>>()?;
    let plan_options = PlanOptions {
        seed,
        golden: golden.map(|(instructions, cpu_seconds)| Golden {
            instructions,
            cpu_seconds,
        }),
    };
    let command = command(run, inside)?;
    match plan(engine, &command, &options(run), &faults, &plan_options) {
        Ok(planned) => {
            let text = |planned: Planned| (planned.fault.to_string(), planned.found);
            let planned = planned.into_iter().map(|planned| planned.map(text));
            Ok(Report::Planned(planned.collect()))
        }
        Err(PlanError::Backend(error)) => Err(error.into()),
        Err(wrong) => Ok(Report::Wrong(wrong.to_string())),
    }
}

/// An experiment from its checkpoint, if it has one.
fn experiment_near(
    experiment: &Experiment,
    mut engine: Box<dyn Engine>,
    inside: &mut Inside,
) -> Result<Report, Failure> {
    let Some(path) = &experiment.checkpoint else {
        return run_experiment(experiment, &mut *engine, inside);
    };
    let folder = inside.folder().unwrap_or(Path::new(path)).to_owned();
    let surroundings = inside.surroundings(&folder);
    let mut engine = CheckpointEngine::new(folder.join(PROCESS), surroundings, engine);
    let mut report = run_experiment(experiment, &mut engine, inside)?;
    if let (Some(sentence), Report::Experiment(report)) = (engine.failed(), &mut report) {
        let warnings = &mut report.end.warnings;
        warnings.push(format!(
            "the run began afresh and not from its checkpoint: {sentence}"
        ));
    }
    Ok(report)
}

/// The faults of an experiment.
pub(super) fn planned_of(experiment: &Experiment) -> Result<Vec<Planned>, Failure> {
    let planned = experiment.faults.iter().map(|(text, found)| {
        Ok(Planned {
            fault: parse(text)?,
            found: *found,
        })
    });
    planned.collect()
}

fn run_experiment(
    experiment: &Experiment,
    engine: &mut dyn Engine,
    inside: &mut Inside,
) -> Result<Report, Failure> {
    let run = &experiment.run;
    let planned = planned_of(experiment)?;
    let drive_options = DriveOptions {
        window: experiment.window,
        dry_run: experiment.dry_run,
        instructions: experiment.instructions,
        detector: experiment.detector,
        trace: experiment.trace.clone(),
        early_stop: experiment.early_stop,
    };
    let command = command(run, inside)?;
    let mut driven = drive::run(engine, &command, &options(run), &planned, &drive_options)?;
    inside.heed(&mut driven.end.warnings);
    inside.settle();
    // One that was ended early would have left what the reference run left.
    let outputs = match driven.rejoined {
        Some(_) => experiment.golden.clone(),
        None => inside.outputs()?,
    };
    let golden = inside.store().join(&experiment.golden_kept);
    let differences = differences(&experiment.golden, &outputs, |number| {
        read_kept(&golden, &experiment.golden[number].name)
    })?;
    if let Some(name) = &experiment.keep
        && !differences.is_empty()
    {
        keep(&outputs, &inside.store().join(name))?;
    }
    let patterns = match driven.rejoined {
        Some(_) => Vec::new(),
        None => matching(&experiment.patterns, &outputs)?,
    };
    let exceeded = inside.exceeded();
    // Another run begins with fresh files: what this one has left is not needed any more.
    let trace = match &driven.recording {
        Some(faulty) => Some(traced(inside, engine, run, &planned, faulty)?),
        None => None,
    };
    Ok(Report::Experiment(Box::new(ExperimentReport {
        injections: driven.injections.iter().map(InjectionRecord::of).collect(),
        reached: driven.reached,
        activated: activated(driven.activated).to_owned(),
        latency: driven.latency,
        end: driven.end,
        patterns,
        outputs: outputs.len(),
        differences,
        exceeded,
        detected: driven.detected,
        trace,
        rejoined: driven.rejoined,
    })))
}

/// Compares what a thread did after a fault with what it does without: the program is run again to the same moment.
fn traced(
    inside: &mut Inside,
    engine: &mut dyn Engine,
    run: &Run,
    planned: &[Planned],
    faulty: &Recording,
) -> Result<Trace, Failure> {
    let found = planned.iter().map(|fault| fault.found);
    let first = found.min_by_key(|found| found.moment);
    let first = first.ok_or_else(|| Failure::Other("there is no fault".to_owned()))?;
    let command = command(run, inside)?;
    let (mut live, before) = approach(engine, &command, &options(run), &first)?;
    let golden = trace::record(&mut live, &faulty.options, faulty.index)?;
    Ok(Trace::of(&golden, faulty, &before))
}

/// Instructions before a moment that are looked at.
const BEFORE: u64 = 8;

/// Brings the program to a moment without a fault; also the instructions that it executes last before it, if the engine comes to any index
/// as fast, and no signal comes meanwhile.
fn approach(
    engine: &mut dyn Engine,
    command: &fits_tracer::process::Command,
    options: &EngineOptions,
    found: &Found,
) -> Result<(Box<Live>, Vec<u64>), Failure> {
    if found.moment.index >= BEFORE && engine.name() == EngineName::Dbt.name() {
        let mut earlier = found.moment;
        earlier.index -= BEFORE;
        if let Reached::At(mut live) = engine.reach(command, options, earlier)? {
            let before = step_to(&mut live, found, options)?;
            if let Some(before) = before {
                return Ok((live, before));
            }
        }
    }
    match engine.reach_found(command, options, found)? {
        Reached::At(live) => Ok((live, Vec::new())),
        Reached::Ended(_) => {
            let what = "a second run of it did not come to the moment of the fault";
            Err(BackendError::NotReproducible(what.to_owned()).into())
        }
    }
}

/// The instructions on the way to a moment; nothing if it is not straight.
fn step_to(
    live: &mut Live,
    found: &Found,
    options: &EngineOptions,
) -> Result<Option<Vec<u64>>, BackendError> {
    live.limit_steps(&options.limits);
    let mut before = Vec::new();
    for _ in 0..BEFORE {
        before.push(live.registers()?.rip);
        if live.step()? != Stepped::Retired {
            return Ok(None);
        }
    }
    live.settle()?;
    Ok((live.registers()?.rip == found.pc).then_some(before))
}

fn activated(activated: Activated) -> &'static str {
    match activated {
        Activated::Yes => "yes",
        Activated::No => "no",
        Activated::Unknown => "unknown",
    }
}

/// Those of the patterns that standard output or error holds.
fn matching(patterns: &[String], outputs: &[Output]) -> Result<Vec<String>, Failure> {
    if patterns.is_empty() {
        return Ok(Vec::new());
    }
    let streams = outputs.iter().filter(|output| outputs::is_stream(output));
    let texts: Vec<Vec<u8>> = streams
        .map(|stream| std::fs::read(&stream.place))
        .collect::<Result<_, _>>()?;
    let mut found = Vec::new();
    for pattern in patterns {
        let regex = Regex::new(pattern).map_err(|error| Failure::Other(error.to_string()))?;
        if texts.iter().any(|text| regex.is_match(text)) {
            found.push(pattern.clone());
        }
    }
    Ok(found)
}
