//! The CSV files other than `operand_bits.csv`, one function each.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::listing::Disassembler;
use super::parallel::in_order;
use super::{ListedInstruction, Listing, WriteError, syscall_names};
use crate::model::{Level, PAGE_SIZE, Region, Statistics};

/// A CSV file in the making.
struct Table {
    path: std::path::PathBuf,
    writer: csv::Writer<std::fs::File>,
}

impl Table {
    fn create(dir: &Path, name: &str, columns: &[&str]) -> Result<Self, WriteError> {
        let path = dir.join(name);
        let file = std::fs::File::create(&path).map_err(|error| WriteError::io(&path, error))?;
        let writer = csv::WriterBuilder::new()
            .buffer_capacity(1 << 18)
            .from_writer(file);
        let mut table = Table { path, writer };
        table.row(columns)?;
        Ok(table)
    }

    fn row<I>(&mut self, fields: I) -> Result<(), WriteError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        self.writer
            .write_record(fields)
            .map_err(|error| match error.into_kind() {
                csv::ErrorKind::Io(error) => WriteError::io(&self.path, error),
                // The writer's other complaint is a row of another length.
                other => WriteError::io(&self.path, std::io::Error::other(format!("{other:?}"))),
            })
    }

    fn finish(mut self) -> Result<(), WriteError> {
        self.writer
            .flush()
            .map_err(|error| WriteError::io(&self.path, error))
    }
}

pub(super) fn instructions(dir: &Path, listing: &Listing) -> Result<(), WriteError> {
    let columns = [
        "pc",
        "module",
        "offset",
        "symbol",
        "source",
        "bytes",
        "mnemonic",
        "text",
        "executions",
    ];
    let path = dir.join("instructions.csv");
    let failed = |error| WriteError::io(&path, error);
    let mut file = std::fs::File::create(&path).map_err(failed)?;
    let header = columns.join(",") + "\n";
    file.write_all(header.as_bytes()).map_err(failed)?;
    in_order(&listing.rows, AT_A_TIME, instruction_rows, |rows| {
        file.write_all(rows).map_err(failed)
    })
}

/// Rows of `instructions.csv` that are put together at a time.
const AT_A_TIME: usize = 1 << 13;

fn instruction_rows(instructions: &[ListedInstruction]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut disassembler = Disassembler::new();
    let mut text = String::new();
    for row in instructions {
        disassembler.write(&row.instruction, &mut text);
        let location = &row.location;
        let written = writer.write_record([
            format!("{:#x}", row.key.pc).as_str(),
            location.module.as_deref().unwrap_or_default(),
            &location
                .offset
                .map(|offset| format!("{offset:#x}"))
                .unwrap_or_default(),
            location.symbol.as_deref().unwrap_or_default(),
            location.source.as_deref().unwrap_or_default(),
            &format!("{:?}", row.key.bytes),
            &row.mnemonic(),
            &text,
            &row.executions.to_string(),
        ]);
        written.expect("rows of one length can be written to memory");
    }
    writer.into_inner().expect("rows can be written to memory")
}

pub(super) fn registers(dir: &Path, statistics: &Statistics) -> Result<(), WriteError> {
    let columns = ["register", "reads", "writes", "live_fraction"];
    let mut table = Table::create(dir, "registers.csv", &columns)?;
    for (register, used) in &statistics.registers {
        if used.reads == 0 && used.writes == 0 {
            continue;
        }
        table.row([
            register.name(),
            &used.reads.to_string(),
            &used.writes.to_string(),
            &live_fraction(statistics, used.live_points),
        ])?;
    }
    table.finish()
}

/// Empty where lifetimes were not collected.
fn live_fraction(statistics: &Statistics, live_points: u64) -> String {
    let total = statistics.total_instructions();
    if statistics.level == Level::Counts || total == 0 {
        return String::new();
    }
    format!("{:.9}", live_points as f64 / total as f64)
}

pub(super) fn blocks(dir: &Path, statistics: &Statistics) -> Result<(), WriteError> {
    let mut table = Table::create(dir, "blocks.csv", &["pc", "instructions", "executions"])?;
    let mut blocks: Vec<_> = statistics
        .blocks
        .iter()
        .filter(|(_, count)| **count > 0)
        .collect();
    blocks.sort_unstable();
    for (block, executions) in blocks {
        table.row([
            format!("{:#x}", block.pc),
            block.instructions.to_string(),
            executions.to_string(),
        ])?;
    }
    table.finish()
}

pub(super) fn mix(dir: &Path, listing: &Listing) -> Result<(), WriteError> {
    let mix = listing.mix();
    let mut table = Table::create(dir, "mix.csv", &["mnemonic", "executions"])?;
    for (mnemonic, executions) in &mix {
        table.row([mnemonic.as_str(), &executions.to_string()])?;
    }
    table.finish()
}

pub(super) fn memory(dir: &Path, statistics: &Statistics) -> Result<(), WriteError> {
    let columns = [
        "page",
        "region",
        "reads",
        "writes",
        "bytes_read",
        "bytes_written",
    ];
    let mut table = Table::create(dir, "memory.csv", &columns)?;
    let mut pages: Vec<_> = statistics.pages.iter().collect();
    pages.sort_unstable_by_key(|(page, _)| **page);
    for (&page, used) in pages {
        table.row([
            format!("{page:#x}").as_str(),
            region_name(&statistics.regions, page),
            &used.reads.to_string(),
            &used.writes.to_string(),
            &used.bytes_read.to_string(),
            &used.bytes_written.to_string(),
        ])?;
    }
    table.finish()
}

/// The last region that was added with any part of the page in it.
fn region_name(regions: &[Region], page: u64) -> &str {
    let overlaps =
        |region: &&Region| region.start < page.saturating_add(PAGE_SIZE) && page < region.end;
    regions
        .iter()
        .rev()
        .find(overlaps)
        .map_or("", |region| &region.name)
}

pub(super) fn syscalls(dir: &Path, statistics: &Statistics) -> Result<(), WriteError> {
    let mut table = Table::create(dir, "syscalls.csv", &["number", "name", "calls", "errors"])?;
    for (number, used) in &statistics.syscalls {
        table.row([
            number.to_string().as_str(),
            syscall_names::name(*number),
            &used.calls.to_string(),
            &used.errors.to_string(),
        ])?;
    }
    table.finish()
}

pub(super) fn histograms(dir: &Path, statistics: &Statistics) -> Result<(), WriteError> {
    let columns = ["histogram", "percentile", "value", "count"];
    let mut table = Table::create(dir, "histograms.csv", &columns)?;
    let mut percentile = String::new();
    for (kind, histogram) in &statistics.histograms {
        for bucket in histogram.iter_recorded() {
            percentile.clear();
            let _ = write!(percentile, "{:.6}", bucket.percentile());
            table.row([
                kind.name(),
                &percentile,
                &bucket.value_iterated_to().to_string(),
                &bucket.count_at_value().to_string(),
            ])?;
        }
    }
    table.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_as_such_while_rows_are_written() {
        let mut table = Table::create(Path::new("/dev"), "full", &["a"]).unwrap();
        let long = "x".repeat(1 << 19);
        let error = table
            .row([&long])
            .and_then(|()| table.row([&long]))
            .unwrap_err();
        assert!(matches!(error, WriteError::Full { .. }), "{error}");
    }
}
