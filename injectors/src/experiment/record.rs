//! Results of experiments as they are kept: `experiments.json`, documented in `docs/inject-json.md`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use super::outputs::{Difference, Output};
use crate::drive::Injection;

/// Version of the form; counts up when a reader has to be changed for it.
pub const SCHEMA: u32 = 1;

/// Name of the file in a folder of experiments.
pub const FILE: &str = "experiments.json";

/// Everything about a list of experiments with one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Version of fits.
    pub version: String,
    /// Path of the program.
    pub program: String,
    /// SHA-256 of the program's file in hexadecimal.
    pub program_sha256: String,
    /// Arguments, beginning with the program as typed.
    pub arguments: Vec<String>,
    /// Working directory.
    pub working_directory: String,
    /// Standard input: a path, with the SHA-256 of its content.
    pub standard_input: Input,
    /// What brought the program to the moments: `dbt` or `ptrace`.
    pub backend: String,
    /// Whether that was by single steps only.
    pub single_step: bool,
    /// Whether the start was controlled.
    pub controlled: bool,
    /// Whether nothing was injected.
    pub dry_run: bool,
    /// How the host was protected.
    pub isolation: Isolation,
    /// What random faults were drawn from.
    pub seed: u64,
    /// The run without faults.
    pub reference: ReferenceRecord,
    /// The experiments, in the order of their list.
    pub experiments: Vec<Record>,
    /// How often each outcome came up.
    pub counts: BTreeMap<Outcome, u64>,
    /// What to know before trusting the results.
    pub warnings: Vec<String>,
}

/// Standard input of the runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The file; `/dev/null` for none.
    pub path: String,
    /// SHA-256 of its content in hexadecimal.
    pub sha256: String,
}

/// How the host was protected.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Isolation {
    /// By namespaces; otherwise by a private copy of the working directory.
    pub namespaces: bool,
    /// Why not by namespaces.
    pub why_not: Option<String>,
}

/// The run without faults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReferenceRecord {
    /// How it ended.
    pub end: EndRecord,
    /// Its processor time.
    pub cpu_seconds: f64,
    /// From its first instruction to its end.
    pub wall_seconds: f64,
    /// Instructions of each thread, where they were counted.
    pub instructions: Vec<u64>,
    /// Whether a second run gave the same; absent if there was none.
    pub reproducible: Option<bool>,
    /// What it left behind.
    pub outputs: Vec<Output>,
}

/// One experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its place in the list, from 0.
    pub number: usize,
    /// The faults as they were given.
    pub faults: Vec<String>,
    /// What became of the program.
    pub outcome: Outcome,
    /// Why that is the outcome.
    pub reason: String,
    /// The faults that were carried out.
    pub injections: Vec<InjectionRecord>,
    /// How it ended; absent if it was not run, or was ended early (`rejoined`).
    pub end: Option<EndRecord>,
    /// Whether what was changed was read before it was overwritten: `yes`, `no`, `unknown`.
    pub activated: String,
    /// Instructions from the first fault to the crash or detection, where they are known.
    pub latency: Option<u64>,
    /// Outputs that differ from the reference run's.
    pub differences: Vec<Difference>,
    /// What the fault did to the path and the state of the thread (`--trace`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<crate::trace::Trace>,
    /// What it executed from the fault on, against the fault-free run (`--trace-stats`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statistics: Option<super::statistics::Statistics>,
    /// It was ended, as masked, since its state was that of the fault-free run again: so many instructions after the first fault, or more where
    /// some of them ran natively.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejoined: Option<u64>,
    /// Processor time.
    pub cpu_seconds: f64,
    /// From its first instruction to its end.
    pub wall_seconds: f64,
    /// The limit of the host that it was ended for.
    pub limit: Option<String>,
    /// The command that repeats it.
    pub replay: String,
    /// What to know before trusting it.
    pub warnings: Vec<String>,
}

/// A fault that was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InjectionRecord {
    /// The fault as it was given.
    pub fault: String,
    /// The same with everything decided: it replays.
    pub concrete: String,
    /// The thread.
    pub thread: u32,
    /// Instructions that it had retired.
    pub index: u64,
    /// Address of the instruction that came next.
    pub pc: String,
    /// That instruction.
    pub instruction: String,
    /// Its place in the program.
    #[serde(flatten)]
    pub site: Site,
    /// What was changed.
    pub place: String,
    /// What it held, as one hexadecimal number.
    pub before: String,
    /// What it was given.
    pub after: String,
    /// The bits that differ.
    pub mask: String,
    /// How often it was changed.
    pub times: u64,
    /// Why it is not certain that exactly this was changed; absent if it is.
    pub failed: Option<String>,
}

/// Where an address lies.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// File with the code.
    pub module: Option<String>,
    /// Function.
    pub symbol: Option<String>,
    /// `file:line`.
    pub source: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum EndRecord {
    /// By itself.
    Exited {
        /// Its exit status.
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
        /// Address that could not be accessed, or `si_addr` otherwise.
        address: Option<String>,
        /// Address of the instruction.
        pc: Option<String>,
        /// Its thread.
        thread: Option<u32>,
        /// Its place in the program.
        #[serde(flatten)]
        site: Site,
    },
    /// By a limit.
    Limit {
        /// `cpu` or `wall`.
        limit: String,
    },
}

impl InjectionRecord {
    /// What is kept of an injection. Its place in the program is found later.
    pub(crate) fn of(injection: &Injection) -> Self {
        Self {
            fault: injection.fault.to_string(),
            concrete: injection.concrete.to_string(),
            thread: injection.moment.thread,
            index: injection.moment.index,
            pc: format!("{:#x}", injection.pc),
            instruction: injection.instruction.clone(),
            site: Site::default(),
            place: injection.place.clone(),
            before: hexadecimal(&injection.before),
            after: hexadecimal(&injection.after),
            mask: hexadecimal(&injection.mask),
            times: injection.times,
            failed: injection.proof.clone().err(),
        }
    }
}

/// Little-endian bytes as one number.
fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes
        .iter()
        .rev()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if digits.is_empty() {
        return String::new();
    }
    format!("0x{digits}")
}

/// Why results could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Not there, or not readable.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Something else.
    #[error("{} holds no results of experiments: {why}", path.display())]
    Malformed {
        /// The file.
        path: std::path::PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// Written by another version.
    #[error("{} was written in format {found}, this version reads format {SCHEMA}", path.display())]
    Schema {
        /// The file.
        path: std::path::PathBuf,
        /// Its format.
        found: u64,
    },
}

impl Results {
    /// Reads a folder of experiments, or the file itself.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let file = if path.is_dir() {
            path.join(FILE)
        } else {
            path.to_owned()
        };
        let text = std::fs::read(&file).map_err(|source| ReadError::Io {
            path: file.clone(),
            source,
        })?;
        let malformed = |error: serde_json::Error| ReadError::Malformed {
            path: file.clone(),
            why: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
        match value["schema"].as_u64() {
            Some(found) if found != u64::from(SCHEMA) => {
                Err(ReadError::Schema { path: file, found })
            }
            _ => serde_json::from_value(value).map_err(malformed),
        }
    }

    /// Counts the outcomes.
    #[must_use]
    pub fn count(experiments: &[Record]) -> BTreeMap<Outcome, u64> {
        let mut counts: BTreeMap<_, _> = Outcome::ALL.map(|outcome| (outcome, 0)).into();
        for experiment in experiments {
            *counts.entry(experiment.outcome).or_default() += 1;
        }
        counts
    }

    /// The form that is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings, numbers and lists can always be written as JSON");
        text.push('\n');
        text
    }
}
