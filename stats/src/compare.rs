//! Compares two golden runs, file by file and row by row.
//!
//! Rows belong together by their keys (the address, the register, …), never by line numbers. Both
//! files are walked side by side in the order of their keys, so that size does not matter.

mod columns;
mod merge;
mod render;
mod summaries;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::folder::{FolderError, GoldenFolder};
use crate::write::FILES;

/// What comparing two golden runs brought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whether nothing differs.
    pub equal: bool,
    /// The first run.
    pub a: Side,
    /// The second run.
    pub b: Side,
    /// All files that either of them has.
    pub files: Vec<FileComparison>,
}

/// One of the two runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Its folder.
    pub path: PathBuf,
    /// Its backend.
    pub backend: &'static str,
    /// Its level.
    pub level: &'static str,
}

/// What comparing one file brought.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FileComparison {
    /// Name of the file.
    pub file: &'static str,
    /// The outcome.
    pub status: Status,
    /// Keys that at least one of the files has.
    pub rows: u64,
    /// Keys that both have, with other values.
    pub changed: u64,
    /// Keys that only the first has.
    pub only_in_a: u64,
    /// Keys that only the second has.
    pub only_in_b: u64,
    /// The first differences, as many as were asked for.
    pub differences: Vec<Difference>,
}

/// How two files relate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// They say the same.
    #[default]
    Equal,
    /// They differ.
    Differs,
    /// The second run's level does not fill the file.
    OnlyInA,
    /// The first run's level does not fill the file.
    OnlyInB,
}

/// One value that differs, or one row that only one side has (then the other side is empty and
/// there is no column).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key of the row: its values, joined by blanks.
    pub key: String,
    /// The column that differs.
    pub column: Option<&'static str>,
    /// The value, or the values, on the first side.
    pub a: Option<String>,
    /// The value, or the values, on the second side.
    pub b: Option<String>,
}

impl FileComparison {
    /// How many keys are not the same on both sides.
    pub fn differing(&self) -> u64 {
        self.changed + self.only_in_a + self.only_in_b
    }
}

/// Compares the golden runs in two folders. `limit` is how many differences of each file are kept.
pub fn compare(a: &Path, b: &Path, limit: usize) -> Result<Comparison, FolderError> {
    let (a, b) = (GoldenFolder::open(a)?, GoldenFolder::open(b)?);
    let mut files = Vec::new();
    for file in FILES {
        let status = match (a.has(file), b.has(file)) {
            (true, true) => Status::Equal,
            (true, false) => Status::OnlyInA,
            (false, true) => Status::OnlyInB,
            (false, false) => continue,
        };
        let mut compared = FileComparison {
            file,
            status,
            ..FileComparison::default()
        };
        if status == Status::Equal {
            compare_file(&a, &b, &mut compared, limit)?;
        }
        files.push(compared);
    }
    let equal = files.iter().all(|file| file.status == Status::Equal);
    Ok(Comparison {
        equal,
        a: side(&a),
        b: side(&b),
        files,
    })
}

fn side(folder: &GoldenFolder) -> Side {
    let summary = folder.summary();
    Side {
        path: folder.path().to_owned(),
        backend: summary.backend.name(),
        level: summary.level.name(),
    }
}

fn compare_file(
    a: &GoldenFolder,
    b: &GoldenFolder,
    compared: &mut FileComparison,
    limit: usize,
) -> Result<(), FolderError> {
    match columns::of(compared.file) {
        None => summaries::compare(a.summary(), b.summary(), compared, limit),
        Some(columns) => merge::compare(a, b, columns, compared, limit)?,
    }
    if compared.differing() > 0 {
        compared.status = Status::Differs;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
