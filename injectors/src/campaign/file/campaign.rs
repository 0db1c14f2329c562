//! What a campaign is: everything that can be asked for, checked, with all defaults filled in.

use std::path::PathBuf;

use fits_stats::model::{Backend, Level};

use super::choice::{
    IndexRange, InstructionChoice, InstructionPart, MaskChoice, MemoryChoice, Pruning,
    RegisterChoice, Restriction, SourceLines, Start, Stratum,
};
use crate::experiment::outcome::Outcome;
use crate::experiment::session::Isolate;
use crate::fault::{Duration, Operation};

/// Everything that a campaign is asked to be. All paths are absolute.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: String,
    /// Its arguments, without `argv[0]`.
    pub arguments: Vec<String>,
    /// Standard input of every run; `None`: `/dev/null`.
    pub stdin: Option<PathBuf>,
    /// The working directory of every run.
    pub working_directory: PathBuf,
    /// Leave the environment as the kernel gives it, without a controlled start.
    pub raw_environment: bool,
    /// Further folders that runs may write to, privately.
    pub writable: Vec<PathBuf>,
    /// What brings the program to the moment of a fault.
    pub backend: Backend,
    /// With ptrace: everything by single steps.
    pub single_step: bool,
    /// Whether runs leave the host's namespaces.
    pub isolate: Isolate,
    /// Instructions that are followed after a fault to see whether what it changed is read.
    pub window: u64,
    /// Instructions whose path and state are compared with those of the fault-free run.
    pub trace: Option<u64>,
    /// What all draws come from.
    pub seed: u64,
    /// Experiments at the same time; `None`: as many as there are processors.
    pub jobs: Option<u64>,
    /// Where runs with faults begin.
    pub start: Start,
    /// What is known without running it.
    pub pruning: Pruning,
    /// How many of the pruned faults are run for real.
    pub validate_pruning: u64,
    /// The part of the plan that is carried out here.
    pub shard: Option<Shard>,
    /// The golden run.
    pub golden: GoldenRun,
    /// What is drawn from.
    pub space: Space,
    /// How it is drawn.
    pub sampling: Sampling,
    /// What a run may use.
    pub limits: Limits,
    /// How outcomes are told apart.
    pub judging: Judging,
}

/// Part `number` (from 1) of `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which one, from 1.
    pub number: u64,
    /// How many there are.
    pub of: u64,
}

/// The golden run of a campaign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoldenRun {
    /// What it counts.
    pub level: Level,
    /// The folder of one that exists.
    pub folder: Option<PathBuf>,
}

/// The faults that there can be: locations × operations × bits × durations, at the instructions of a region.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// A population with a name, in place of all other choices of what is changed.
    pub population: Option<Preset>,
    /// Registers, changed before an instruction.
    pub registers: Vec<RegisterChoice>,
    /// Memory, changed before an instruction.
    pub memory: Vec<MemoryChoice>,
    /// Parts of the instruction itself.
    pub instruction: Vec<InstructionChoice>,
    /// What is done to the bits.
    pub operations: Vec<Operation>,
    /// Which bits are changed together.
    pub masks: Vec<MaskChoice>,
    /// Only masks within these bits, of every location.
    pub bits: Option<(u32, u32)>,
    /// How long the change lasts.
    pub durations: Vec<Duration>,
    /// Which registers count at an instruction.
    pub restrict: Restriction,
    /// Only these threads; empty: all.
    pub threads: Vec<u32>,
    /// Only instructions with an index in this range.
    pub indices: Option<IndexRange>,
    /// Only instructions that are in here.
    pub region: Region,
    /// And not in here.
    pub exclude: Region,
}

impl Space {
    /// Whether it has only locations that say by themselves what happens, so that operations and masks mean nothing.
    #[must_use]
    pub fn only_whole(&self) -> bool {
        let whole = |choice: &InstructionChoice| {
            matches!(
                choice.part,
                InstructionPart::Direction | InstructionPart::Skip
            )
        };
        self.registers.is_empty()
            && self.memory.is_empty()
            && !self.instruction.is_empty()
            && self.instruction.iter().all(whole)
    }
}

/// A population with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// Instructions of the main executable's `.text` that write at least one register other than `rip`; one destination register; one uniform bit of
    /// it; after the instruction.
    Refine,
}

/// Instructions, by where they are. An empty list says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Region {
    /// Functions, as the symbol table names them.
    pub functions: Vec<String>,
    /// Address ranges of the process, from the first to the last byte before the end.
    pub addresses: Vec<(u64, u64)>,
    /// Files, by path or by name.
    pub modules: Vec<String>,
    /// Sections of the program's own file.
    pub sections: Vec<String>,
    /// Lines of source files.
    pub lines: Vec<SourceLines>,
}

impl Region {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// How faults are chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum Sampling {
    /// Every point of the space with the same probability.
    Uniform {
        /// How many.
        size: Size,
    },
    /// The same number from each stratum, weighted.
    Stratified {
        /// By what the space is divided.
        by: Stratum,
        /// How many in all.
        size: Size,
    },
    /// Every point.
    Exhaustive {
        /// The most points that are taken without pruning.
        limit: u64,
    },
    /// These.
    List {
        /// In their text form.
        faults: Vec<String>,
        /// A file of them, one a line.
        file: Option<PathBuf>,
    },
}

impl Sampling {
    /// How many faults are asked for, where that is asked.
    #[must_use]
    pub fn size(&self) -> Option<Size> {
        match self {
            Self::Uniform { size } | Self::Stratified { size, .. } => Some(*size),
            Self::Exhaustive { .. } | Self::List { .. } => None,
        }
    }
}

/// How many faults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// So many.
    Number(u64),
    /// As many as the margin needs, by Leveugle's formula.
    Margin {
        /// Half the width of the interval, as a part of 1.
        margin: f64,
        /// The confidence, as a part of 1.
        confidence: f64,
    },
    /// Until the interval of an outcome's share is narrow enough.
    UntilWidth {
        /// The full width of the interval, as a part of 1.
        width: f64,
        /// Whose share.
        outcome: Outcome,
        /// The confidence, as a part of 1.
        confidence: f64,
        /// The most experiments.
        maximum: u64,
    },
}

/// What a run may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Times the time of the fault-free run.
    pub hang_factor: f64,
    /// Seconds of processor time beyond that.
    pub hang_floor: f64,
    /// In place of the factor: the time that so many instructions take.
    pub hang_instructions: Option<u64>,
    /// Processes and threads.
    pub max_processes: Option<u64>,
    /// Mebibytes of memory.
    pub max_memory: Option<u64>,
    /// Mebibytes of one file.
    pub max_file: Option<u64>,
    /// Mebibytes written in all.
    pub max_disk: Option<u64>,
}

/// How outcomes are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judging {
    /// A command that compares two folders of outputs.
    pub compare: Option<String>,
    /// Exit statuses that mean detected.
    pub detect_exit: Vec<u8>,
    /// Regular expressions of outputs that mean detected.
    pub detect_output: Vec<String>,
    /// The function that the program calls when it has detected a fault.
    pub detect_symbol: Option<String>,
}
