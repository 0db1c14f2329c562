//! The job of collecting statistics from the moment of a fault on: the program is brought there, changed (or not), and goes on in the
//! translator, which reports to a statistics process of its own.

use std::ffi::OsString;

use fits_stats::client::StatsProcess;
use fits_stats::model::{self, CrashSite, ExitInfo, RunInfo, RunTimes, StandardInput};
use fits_stats::protocol::{Answer, Finish};
use fits_tracer::backend::{BackendError, Ended};
use fits_tracer::engine::{Collected, Engine, EngineOptions, HowEnded, Limits, Reached};
use serde::{Deserialize, Serialize};

use super::job::{EngineName, Experiment, Failure, Report, command, options, planned_of};
use super::outputs::{Difference, differences, read_kept};
use super::worker::Inside;
use crate::drive::{self, DriveOptions, Injected, Planned};

/// How much longer than another run one in the translator may take.
const LONGER: f64 = 4.0;

/// A run whose statistics are collected.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Collect {
    /// The faults, and how the program is run.
    pub experiment: Experiment,
    /// Whether the faults are injected.
    pub inject: bool,
    /// Folder of the store for the statistics; it must not exist.
    pub folder: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CollectReport {
    /// How the run ended, or was ended.
    pub how: HowEnded,
    /// How its outputs differ from those of the reference run.
    pub differences: Vec<Difference>,
}

/// Carries the job out.
pub(super) fn collect(
    job: &Collect,
    inside: &mut Inside,
    engines: &dyn Fn(EngineName) -> Box<dyn Engine>,
) -> Result<Report, Failure> {
    let experiment = &job.experiment;
    let planned = planned_of(experiment)?;
    let options = longer(options(&experiment.run));
    let run = command(&experiment.run, inside)?;
    let injected = bring(
        job,
        &planned,
        &mut *engines(experiment.engine),
        &run,
        &options,
    )?;
    let program = inside.statistics_program().ok_or_else(|| {
        let sentence = "fits-stats, which counts, does not lie beside the executable of fits";
        Failure::Other(sentence.to_owned())
    })?;
    let level = model::Level::Counts;
    let stats = StatsProcess::start(&program, level, &options.cpus.for_statistics());
    let mut stats = stats.map_err(BackendError::from)?;
    let mut translator = engines(EngineName::Dbt);
    let Injected { live, executed, .. } = injected;
    let collected = translator.collect(live, &executed, &options, &mut stats)?;
    let finish = Finish {
        out: inside.store_for_others().join(&job.folder),
        replace: false,
        info: info(job, inside, &collected),
    };
    if let Answer::Failed(sentence) = stats.finish(finish).map_err(BackendError::from)? {
        return Err(Failure::Other(sentence));
    }
    inside.settle();
    let golden = inside.store().join(&experiment.golden_kept);
    let outputs = inside.outputs()?;
    Ok(Report::Collected(CollectReport {
        how: collected.how,
        differences: differences(&experiment.golden, &outputs, |number| {
            read_kept(&golden, &experiment.golden[number].name)
        })?,
    }))
}

fn longer(options: EngineOptions) -> EngineOptions {
    let longer = |seconds: Option<f64>| seconds.map(|seconds| LONGER * seconds);
    EngineOptions {
        limits: Limits {
            cpu_seconds: longer(options.limits.cpu_seconds),
            wall_seconds: longer(options.limits.wall_seconds),
        },
        ..options
    }
}

/// The process at the moment of the first fault, with all of them in it if they are to be.
fn bring(
    job: &Collect,
    planned: &[Planned],
    engine: &mut dyn Engine,
    command: &fits_tracer::process::Command,
    options: &EngineOptions,
) -> Result<Injected, Failure> {
    let found = planned.iter().map(|fault| fault.found);
    let first = found.min_by_key(|found| found.moment);
    let first = first.ok_or_else(|| Failure::Other("there is no fault".to_owned()))?;
    let way = EngineOptions {
        limits: Limits::default(),
        ..options.clone()
    };
    let Reached::At(live) = engine.reach_found(command, &way, &first)? else {
        let what = "a second run of it did not come to the moment of the fault";
        return Err(BackendError::NotReproducible(what.to_owned()).into());
    };
    if !job.inject || job.experiment.dry_run {
        return Ok(Injected {
            live: *live,
            injections: Vec::new(),
            executed: Vec::new(),
        });
    }
    let injected = drive::inject(*live, planned, options.limits, &DriveOptions::default())?;
    let failed = injected.injections.iter().find_map(|injection| {
        let proof = injection.proof.as_ref();
        proof.err().cloned()
    });
    match failed {
        Some(sentence) => Err(Failure::Other(sentence)),
        None => Ok(injected),
    }
}

fn info(job: &Collect, inside: &Inside, collected: &Collected) -> RunInfo {
    let outcome = &collected.outcome;
    let exit = match outcome.ended {
        Ended::Exited(status) => ExitInfo::Exited(status),
        Ended::Signaled { signal, .. } => ExitInfo::Signaled {
            signal,
            site: outcome.crash.as_ref().map(|crash| CrashSite {
                pc: crash.pc,
                code: crash.code,
                fault_address: (crash.code > 0).then_some(crash.address),
            }),
        },
    };
    let ended = matches!(collected.how, HowEnded::Ended(_));
    let mut warnings = vec![
        "these are the statistics from the moment of a fault on, not of a whole run".to_owned(),
    ];
    warnings.extend(outcome.warnings.clone());
    inside.heed(&mut warnings);
    let setup = inside.setup();
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    RunInfo {
        program: outcome.executable.display().to_string(),
        arguments: std::iter::once(&setup.program)
            .chain(&setup.arguments)
            .map(text)
            .collect(),
        working_directory: text(&setup.working),
        standard_input: StandardInput::default(),
        backend: model::Backend::Dbt,
        level: model::Level::Counts,
        controlled: !job.experiment.run.raw,
        pid: outcome.pid.cast_unsigned(),
        exit,
        incomplete: (!ended).then(|| "the run was ended for its time".to_owned()),
        translated: outcome.translated,
        times: RunTimes {
            elapsed: outcome.wall_seconds,
            user: outcome.cpu.user,
            system: outcome.cpu.system,
            ..RunTimes::default()
        },
        warnings,
        ..RunInfo::default()
    }
}
