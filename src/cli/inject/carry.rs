//! From the command line to results.

use std::collections::BTreeMap;
use std::path::Path;

use fits_injectors::experiment::locate;
use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{Record, Results, SCHEMA};
use fits_injectors::experiment::session::{Session, SessionError, blank};
use fits_injectors::fault::Fault;
use fits_tracer::engine::Found;

use super::lists;
use super::options::InjectArgs;
use super::store::Store;
use crate::cli::CliError;
use crate::cli::experiments::conduct::{Conduct, working};
use crate::cli::experiments::input::{self, StandardInput};
use crate::cli::experiments::moments::{self, Planned};
use crate::cli::experiments::{reference, replay};
use crate::cli::golden::BackendChoice;
use crate::cli::record::hash_file;

pub(super) fn run(args: &InjectArgs) -> Result<Results, CliError> {
    let experiments = lists::experiments(args)?;
    let conduct = args.conduct();
    conduct.check(experiments.iter().flatten())?;
    if args.raw_environment && (args.trace.is_some() || args.trace_stats) {
        let sentence = "--trace and --trace-stats compare two runs address by address, and with --raw-environment addresses are others in every run";
        return Err(CliError::Usage(sentence.to_owned()));
    }
    let executable = conduct.executable()?;
    let golden = reference::golden(&conduct, args.golden.as_deref(), &executable)?;
    let store = Store::new(args.out.as_deref())?;
    let input = input::find(args.stdin.as_deref(), store.path())?;
    let setup = conduct.setup(&input, store.path())?;
    let own = Path::new("/proc/self/exe");
    let manner = conduct.manner(args.out.is_some());
    let mut session = Session::start(own, setup, conduct.isolate, manner)?;
    session.stop_early(args.early_stop);
    let mut warnings = Vec::new();
    if let Some(why) = &session.isolation().why_not {
        warnings.push(format!(
            "runs cannot be isolated here ({why}): only a private copy of the working directory protects the host"
        ));
    }
    let verify = args.verify_reference;
    let reference = reference::run(verify, &mut session, golden.as_ref(), &mut warnings)?;
    let planned = plan(&conduct, args.seed, &mut session, &experiments)?;
    let mut records = Vec::new();
    for (number, (faults, planned)) in experiments.iter().zip(planned).enumerate() {
        let planned = Moments {
            planned,
            statistics: args.trace_stats,
        };
        records.push(experiment(
            &conduct,
            &mut session,
            &input,
            number,
            faults,
            planned,
        )?);
    }
    locate(&mut records, &session.modules());
    let mut results = Results {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        program: executable.display().to_string(),
        program_sha256: hash_file(&executable),
        arguments: conduct.words(),
        working_directory: working()?.display().to_string(),
        standard_input: input.record,
        backend: match args.backend {
            BackendChoice::Dbt => "dbt",
            BackendChoice::Ptrace => "ptrace",
        }
        .to_owned(),
        single_step: args.single_step,
        controlled: !args.raw_environment,
        dry_run: args.dry_run,
        isolation: session.isolation().clone(),
        seed: args.seed,
        reference,
        counts: BTreeMap::new(),
        experiments: records,
        warnings,
    };
    results.reference.instructions = session.instructions().to_vec();
    results.counts = Results::count(&results.experiments);
    // It uses the store.
    drop(session);
    store.finish(&results)?;
    Ok(results)
}

/// The moments of the faults of each experiment, or why they cannot be found.
fn plan(
    conduct: &Conduct,
    seed: u64,
    session: &mut Session,
    experiments: &[Vec<Fault>],
) -> Result<Vec<Result<Vec<Planned>, String>>, CliError> {
    match moments::find(conduct, seed, session, experiments) {
        Ok(planned) => return Ok(planned.into_iter().map(Ok).collect()),
        Err(CliError::Session(SessionError::NotReproducible(_))) => {}
        Err(error) => return Err(error),
    }
    // One by one: others may be found.
    let each = experiments.iter().map(|faults| {
        match moments::find(conduct, seed, session, std::slice::from_ref(faults)) {
            Ok(planned) => Ok(Ok(planned.into_iter().flatten().collect())),
            Err(CliError::Session(SessionError::NotReproducible(sentence))) => Ok(Err(sentence)),
            Err(error) => Err(error),
        }
    });
    each.collect()
}

/// The moments of an experiment, and whether statistics are collected from them on.
struct Moments {
    planned: Result<Vec<Planned>, String>,
    statistics: bool,
}

/// Carries an experiment out, and collects statistics if they are wanted and it was valid.
fn with_statistics(
    session: &mut Session,
    number: usize,
    faults: Vec<(String, Found)>,
    wanted: bool,
) -> Result<Record, CliError> {
    let mut record = session.experiment(number, faults.clone())?;
    if wanted && record.outcome.is_counted() {
        match session.statistics(number, &faults, &record)? {
            Ok(statistics) => record.statistics = Some(statistics),
            Err(sentence) => record.warnings.push(format!("no statistics: {sentence}")),
        }
    }
    Ok(record)
}

fn experiment(
    conduct: &Conduct,
    session: &mut Session,
    input: &StandardInput,
    number: usize,
    faults: &[Fault],
    moments: Moments,
) -> Result<Record, CliError> {
    let Moments {
        planned,
        statistics,
    } = moments;
    let typed: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all = planned.map(|planned| planned.into_iter().collect::<Option<Vec<_>>>());
    let mut record = match all {
        Ok(Some(all)) => with_statistics(session, number, all, statistics)?,
        Err(sentence) => blank(number, typed.clone(), Outcome::Invalid, sentence),
        Ok(None) => blank(
            number,
            typed.clone(),
            Outcome::NotReached,
            "the fault-free run ends before this moment".to_owned(),
        ),
    };
    let concrete: Vec<String> = record
        .injections
        .iter()
        .map(|injection| injection.concrete.clone())
        .collect();
    // What never came about has no other form than the typed one.
    let complete = concrete.len() == faults.len();
    let texts = if complete { &concrete } else { &typed };
    record.replay = replay::command(conduct, input.flag.as_deref(), texts);
    record.faults = typed;
    Ok(record)
}
