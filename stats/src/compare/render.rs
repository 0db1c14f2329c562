//! The result of a comparison as text, JSON and CSV.

use std::fmt::{self, Write as _};

use super::{Comparison, Difference, FileComparison, Side, Status};
use crate::summary::grouped;

impl Comparison {
    /// For people.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "A  {}\nB  {}\n", describe(&self.a), describe(&self.b))?;
        for file in &self.files {
            writeln!(out, "{:18}{}", file.file, outcome(file))?;
            for difference in &file.differences {
                writeln!(out, "    {}", sentence(difference))?;
            }
            let more = remaining(file);
            if more > 0 {
                writeln!(out, "    and {} more", grouped(more))?;
            }
        }
        let differing = self
            .files
            .iter()
            .filter(|file| file.status != Status::Equal)
            .count();
        match differing {
            0 => writeln!(out, "\nequal in all {} files", self.files.len()),
            _ => writeln!(out, "\n{differing} of {} files differ", self.files.len()),
        }
    }

    /// For programs: everything in one object.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings and numbers can always be written as JSON");
        text.push('\n');
        text
    }

    /// For tables: one line a difference.
    pub fn to_csv(&self) -> String {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let columns = ["file", "status", "key", "column", "a", "b"];
        writer
            .write_record(columns)
            .expect("writing to memory does not fail");
        for file in self
            .files
            .iter()
            .filter(|file| file.status != Status::Equal)
        {
            for row in csv_rows(file) {
                writer
                    .write_record(&row)
                    .expect("writing to memory does not fail");
            }
        }
        let bytes = writer
            .into_inner()
            .expect("writing to memory does not fail");
        String::from_utf8(bytes).expect("all fields are text")
    }
}

fn describe(side: &Side) -> String {
    format!(
        "{} (backend {}, level {})",
        side.path.display(),
        side.backend,
        side.level
    )
}

fn outcome(file: &FileComparison) -> String {
    let rows = match file.rows {
        1 => "1 row".to_owned(),
        rows => format!("{} rows", grouped(rows)),
    };
    match file.status {
        Status::Equal => format!("equal ({rows})"),
        Status::OnlyInA => "only in A".to_owned(),
        Status::OnlyInB => "only in B".to_owned(),
        Status::Differs => {
            let parts = [
                (file.changed, "with other values"),
                (file.only_in_a, "only in A"),
                (file.only_in_b, "only in B"),
            ];
            let parts: Vec<_> = parts
                .iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, what)| format!("{} {what}", grouped(*count)))
                .collect();
            format!("differs: of {rows} {}", parts.join(", "))
        }
    }
}

fn sentence(difference: &Difference) -> String {
    let Difference { key, column, a, b } = difference;
    match (column, a, b) {
        (Some(column), Some(a), Some(b)) => format!("{key}: {column} {} | {}", shown(a), shown(b)),
        (None, Some(values), _) => format!("{key}: only in A ({values})"),
        (_, _, values) => format!(
            "{key}: only in B ({})",
            values.as_deref().unwrap_or_default()
        ),
    }
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "(none)" } else { value }
}

/// How many differing rows are not shown.
fn remaining(file: &FileComparison) -> u64 {
    let mut keys: Vec<_> = file
        .differences
        .iter()
        .map(|difference| &difference.key)
        .collect();
    keys.dedup();
    file.differing().saturating_sub(keys.len() as u64)
}

fn csv_rows(file: &FileComparison) -> Vec<[String; 6]> {
    let status = match file.status {
        Status::Equal => "equal",
        Status::Differs => "differs",
        Status::OnlyInA => "only_in_a",
        Status::OnlyInB => "only_in_b",
    };
    let start = [file.file.to_owned(), status.to_owned()];
    if file.differences.is_empty() {
        let [file, status] = start;
        return vec![[
            file,
            status,
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]];
    }
    let row = |found: &Difference| {
        let [file, status] = start.clone();
        let column = found.column.unwrap_or_default().to_owned();
        let side = |value: &Option<String>| value.clone().unwrap_or_default();
        [
            file,
            status,
            found.key.clone(),
            column,
            side(&found.a),
            side(&found.b),
        ]
    };
    file.differences.iter().map(row).collect()
}
