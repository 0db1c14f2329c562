//! Tables of cases: one row a line, columns separated by `|`, `#` starts a comment line.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder `tests`.
pub(crate) fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The rows of a table with so many columns, trimmed.
pub(crate) fn rows<const COLUMNS: usize>(path: &Path) -> Result<Vec<[String; COLUMNS]>, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    text.lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let columns: Vec<String> = line.split('|').map(|c| c.trim().to_owned()).collect();
            columns.try_into().map_err(|columns: Vec<String>| {
                format!(
                    "{}:{number}: {} columns instead of {COLUMNS}",
                    path.display(),
                    columns.len()
                )
            })
        })
        .collect()
}

/// The words of a text; `\ ` is a blank within a word.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.replace("\\ ", "\0")
        .split_whitespace()
        .map(|word| word.replace('\0', " "))
        .collect()
}
