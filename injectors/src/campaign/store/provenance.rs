//! Where the figures of a campaign come from: everything that must be the same for them to be the same.

use serde::{Deserialize, Serialize};

use crate::experiment::job::ReferenceReport;
use crate::experiment::record::{Input, Isolation, ReferenceRecord};

/// What a campaign is. Written once, with the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of fits.
    pub version: String,
    /// What was asked for: the content of `campaign.toml`.
    pub campaign: String,
    /// The command line, word by word.
    pub command: Vec<String>,
    /// When it was planned: seconds since 1970.
    pub planned: f64,
    /// The machine that planned it.
    pub host: Host,
    /// What all draws come from.
    pub seed: u64,
    /// Path of the program.
    pub program: String,
    /// Arguments, beginning with the program as typed.
    pub arguments: Vec<String>,
    /// Working directory of all runs.
    pub working_directory: String,
    /// `NAME=value` of all runs.
    pub environment: Vec<String>,
    /// Standard input of all runs.
    pub standard_input: Input,
    /// The program's file.
    pub program_file: HashedFile,
    /// Its libraries: files with code that it maps, without the program's.
    pub libraries: Vec<HashedFile>,
    /// Files that its arguments name.
    pub inputs: Vec<HashedFile>,
    /// `dbt` or `ptrace`.
    pub backend: String,
    /// By single steps only.
    pub single_step: bool,
    /// Whether the start was controlled.
    pub controlled: bool,
    /// How the host is protected.
    pub isolation: Isolation,
    /// The run without faults.
    pub reference: ReferenceRecord,
    /// The same as sessions need it.
    pub report: ReferenceReport,
    /// Figures of the fault space, as the sampling gives them.
    pub population: serde_json::Value,
    /// How many points the plan has.
    pub points: u64,
    /// SHA-256 over all of them.
    pub plan_sha256: String,
    /// What to know before trusting the figures.
    pub warnings: Vec<String>,
}

/// A file, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HashedFile {
    /// The file.
    pub path: String,
    /// SHA-256 of its content in hexadecimal.
    pub sha256: String,
}

/// A machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its kernel.
    pub kernel: String,
    /// Its processor.
    pub processor: String,
    /// How many of them may be used.
    pub processors: u64,
    /// Bytes of memory.
    pub memory: u64,
}

impl Provenance {
    /// What is another in `other`, in words; `None` if both are one campaign: same program, inputs, question and plan.
    #[must_use]
    pub fn differs(&self, other: &Self) -> Option<String> {
        let same = [
            ("version of fits", self.version == other.version),
            ("campaign", self.campaign == other.campaign),
            ("program", self.program_file == other.program_file),
            ("libraries", self.libraries == other.libraries),
            ("arguments", self.arguments == other.arguments),
            ("inputs", self.inputs == other.inputs),
            (
                "standard input",
                self.standard_input.sha256 == other.standard_input.sha256,
            ),
            ("plan", self.plan_sha256 == other.plan_sha256),
        ];
        let other = same.iter().find(|(_, same)| !same);
        other.map(|(name, _)| (*name).to_owned())
    }
}
