//! The result of a golden run, independent of how it was collected.
//!
//! A backend or the collector fills one or more [`Statistics`], which can be merged exactly: every
//! number in them is a plain sum. The writers, the terminal summary and the report only read them.
//! What follows from the bytes of an instruction (its text, its mnemonic) is not stored but
//! derived when it is written down.

mod instruction;
mod memory;
mod module;
mod ones;
mod register;
mod run;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use crate::register::Reg;

pub use crate::facts::Access;
pub use instruction::{InstructionBytes, InstructionKey, InstructionStatistics, OperandStatistics};
pub use memory::{PAGE_SIZE, PageStatistics, Region};
pub use module::{Module, Segment};
pub use ones::Ones;
pub use register::RegisterStatistics;
pub use run::{
    Backend, CrashSite, ExitInfo, OutputHash, Privilege, RunInfo, RunTimes, StandardInput,
    Translated,
};

/// How much a golden run records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Executions, register reads and writes, blocks, mix and system calls.
    Counts,
    /// Also operand bits, memory, lifetimes and distributions.
    #[default]
    Full,
}

impl Level {
    /// The name that the command line and the files use.
    pub fn name(self) -> &'static str {
        match self {
            Level::Counts => "counts",
            Level::Full => "full",
        }
    }
}

/// A dynamic basic block: where it starts and how many instructions it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BlockKey {
    /// Address of the first instruction.
    pub pc: u64,
    /// Number of instructions in the block.
    pub instructions: u32,
}

/// What one system call number did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallStatistics {
    /// How often it was called.
    pub calls: u64,
    /// How many of the calls returned an error (-4095 to -1).
    pub errors: u64,
}

/// A thread of a golden run: both numbers count from 0 in order of creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ThreadKey {
    /// 0 is the process that was started; others exist only where forks are followed.
    pub process: u32,
    /// 0 is the first thread of the process.
    pub thread: u32,
}

/// The distributions of `histograms.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistogramKind {
    /// Instructions in each executed basic block.
    BlockLength,
    /// Memory accesses between two accesses to the same place.
    MemoryReuse,
    /// Instructions from a write of a register to its last read.
    RegisterLifetime,
}

impl HistogramKind {
    /// The name in `histograms.csv`.
    pub fn name(self) -> &'static str {
        match self {
            HistogramKind::BlockLength => "block_length",
            HistogramKind::RegisterLifetime => "register_lifetime",
            HistogramKind::MemoryReuse => "memory_reuse",
        }
    }
}

/// Everything that a golden run yields (semantics 5).
#[derive(Clone, Debug, Default)]
pub struct Statistics {
    /// What was collected.
    pub level: Level,
    /// Executions and operand bits of every static instruction.
    pub instructions: FxHashMap<InstructionKey, InstructionStatistics>,
    /// Reads, writes and lifetimes of the full registers and of the flags.
    pub registers: BTreeMap<Reg, RegisterStatistics>,
    /// Executions of every dynamic basic block.
    pub blocks: FxHashMap<BlockKey, u64>,
    /// Accesses by the address of the page; empty at [`Level::Counts`].
    pub pages: FxHashMap<u64, PageStatistics>,
    /// Names of address ranges for the pages; where ranges overlap, the last one counts.
    pub regions: Vec<Region>,
    /// System calls by number.
    pub syscalls: BTreeMap<u64, SyscallStatistics>,
    /// Distributions; empty at [`Level::Counts`].
    pub histograms: BTreeMap<HistogramKind, Histogram<u64>>,
    /// Instructions retired by each thread.
    pub threads: BTreeMap<ThreadKey, u64>,
    /// Files whose code could be executed.
    pub modules: Vec<Module>,
}

impl Statistics {
    /// Nothing counted yet.
    pub fn new(level: Level) -> Self {
        Statistics {
            level,
            ..Statistics::default()
        }
    }

    /// Instructions retired by all threads together.
    pub fn total_instructions(&self) -> u64 {
        self.threads.values().sum()
    }

    /// The entry of a static instruction, made on first use.
    pub fn instruction_mut(&mut self, pc: u64, bytes: &[u8]) -> &mut InstructionStatistics {
        let key = InstructionKey {
            pc,
            bytes: InstructionBytes::new(bytes),
        };
        self.instructions.entry(key).or_default()
    }

    /// Counts `executions` of the block that starts at `pc` and has `instructions` instructions.
    pub fn add_block(&mut self, pc: u64, instructions: u32, executions: u64) {
        *self
            .blocks
            .entry(BlockKey { pc, instructions })
            .or_default() += executions;
    }

    /// Counts one call of a system call.
    pub fn add_syscall(&mut self, number: u64, failed: bool) {
        let entry = self.syscalls.entry(number).or_default();
        entry.calls += 1;
        entry.errors += u64::from(failed);
    }

    /// Counts `times` occurrences of `value` in a distribution.
    pub fn record(&mut self, kind: HistogramKind, value: u64, times: u64) {
        let histogram = self.histograms.entry(kind).or_insert_with(new_histogram);
        record_n(histogram, value, times);
    }

    /// Adds everything that `other` counted. Exact in any order, because all of it is sums.
    pub fn merge(&mut self, other: Statistics) {
        for (key, statistics) in other.instructions {
            self.instructions.entry(key).or_default().merge(statistics);
        }
        for (register, statistics) in other.registers {
            self.registers
                .entry(register)
                .or_default()
                .merge(statistics);
        }
        for (key, executions) in other.blocks {
            *self.blocks.entry(key).or_default() += executions;
        }
        for (page, statistics) in other.pages {
            self.pages.entry(page).or_default().merge(statistics);
        }
        for (number, statistics) in other.syscalls {
            let entry = self.syscalls.entry(number).or_default();
            entry.calls += statistics.calls;
            entry.errors += statistics.errors;
        }
        for (kind, histogram) in other.histograms {
            self.merge_histogram(kind, histogram);
        }
        for (thread, instructions) in other.threads {
            *self.threads.entry(thread).or_default() += instructions;
        }
        append_new(&mut self.regions, other.regions);
        append_new(&mut self.modules, other.modules);
    }

    fn merge_histogram(&mut self, kind: HistogramKind, histogram: Histogram<u64>) {
        let own = self.histograms.entry(kind).or_insert_with(new_histogram);
        for bucket in histogram.iter_recorded() {
            let value = bucket.value_iterated_to();
            record_n(own, value, bucket.count_at_value());
        }
    }
}

/// An empty distribution: three significant digits, growing with its values.
pub fn new_histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(3).expect("three significant digits are within 0 to 5");
    histogram.auto(true);
    histogram
}

fn record_n(histogram: &mut Histogram<u64>, value: u64, times: u64) {
    histogram
        .record_n(value, times)
        .expect("a histogram of `new_histogram` grows to any value");
}

fn append_new<T: PartialEq>(own: &mut Vec<T>, other: Vec<T>) {
    for item in other {
        if !own.contains(&item) {
            own.push(item);
        }
    }
}

#[cfg(test)]
mod tests;
