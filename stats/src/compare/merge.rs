//! Walks two CSV files side by side in the order of their keys.

use std::cmp::Ordering;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::ByteRecord;

use super::columns::{Column, Role};
use super::{Difference, FileComparison};
use crate::folder::{FolderError, GoldenFolder, Rows};

/// Compares one file of both folders.
pub(super) fn compare(
    a: &GoldenFolder,
    b: &GoldenFolder,
    columns: &'static [Column],
    compared: &mut FileComparison,
    limit: usize,
) -> Result<(), FolderError> {
    if let Some(lines) = same_content(&a.path().join(compared.file), &b.path().join(compared.file))
    {
        compared.rows = lines.saturating_sub(1);
        return Ok(());
    }
    let blank = compared.clone();
    let mut merge = Merge {
        columns,
        compared,
        limit,
    };
    let sources = (
        Source::stream(a, columns, blank.file)?,
        Source::stream(b, columns, blank.file)?,
    );
    if !merge.run(sources.0, sources.1)? {
        *merge.compared = blank;
        let file = merge.compared.file;
        let sources = (
            Source::sorted(a, columns, file)?,
            Source::sorted(b, columns, file)?,
        );
        merge.run(sources.0, sources.1)?;
    }
    Ok(())
}

/// The number of lines, if two files are the same byte by byte.
fn same_content(a: &Path, b: &Path) -> Option<u64> {
    const CHUNK: usize = 1 << 20;
    let (mut a, mut b) = (File::open(a).ok()?, File::open(b).ok()?);
    if a.metadata().ok()?.len() != b.metadata().ok()?.len() {
        return None;
    }
    let (mut left, mut right) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let mut lines = 0;
    loop {
        left.clear();
        right.clear();
        a.by_ref().take(CHUNK as u64).read_to_end(&mut left).ok()?;
        b.by_ref().take(CHUNK as u64).read_to_end(&mut right).ok()?;
        if left != right {
            return None;
        }
        if left.is_empty() {
            return Some(lines);
        }
        lines += left.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
}

struct Merge<'a> {
    columns: &'static [Column],
    compared: &'a mut FileComparison,
    limit: usize,
}

impl Merge<'_> {
    /// False if the files turned out not to be in the order of their keys: then nothing of what
    /// was found counts.
    fn run(&mut self, mut a: Source, mut b: Source) -> Result<bool, FolderError> {
        a.advance()?;
        b.advance()?;
        loop {
            if !(a.in_order && b.in_order) {
                return Ok(false);
            }
            let order = match (a.current(), b.current()) {
                (None, None) => return Ok(true),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => key_order(self.columns, left, right),
            };
            self.compared.rows += 1;
            match order {
                Ordering::Equal => self.pair(&a.row, &b.row),
                Ordering::Less => {
                    self.compared.only_in_a += 1;
                    self.lone(&a.row, |values, found| found.a = Some(values));
                }
                Ordering::Greater => {
                    self.compared.only_in_b += 1;
                    self.lone(&b.row, |values, found| found.b = Some(values));
                }
            }
            if order != Ordering::Greater {
                a.advance()?;
            }
            if order != Ordering::Less {
                b.advance()?;
            }
        }
    }

    fn pair(&mut self, a: &ByteRecord, b: &ByteRecord) {
        if a == b {
            return;
        }
        let mut changed = false;
        for (index, column) in self.columns.iter().enumerate() {
            let (left, right) = (&a[index], &b[index]);
            if column.role.is_key() || column.role.same(left, right) {
                continue;
            }
            changed = true;
            if self.compared.differences.len() < self.limit {
                self.compared.differences.push(Difference {
                    key: self.key(a),
                    column: Some(column.name),
                    a: Some(text(left)),
                    b: Some(text(right)),
                });
            }
        }
        self.compared.changed += u64::from(changed);
    }

    fn lone(&mut self, row: &ByteRecord, put: impl FnOnce(String, &mut Difference)) {
        if self.compared.differences.len() < self.limit {
            let mut found = Difference {
                key: self.key(row),
                column: None,
                a: None,
                b: None,
            };
            put(self.values(row), &mut found);
            self.compared.differences.push(found);
        }
    }

    fn key(&self, row: &ByteRecord) -> String {
        let keys = self
            .columns
            .iter()
            .zip(row)
            .filter(|(column, _)| column.role.is_key());
        keys.map(|(_, field)| text(field))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn values(&self, row: &ByteRecord) -> String {
        let counts = |role| matches!(role, Role::Value | Role::Optional);
        let shown = self
            .columns
            .iter()
            .zip(row)
            .filter(|(column, _)| counts(column.role));
        let shown = shown.filter(|(_, field)| !field.is_empty());
        shown
            .map(|(column, field)| format!("{} {}", column.name, text(field)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).into_owned()
}

fn key_order(columns: &[Column], a: &ByteRecord, b: &ByteRecord) -> Ordering {
    columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.role.is_key())
        .map(|(index, column)| column.role.order(&a[index], &b[index]))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// The rows of one side, one at a time.
struct Source {
    columns: &'static [Column],
    rows: Supply,
    row: ByteRecord,
    before: ByteRecord,
    ended: bool,
    in_order: bool,
}

enum Supply {
    /// Straight from the file, which golden runs write in the order of the keys (nearly always).
    Stream(Rows),
    /// Read and sorted before.
    Sorted(std::vec::IntoIter<ByteRecord>),
}

impl Source {
    fn new(columns: &'static [Column], rows: Supply) -> Self {
        let (row, before) = (ByteRecord::new(), ByteRecord::new());
        Source {
            columns,
            rows,
            row,
            before,
            ended: false,
            in_order: true,
        }
    }

    fn stream(
        folder: &GoldenFolder,
        columns: &'static [Column],
        file: &str,
    ) -> Result<Self, FolderError> {
        let names: Vec<_> = columns.iter().map(|column| column.name).collect();
        Ok(Source::new(
            columns,
            Supply::Stream(folder.rows(file, &names)?),
        ))
    }

    fn sorted(
        folder: &GoldenFolder,
        columns: &'static [Column],
        file: &str,
    ) -> Result<Self, FolderError> {
        let mut source = Source::stream(folder, columns, file)?;
        let mut rows = Vec::new();
        source.advance()?;
        while let Some(row) = source.current() {
            rows.push(row.clone());
            source.advance()?;
        }
        rows.sort_by(|a, b| key_order(columns, a, b));
        Ok(Source::new(columns, Supply::Sorted(rows.into_iter())))
    }

    fn current(&self) -> Option<&ByteRecord> {
        (!self.ended).then_some(&self.row)
    }

    fn advance(&mut self) -> Result<(), FolderError> {
        std::mem::swap(&mut self.row, &mut self.before);
        match &mut self.rows {
            Supply::Stream(rows) => self.ended = !rows.next(&mut self.row)?,
            Supply::Sorted(rows) => match rows.next() {
                Some(row) => self.row = row,
                None => self.ended = true,
            },
        }
        if !self.ended && !self.before.is_empty() {
            self.in_order &= key_order(self.columns, &self.before, &self.row).is_le();
        }
        Ok(())
    }
}
