//! What is known of a golden run beside its statistics: the program, its end, times, warnings.

use serde::{Deserialize, Serialize};

use super::Level;

/// Who executed the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The translator.
    #[default]
    Dbt,
    /// Single steps.
    Ptrace,
    /// The processor of a virtual machine.
    Soft,
}

impl Backend {
    /// The name that the command line and the files use.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Dbt => "dbt",
            Backend::Ptrace => "ptrace",
            Backend::Soft => "soft",
        }
    }
}

/// Where a program crashed. The writer adds symbol and source line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashSite {
    /// Address of the instruction that was stopped.
    pub pc: u64,
    /// `si_code` of the signal.
    pub code: i32,
    /// `si_addr`, where the signal has one.
    pub fault_address: Option<u64>,
}

/// How the program ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitInfo {
    /// It did not end by itself, or its end is not known: the statistics are partial.
    #[default]
    Unknown,
    /// It exited with a status.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// Number of the signal.
        signal: i32,
        /// Where it happened, for a signal that an instruction caused.
        site: Option<CrashSite>,
    },
}

/// Hash of something that the program wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputHash {
    /// `stdout`, `stderr`, or the path of a file.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

/// What the program read from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandardInput {
    /// `terminal`, `file`, `pipe`, `null` and the like.
    pub kind: String,
    /// Path, if it is a file.
    pub path: Option<String>,
    /// SHA-256 of the file's content in hexadecimal.
    pub sha256: Option<String>,
}

/// Times of a run in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunTimes {
    /// When it began, in seconds since 1970 (UTC).
    pub started: f64,
    /// From start to end.
    pub elapsed: f64,
    /// Processor time of the program in user mode.
    pub user: f64,
    /// Processor time of the program in the kernel.
    pub system: f64,
    /// Elapsed time without fits, if it was measured.
    pub native: Option<f64>,
}

impl RunTimes {
    /// How many times longer than natively it took, if that was measured.
    pub fn slowdown(&self) -> Option<f64> {
        self.native
            .filter(|native| *native > 0.0)
            .map(|native| self.elapsed / native)
    }
}

/// What the translator made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Translated {
    /// Units, ways out of paths among them.
    pub units: u64,
    /// Those of them that are paths along hot blocks.
    pub paths: u64,
}

/// Instructions of a virtual machine's processor by privilege.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Privilege {
    /// In privilege levels 0 to 2.
    pub kernel: u64,
    /// In privilege level 3.
    pub user: u64,
    /// Of 16- and 32-bit code, which is in no other number.
    pub other: u64,
}

/// A golden run beside its statistics: what `summary.json` says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
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
    /// Whether the start was controlled (semantics 1), so no `--raw-environment`.
    pub controlled: bool,
    /// Process number of the program.
    pub pid: u32,
    /// How it ended.
    pub exit: ExitInfo,
    /// Why the statistics end before the program did, if so.
    pub incomplete: Option<String>,
    /// What was translated, if the backend translates.
    pub translated: Option<Translated>,
    /// Kernel and user, if the processor is a virtual machine's.
    pub privilege: Option<Privilege>,
    /// Times.
    pub times: RunTimes,
    /// Hashes of what it wrote.
    pub outputs: Vec<OutputHash>,
    /// What the reader should know before trusting the numbers.
    pub warnings: Vec<String>,
}
