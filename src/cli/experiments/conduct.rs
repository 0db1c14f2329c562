//! How experiments with one program are made and judged: the same for one fault and for a hundred thousand.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use fits_injectors::experiment::job::EngineName;
use fits_injectors::experiment::limits::HostLimits;
use fits_injectors::experiment::outcome::Checks;
use fits_injectors::experiment::session::{Isolate, Manner, Patience};
use fits_injectors::experiment::worker::Setup;
use fits_injectors::fault::Fault;
use fits_injectors::trace::TraceOptions;
use fits_tracer::backend::BackendError;
use fits_tracer::process::{Command, check_executable};

use super::faults;
use super::input::StandardInput;
use crate::cli::CliError;
use crate::cli::golden::BackendChoice;

/// A program, and how it is run with faults. What is absent is left at its default.
#[derive(Debug, Clone)]
pub(crate) struct Conduct {
    /// The program as typed.
    pub(crate) program: OsString,
    /// Its arguments.
    pub(crate) arguments: Vec<OsString>,
    /// What brings it to the moment of the first fault.
    pub(crate) backend: BackendChoice,
    /// By single steps only.
    pub(crate) single_step: bool,
    /// Without a controlled start.
    pub(crate) raw_environment: bool,
    /// Nothing is injected.
    pub(crate) dry_run: bool,
    /// Instructions that are followed after a fault.
    pub(crate) window: u64,
    /// Instructions that are compared after a fault.
    pub(crate) trace: Option<u64>,
    /// Exit statuses of the program's own check.
    pub(crate) detect_exit: Vec<u8>,
    /// What it prints.
    pub(crate) detect_output: Vec<String>,
    /// The function that it calls.
    pub(crate) detect_symbol: Option<String>,
    /// A command that compares two folders of outputs.
    pub(crate) compare: Option<String>,
    /// A run hangs when it has used so many times the time of the reference run,
    pub(crate) hang_factor: f64,
    /// and so many seconds more.
    pub(crate) hang_floor: f64,
    /// The time of so many instructions, in place of the factor.
    pub(crate) hang_instructions: Option<u64>,
    /// Seconds of wall time for the reference run.
    pub(crate) reference_limit: Option<f64>,
    /// Whether runs leave the host's namespaces.
    pub(crate) isolate: Isolate,
    /// Further folders that runs may write to.
    pub(crate) writable: Vec<PathBuf>,
    /// Processes and threads that a run may have.
    pub(crate) max_processes: Option<u64>,
    /// Mebibytes of memory.
    pub(crate) max_memory: Option<u64>,
    /// Mebibytes of one file.
    pub(crate) max_file: Option<u64>,
    /// Mebibytes written in all.
    pub(crate) max_disk: Option<u64>,
}

impl Conduct {
    /// The file of the program, which can be run as far as can be seen.
    pub(crate) fn executable(&self) -> Result<PathBuf, CliError> {
        let command = Command::new(&self.program);
        let executable = command.resolve().map_err(BackendError::from)?;
        check_executable(&executable).map_err(BackendError::from)?;
        Ok(executable)
    }

    /// The program as typed, and its arguments.
    pub(crate) fn words(&self) -> Vec<String> {
        let typed = std::iter::once(&self.program).chain(&self.arguments);
        typed
            .map(|text| text.to_string_lossy().into_owned())
            .collect()
    }

    /// What can be known to be wrong before anything runs.
    pub(crate) fn check<'a>(
        &self,
        mut all: impl Iterator<Item = &'a Fault>,
    ) -> Result<(), CliError> {
        if self.raw_environment
            && let Some(fault) = all.find(|fault| faults::needs_addresses(fault))
        {
            return Err(CliError::Usage(format!(
                "{fault}: with --raw-environment addresses are others in every run; name the moment by an index, call=, time= or random"
            )));
        }
        if self.single_step && self.backend != BackendChoice::Ptrace {
            let sentence = "--single-step goes with --backend ptrace";
            return Err(CliError::Usage(sentence.to_owned()));
        }
        for pattern in &self.detect_output {
            if let Err(error) = regex::bytes::Regex::new(pattern) {
                return Err(CliError::Usage(format!("--detect-output: {error}")));
            }
        }
        for folder in &self.writable {
            if !folder.is_dir() {
                let sentence = format!("--writable: {} is not a folder", folder.display());
                return Err(CliError::Usage(sentence));
            }
        }
        Ok(())
    }

    /// What a worker is told first. `store` is a folder for what is kept.
    pub(crate) fn setup(&self, input: &StandardInput, store: &Path) -> Result<Setup, CliError> {
        const MIB: u64 = 1 << 20;
        let usual = HostLimits::default();
        let mebibytes =
            |typed: Option<u64>, usual| typed.map_or(usual, |size| size.saturating_mul(MIB));
        Ok(Setup {
            isolate: true,
            working: working()?.into(),
            writable: self.writable.iter().map(Into::into).collect(),
            store: store.into(),
            input: input.path.clone().into(),
            program: self.program.clone(),
            arguments: self.arguments.clone(),
            limits: HostLimits {
                processes: self.max_processes.unwrap_or(usual.processes),
                memory: mebibytes(self.max_memory, usual.memory),
                file: mebibytes(self.max_file, usual.file),
                disk: mebibytes(self.max_disk, usual.disk),
            },
            environment: None,
            place: 0,
        })
    }

    /// How a session makes and judges experiments. `keep`: outputs that differ are kept.
    pub(crate) fn manner(&self, keep: bool) -> Manner {
        let (engine, finder) = self.engines();
        Manner {
            engine,
            finder,
            raw: self.raw_environment,
            dry_run: self.dry_run,
            window: self.window,
            trace: self.trace.map(TraceOptions::to),
            patience: Patience {
                factor: self.hang_factor,
                cpu_seconds: self.hang_floor,
                wall_seconds: 10.0 * self.hang_floor,
                reference_seconds: self.reference_limit,
                instructions: self.hang_instructions,
            },
            checks: Checks {
                statuses: self
                    .detect_exit
                    .iter()
                    .map(|status| i32::from(*status))
                    .collect(),
            },
            patterns: self.detect_output.clone(),
            detector: self.detect_symbol.clone(),
            compare: self.compare.clone(),
            keep,
        }
    }

    /// Who brings the program to a moment, and who finds it.
    pub(crate) fn engines(&self) -> (EngineName, EngineName) {
        match (self.backend, self.single_step) {
            (BackendChoice::Dbt, _) => (EngineName::Dbt, EngineName::Dbt),
            (BackendChoice::Ptrace, true) => (EngineName::Steps, EngineName::Steps),
            // A breakpoint needs an address.
            (BackendChoice::Ptrace, false) if self.raw_environment => {
                (EngineName::Steps, EngineName::Dbt)
            }
            // Moments are found by the translator, which is fast; coming to them is left to breakpoints.
            (BackendChoice::Ptrace, false) => (EngineName::Ptrace, EngineName::Dbt),
        }
    }
}

/// The working directory.
pub(crate) fn working() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(CliError::file("find", Path::new("the working directory")))
}
