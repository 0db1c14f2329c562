//! `summary.json`: what the run was, how it ended, and what to know about the other files.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::WriteError;
use crate::model::{
    Backend, CrashSite, ExitInfo, Level, Module, OutputHash, Privilege, RunInfo, RunTimes,
    StandardInput, Statistics, Translated,
};
use crate::symbols::locate;

/// Version of the folder's layout; counts up when a reader has to be changed for it.
pub const SCHEMA: u32 = 1;

/// The content of `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of fits that wrote it.
    pub version: String,
    /// Path of the program.
    pub program: String,
    /// SHA-256 of the program's file in hexadecimal.
    pub program_sha256: String,
    /// Arguments, beginning with `argv[0]`.
    pub arguments: Vec<String>,
    /// `NAME=value` entries of the environment.
    pub environment: Vec<String>,
    /// Working directory.
    pub working_directory: String,
    /// Standard input.
    pub standard_input: StandardInput,
    /// Who executed the program.
    pub backend: Backend,
    /// What was collected.
    pub level: Level,
    /// Whether the start was controlled (semantics 1).
    pub controlled: bool,
    /// Process number of the program.
    pub pid: u32,
    /// Whether the statistics are of the whole run.
    pub complete: bool,
    /// Why not, if not.
    pub incomplete: Option<String>,
    /// How the program ended.
    pub exit: ExitSummary,
    /// Instructions retired by all threads.
    pub instructions: u64,
    /// Instructions retired by each thread.
    pub threads: Vec<ThreadSummary>,
    /// What the translator made, if there was one.
    #[serde(default)]
    pub translated: Option<Translated>,
    /// Kernel and user, if the processor is a virtual machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privilege: Option<Privilege>,
    /// Times in seconds.
    pub times: RunTimes,
    /// Elapsed time divided by native time, if that was measured.
    pub slowdown: Option<f64>,
    /// Hashes of what the program wrote.
    pub outputs: Vec<OutputHash>,
    /// Files whose code could be executed.
    pub modules: Vec<ModuleSummary>,
    /// What to know before trusting the numbers.
    pub warnings: Vec<String>,
}

/// How the program ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ExitSummary {
    /// Not by itself, or not known.
    Unknown,
    /// With an exit status.
    Exited {
        /// The status.
        status: i32,
    },
    /// By a signal.
    Signaled {
        /// Its number.
        signal: i32,
        /// Its name.
        name: String,
        /// `si_code`, where an instruction caused it.
        code: Option<i32>,
        /// Address of the instruction.
        pc: Option<String>,
        /// Address that it could not access.
        fault_address: Option<String>,
        /// Module of the instruction.
        module: Option<String>,
        /// Function of the instruction.
        symbol: Option<String>,
        /// `file:line` of the instruction.
        source: Option<String>,
    },
}

/// Instructions of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadSummary {
    /// 0 for the process that was started.
    pub process: u32,
    /// 0 for the first thread of the process.
    pub thread: u32,
    /// Instructions that it retired.
    pub instructions: u64,
}

/// Where a file with code was mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleSummary {
    /// Path of the file.
    pub path: String,
    /// Address ranges, `0xSTART-0xEND`.
    pub ranges: Vec<String>,
    /// Above 0 where a range of addresses was used before.
    pub generation: u32,
}

impl Summary {
    /// Puts together what the file says; locates the crash, if there was one.
    pub fn new(statistics: &Statistics, info: &RunInfo) -> Self {
        let threads = statistics
            .threads
            .iter()
            .map(|(key, &instructions)| ThreadSummary {
                process: key.process,
                thread: key.thread,
                instructions,
            });
        let info = info.clone();
        Summary {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            exit: exit_summary(&info.exit, &statistics.modules),
            instructions: statistics.total_instructions(),
            threads: threads.collect(),
            slowdown: info.times.slowdown(),
            modules: statistics.modules.iter().map(module_summary).collect(),
            complete: info.incomplete.is_none(),
            program: info.program,
            program_sha256: info.program_sha256,
            arguments: info.arguments,
            environment: info.environment,
            working_directory: info.working_directory,
            standard_input: info.standard_input,
            backend: info.backend,
            level: statistics.level,
            controlled: info.controlled,
            pid: info.pid,
            incomplete: info.incomplete,
            translated: info.translated,
            privilege: info.privilege,
            times: info.times,
            outputs: info.outputs,
            warnings: info.warnings,
        }
    }
}

fn exit_summary(exit: &ExitInfo, modules: &[Module]) -> ExitSummary {
    match *exit {
        ExitInfo::Unknown => ExitSummary::Unknown,
        ExitInfo::Exited(status) => ExitSummary::Exited { status },
        ExitInfo::Signaled { signal, site } => signaled(signal, site, modules),
    }
}

fn signaled(signal: i32, site: Option<CrashSite>, modules: &[Module]) -> ExitSummary {
    let location = site.map(|site| locate(modules, site.pc));
    let location = location.unwrap_or_default();
    ExitSummary::Signaled {
        signal,
        name: signal_name(signal),
        code: site.map(|site| site.code),
        pc: site.map(|site| format!("{:#x}", site.pc)),
        fault_address: site
            .and_then(|site| site.fault_address)
            .map(|at| format!("{at:#x}")),
        module: location.module.map(|text| text.to_string()),
        symbol: location.symbol.map(|text| text.to_string()),
        source: location.source.map(|text| text.to_string()),
    }
}

fn signal_name(signal: i32) -> String {
    match nix::sys::signal::Signal::try_from(signal) {
        Ok(known) => known.as_str().to_owned(),
        Err(_) => format!("signal {signal}"),
    }
}

fn module_summary(module: &Module) -> ModuleSummary {
    let ranges = module
        .segments
        .iter()
        .map(|part| format!("{:#x}-{:#x}", part.start, part.end));
    ModuleSummary {
        path: module.path.clone(),
        ranges: ranges.collect(),
        generation: module.generation,
    }
}

/// Writes `summary.json`.
pub(super) fn write(dir: &Path, summary: &Summary) -> Result<(), WriteError> {
    let path = dir.join("summary.json");
    let mut text = serde_json::to_string_pretty(summary)
        .map_err(|error| WriteError::io(&path, std::io::Error::from(error)))?;
    text.push('\n');
    std::fs::write(&path, text).map_err(|error| WriteError::io(&path, error))
}
