//! From the command line to results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fits_injectors::experiment::job::EngineName;
use fits_injectors::experiment::limits::HostLimits;
use fits_injectors::experiment::locate;
use fits_injectors::experiment::outcome::{Checks, Outcome};
use fits_injectors::experiment::record::{FILE, Record, Results, SCHEMA};
use fits_injectors::experiment::session::{Manner, Patience, Session, blank};
use fits_injectors::experiment::worker::Setup;
use fits_injectors::fault::Fault;
use fits_injectors::trace::TraceOptions;
use fits_tracer::backend::BackendError;
use fits_tracer::engine::Found;
use fits_tracer::process::{Command, check_executable};

use super::input::{self, StandardInput};
use super::options::InjectArgs;
use super::{lists, reference, replay};
use crate::cli::CliError;
use crate::cli::golden::BackendChoice;
use crate::cli::record::hash_file;

/// A fault whose moment has been looked for: its text, and where it is.
type Planned = Option<(String, Found)>;

pub(super) fn run(args: &InjectArgs) -> Result<Results, CliError> {
    let experiments = lists::experiments(args)?;
    check(args, &experiments)?;
    let command = Command::new(&args.program);
    let executable = command.resolve().map_err(BackendError::from)?;
    check_executable(&executable).map_err(BackendError::from)?;
    let golden = reference::golden(args, &executable)?;
    let store = Store::new(args.out.as_deref())?;
    let input = input::find(args.stdin.as_deref(), store.path())?;
    let setup = setup(args, &input, store.path())?;
    let own = Path::new("/proc/self/exe");
    let mut session = Session::start(own, setup, args.isolate.of_session(), manner(args))?;
    let mut warnings = Vec::new();
    if let Some(why) = &session.isolation().why_not {
        warnings.push(format!(
            "runs cannot be isolated here ({why}): only a private copy of the working directory protects the host"
        ));
    }
    let reference = reference::run(args, &mut session, golden.as_ref(), &mut warnings)?;
    let planned = plan(args, &mut session, &experiments)?;
    let mut records = Vec::new();
    for (number, (faults, planned)) in experiments.iter().zip(planned).enumerate() {
        records.push(experiment(
            args,
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
        arguments: std::iter::once(&args.program)
            .chain(&args.arguments)
            .map(|text| text.to_string_lossy().into_owned())
            .collect(),
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

fn working() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::file("find", Path::new("the working directory")))
}

/// What can be known to be wrong before anything runs.
fn check(args: &InjectArgs, experiments: &[Vec<Fault>]) -> Result<(), CliError> {
    let addressed = |fault: &&Fault| lists::needs_addresses(fault);
    if args.raw_environment
        && let Some(fault) = experiments.iter().flatten().find(addressed)
    {
        return Err(CliError::Usage(format!(
            "{fault}: with --raw-environment addresses are others in every run; name the moment by an index, call=, time= or random"
        )));
    }
    if args.single_step && args.backend != BackendChoice::Ptrace {
        let sentence = "--single-step goes with --backend ptrace";
        return Err(CliError::Usage(sentence.to_owned()));
    }
    for pattern in &args.detect_output {
        if let Err(error) = regex::bytes::Regex::new(pattern) {
            return Err(CliError::Usage(format!("--detect-output: {error}")));
        }
    }
    for folder in &args.writable {
        if !folder.is_dir() {
            let sentence = format!("--writable: {} is not a folder", folder.display());
            return Err(CliError::Usage(sentence));
        }
    }
    Ok(())
}

fn setup(args: &InjectArgs, input: &StandardInput, store: &Path) -> Result<Setup, CliError> {
    const MIB: u64 = 1 << 20;
    let usual = HostLimits::default();
    let mebibytes =
        |typed: Option<u64>, usual| typed.map_or(usual, |size| size.saturating_mul(MIB));
    Ok(Setup {
        isolate: true,
        working: working()?.into(),
        writable: args.writable.iter().map(Into::into).collect(),
        store: store.into(),
        input: input.path.clone().into(),
        program: args.program.clone(),
        arguments: args.arguments.clone(),
        limits: HostLimits {
            processes: args.max_processes.unwrap_or(usual.processes),
            memory: mebibytes(args.max_memory, usual.memory),
            file: mebibytes(args.max_file, usual.file),
            disk: mebibytes(args.max_disk, usual.disk),
        },
    })
}

fn manner(args: &InjectArgs) -> Manner {
    let (engine, finder) = match (args.backend, args.single_step) {
        (BackendChoice::Dbt, _) => (EngineName::Dbt, EngineName::Dbt),
        (BackendChoice::Ptrace, true) => (EngineName::Steps, EngineName::Steps),
        // A breakpoint needs an address.
        (BackendChoice::Ptrace, false) if args.raw_environment => {
            (EngineName::Steps, EngineName::Dbt)
        }
        // Moments are found by the translator, which is fast; coming to them is left to breakpoints.
        (BackendChoice::Ptrace, false) => (EngineName::Ptrace, EngineName::Dbt),
    };
    Manner {
        engine,
        finder,
        raw: args.raw_environment,
        dry_run: args.dry_run,
        window: args.window,
        trace: args.trace.map(TraceOptions::to),
        patience: Patience {
            factor: args.hang_factor,
            cpu_seconds: args.hang_floor,
            wall_seconds: 10.0 * args.hang_floor,
            instructions: args.hang_instructions,
        },
        checks: Checks {
            statuses: args
                .detect_exit
                .iter()
                .map(|status| i32::from(*status))
                .collect(),
        },
        patterns: args.detect_output.clone(),
        detector: args.detect_symbol.clone(),
        compare: args.compare.clone(),
        keep: args.out.is_some(),
    }
}

/// The moments of all faults, experiment by experiment.
fn plan(
    args: &InjectArgs,
    session: &mut Session,
    experiments: &[Vec<Fault>],
) -> Result<Vec<Vec<Planned>>, CliError> {
    let all: Vec<&Fault> = experiments.iter().flatten().collect();
    if args.hang_instructions.is_some() || all.iter().any(|fault| lists::needs_count(fault)) {
        session.count()?;
    }
    let mut found = plan_all(args, session, &all)?;
    let beyond = |(fault, found): (&&Fault, &Planned)| found.is_none() && lists::is_index(fault);
    if session.instructions().is_empty() && all.iter().zip(&found).any(beyond) {
        // Now that the end is known, the sentence about it can be said.
        session.count()?;
        found = plan_all(args, session, &all)?;
    }
    let mut found = found.into_iter();
    let each = experiments
        .iter()
        .map(|faults| found.by_ref().take(faults.len()).collect());
    Ok(each.collect())
}

fn plan_all(
    args: &InjectArgs,
    session: &mut Session,
    faults: &[&Fault],
) -> Result<Vec<Planned>, CliError> {
    let finder = manner(args).finder;
    let mut found: Vec<Planned> = vec![None; faults.len()];
    for accesses in [false, true] {
        let places: Vec<usize> = (0..faults.len())
            .filter(|&place| lists::is_access(faults[place]) == accesses)
            .collect();
        if places.is_empty() {
            continue;
        }
        let finder = match (accesses, finder) {
            (true, EngineName::Dbt) => EngineName::Steps,
            (_, finder) => finder,
        };
        let texts: Vec<String> = places
            .iter()
            .map(|&place| faults[place].to_string())
            .collect();
        let some = session.plan(&texts, args.seed, finder)?;
        for (place, one) in places.into_iter().zip(some) {
            found[place] = one;
        }
    }
    Ok(found)
}

fn experiment(
    args: &InjectArgs,
    session: &mut Session,
    input: &StandardInput,
    number: usize,
    faults: &[Fault],
    planned: Vec<Planned>,
) -> Result<Record, CliError> {
    let typed: Vec<String> = faults.iter().map(ToString::to_string).collect();
    let all: Option<Vec<_>> = planned.into_iter().collect();
    let mut record = match all {
        Some(all) => session.experiment(number, all)?,
        None => blank(
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
    record.replay = replay::command(args, input.flag.as_deref(), texts);
    record.faults = typed;
    Ok(record)
}

/// The folder where things are kept while experiments run: beside the wanted one, which it becomes in the end.
struct Store {
    folder: tempfile::TempDir,
    out: Option<PathBuf>,
}

impl Store {
    fn new(out: Option<&Path>) -> Result<Self, CliError> {
        let Some(out) = out else {
            let folder = tempfile::Builder::new().prefix("fits-inject-").tempdir();
            let folder =
                folder.map_err(CliError::file("make a folder in", &std::env::temp_dir()))?;
            return Ok(Self { folder, out: None });
        };
        fits_stats::write::check_destination(out, fits_stats::write::Existing::Refuse)?;
        let out = std::path::absolute(out).map_err(CliError::file("find", out))?;
        let parent = out.parent().unwrap_or(Path::new("/"));
        std::fs::create_dir_all(parent).map_err(CliError::file("make", parent))?;
        let name = out.file_name().unwrap_or_default().to_string_lossy();
        let folder = tempfile::Builder::new()
            .prefix(&format!("{name}.partial-"))
            .tempdir_in(parent)
            .map_err(CliError::file("make a folder in", parent))?;
        Ok(Self {
            folder,
            out: Some(out),
        })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the folder its name, or lets it go.
    fn finish(self, results: &Results) -> Result<(), CliError> {
        let Some(out) = self.out else { return Ok(()) };
        let folder = self.folder.path();
        for left in ["work", "captured", "faulty"] {
            // Only private copies leave them.
            let _ = std::fs::remove_dir_all(folder.join(left));
        }
        let file = folder.join(FILE);
        std::fs::write(&file, results.to_json()).map_err(CliError::file("write", &file))?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder, mode).map_err(CliError::file("open up", folder))?;
        // An empty folder of that name gives way.
        let _ = std::fs::remove_dir(&out);
        std::fs::rename(folder, &out).map_err(CliError::file("write", &out))?;
        // It has another name now.
        let _ = self.folder.keep();
        Ok(())
    }
}
