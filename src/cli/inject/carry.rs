//! From the command line to results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fits_injectors::experiment::locate;
use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{FILE, Record, Results, SCHEMA};
use fits_injectors::experiment::session::{Session, blank};
use fits_injectors::fault::Fault;

use super::lists;
use super::options::InjectArgs;
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
    let executable = conduct.executable()?;
    let golden = reference::golden(&conduct, args.golden.as_deref(), &executable)?;
    let store = Store::new(args.out.as_deref())?;
    let input = input::find(args.stdin.as_deref(), store.path())?;
    let setup = conduct.setup(&input, store.path())?;
    let own = Path::new("/proc/self/exe");
    let manner = conduct.manner(args.out.is_some());
    let mut session = Session::start(own, setup, conduct.isolate, manner)?;
    let mut warnings = Vec::new();
    if let Some(why) = &session.isolation().why_not {
        warnings.push(format!(
            "runs cannot be isolated here ({why}): only a private copy of the working directory protects the host"
        ));
    }
    let verify = args.verify_reference;
    let reference = reference::run(verify, &mut session, golden.as_ref(), &mut warnings)?;
    let planned = moments::find(&conduct, args.seed, &mut session, &experiments)?;
    let mut records = Vec::new();
    for (number, (faults, planned)) in experiments.iter().zip(planned).enumerate() {
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

fn experiment(
    conduct: &Conduct,
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
    record.replay = replay::command(conduct, input.flag.as_deref(), texts);
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
