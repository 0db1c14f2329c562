//! Writes the folder of a golden run: the CSV files and `summary.json` of semantics 5.
//!
//! Everything goes into `DIR.partial-PID` first, which becomes `DIR` when it is whole.

mod error;
mod folder;
mod listing;
mod operand_bits;
mod parallel;
mod summary_json;
mod syscall_names;
mod tables;

use std::path::Path;

use crate::model::{Level, RunInfo, Statistics};
pub use error::WriteError;
pub use folder::{Existing, check_destination, partial_folder};
pub use listing::{ListedInstruction, Listing, instruction_text};
pub use summary_json::{ExitSummary, ModuleSummary, SCHEMA, Summary, ThreadSummary};

/// Names of the files of a golden run, in the order in which they are shown and compared.
pub const FILES: [&str; 9] = [
    "summary.json",
    "instructions.csv",
    "registers.csv",
    "operand_bits.csv",
    "blocks.csv",
    "mix.csv",
    "memory.csv",
    "syscalls.csv",
    "histograms.csv",
];

/// Writes everything that a golden run leaves into `dir`, which must not exist or be empty.
pub fn write_folder(dir: &Path, statistics: &Statistics, info: &RunInfo) -> Result<(), WriteError> {
    write_listed(
        dir,
        Existing::Refuse,
        statistics,
        &Listing::new(statistics),
        info,
    )
}

/// As [`write_folder`], with instructions that are located already.
pub fn write_listed(
    dir: &Path,
    existing: Existing,
    statistics: &Statistics,
    listing: &Listing,
    info: &RunInfo,
) -> Result<(), WriteError> {
    let folder = folder::PartialFolder::create(dir, existing)?;
    write_files(folder.path(), statistics, listing, info)?;
    folder.finish()
}

fn write_files(
    dir: &Path,
    statistics: &Statistics,
    listing: &Listing,
    info: &RunInfo,
) -> Result<(), WriteError> {
    tables::instructions(dir, listing)?;
    tables::registers(dir, statistics)?;
    tables::blocks(dir, statistics)?;
    tables::mix(dir, listing)?;
    tables::syscalls(dir, statistics)?;
    if statistics.level == Level::Full {
        operand_bits::write(dir, statistics, listing)?;
        tables::memory(dir, statistics)?;
        tables::histograms(dir, statistics)?;
    }
    summary_json::write(dir, &Summary::new(statistics, info))
}

/// The name of a system call, or nothing for a number that Linux does not define.
pub fn syscall_name(number: u64) -> &'static str {
    syscall_names::name(number)
}

#[cfg(test)]
pub(crate) mod tests;
