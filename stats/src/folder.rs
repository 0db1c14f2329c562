//! Reads the folder of a golden run.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use csv::ByteRecord;

use crate::model::Level;
use crate::write::{FILES, SCHEMA, Summary};

/// Files that only level `full` fills.
const FULL_ONLY: [&str; 3] = ["operand_bits.csv", "memory.csv", "histograms.csv"];

/// Why a folder could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is nothing of this name.
    #[error("{} does not exist", path.display())]
    Missing {
        /// The folder.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{} is not the folder of a golden run: {why}", path.display())]
    NotGolden {
        /// The folder.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// A file of it has been lost.
    #[error("{} is not whole: {name} is missing", path.display())]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The missing file.
        name: &'static str,
    },
    /// Another version of fits wrote it.
    #[error("{} was written in format {found}, this version reads format {SCHEMA}; repeat the golden run", path.display())]
    Schema {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file of it can't be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file of it does not have the form that golden runs give it.
    #[error("cannot read {}: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it deviates.
        why: String,
    },
}

/// The folder of a golden run, with all files that its level fills.
#[derive(Clone, Debug)]
pub struct GoldenFolder {
    path: PathBuf,
    summary: Summary,
}

impl GoldenFolder {
    /// Checks that the folder is one and is whole; reads its summary.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        let path = path.to_owned();
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(FolderError::Missing { path });
            }
            Err(source) => return Err(FolderError::Io { path, source }),
            Ok(metadata) if !metadata.is_dir() => {
                return Err(FolderError::NotGolden {
                    path,
                    why: "it is not a folder".to_owned(),
                });
            }
            Ok(_) => {}
        }
        let summary = read_summary(&path)?;
        let folder = GoldenFolder { path, summary };
        match folder
            .files()
            .find(|name| !folder.path.join(name).is_file())
        {
            Some(name) => Err(FolderError::Incomplete {
                path: folder.path,
                name,
            }),
            None => Ok(folder),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The content of `summary.json`.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Names of the files that it has at its level.
    pub fn files(&self) -> impl Iterator<Item = &'static str> + use<> {
        let level = self.summary.level;
        FILES
            .into_iter()
            .filter(move |name| level == Level::Full || !FULL_ONLY.contains(name))
    }

    /// Whether its level fills the file.
    pub fn has(&self, name: &str) -> bool {
        self.files().any(|file| file == name)
    }

    /// The rows of one of the CSV files, which must have these columns.
    pub fn rows(&self, name: &str, columns: &[&str]) -> Result<Rows, FolderError> {
        Rows::open(self.path.join(name), columns)
    }

    /// All rows of one of the CSV files, which must have these columns; none if the folder's level does not fill it.
    pub fn load<T>(
        &self,
        name: &str,
        columns: &[&str],
        parse: impl Fn(&Fields) -> Result<T, FolderError>,
    ) -> Result<Vec<T>, FolderError> {
        let mut all = Vec::new();
        if self.has(name) {
            let mut rows = self.rows(name, columns)?;
            let mut row = ByteRecord::new();
            while rows.next(&mut row)? {
                all.push(parse(&Fields::new(&rows, &row))?);
            }
        }
        Ok(all)
    }
}

fn read_summary(folder: &Path) -> Result<Summary, FolderError> {
    let path = folder.join("summary.json");
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = "it has no summary.json".to_owned();
            return Err(FolderError::NotGolden {
                path: folder.to_owned(),
                why,
            });
        }
        other => other.map_err(|source| FolderError::Io {
            path: path.clone(),
            source,
        })?,
    };
    let malformed = |error: serde_json::Error| FolderError::Malformed {
        path: path.clone(),
        why: error.to_string(),
    };
    let value: serde_json::Value = serde_json::from_slice(&text).map_err(malformed)?;
    match value["schema"].as_u64() {
        Some(found) if found != u64::from(SCHEMA) => Err(FolderError::Schema {
            path: folder.to_owned(),
            found: found as u32,
        }),
        _ => serde_json::from_value(value).map_err(malformed),
    }
}

/// The rows of a CSV file, one after the other.
pub struct Rows {
    path: PathBuf,
    reader: csv::Reader<File>,
}

impl Rows {
    fn open(path: PathBuf, columns: &[&str]) -> Result<Self, FolderError> {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(source) => return Err(FolderError::Io { path, source }),
        };
        let reader = csv::ReaderBuilder::new()
            .buffer_capacity(1 << 20)
            .from_reader(file);
        let mut rows = Rows { path, reader };
        let header = rows.reader.byte_headers().cloned();
        let header = header.map_err(|error| rows.error(error))?;
        if !header
            .iter()
            .eq(columns.iter().map(|column| column.as_bytes()))
        {
            let why = format!("its columns are not {}", columns.join(","));
            return Err(FolderError::Malformed {
                path: rows.path,
                why,
            });
        }
        Ok(rows)
    }

    /// Replaces `row` by the next one; false at the end.
    pub fn next(&mut self, row: &mut ByteRecord) -> Result<bool, FolderError> {
        self.reader
            .read_byte_record(row)
            .map_err(|error| self.error(error))
    }

    /// The error of a field in the row that was read last.
    pub fn malformed(&self, column: &str) -> FolderError {
        let line = self.reader.position().line().saturating_sub(1);
        let why = format!("{column} of line {line} is not what golden runs write there");
        FolderError::Malformed {
            path: self.path.clone(),
            why,
        }
    }

    fn error(&self, error: csv::Error) -> FolderError {
        let path = self.path.clone();
        let text = error.to_string();
        match error.into_kind() {
            csv::ErrorKind::Io(source) => FolderError::Io { path, source },
            _ => FolderError::Malformed { path, why: text },
        }
    }
}

/// The fields of a row by column.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    rows: &'a Rows,
    row: &'a ByteRecord,
}

impl<'a> Fields<'a> {
    /// Those of the row that was read last.
    pub fn new(rows: &'a Rows, row: &'a ByteRecord) -> Self {
        Fields { rows, row }
    }

    /// A text.
    pub fn text(&self, column: usize) -> String {
        String::from_utf8_lossy(&self.row[column]).into_owned()
    }

    /// A number, decimal or hexadecimal with `0x`.
    pub fn number(&self, column: usize) -> Result<u64, FolderError> {
        number(&self.row[column]).ok_or_else(|| self.malformed(&format!("column {}", column + 1)))
    }

    /// A number, or nothing.
    pub fn optional_number(&self, column: usize) -> Result<Option<u64>, FolderError> {
        if self.row[column].is_empty() {
            Ok(None)
        } else {
            self.number(column).map(Some)
        }
    }

    /// The error of a field in this row.
    pub fn malformed(&self, column: &str) -> FolderError {
        self.rows.malformed(column)
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_golden_folder_is_said_clearly() {
        let parent = tempfile::TempDir::new().unwrap();
        let message = |path: &Path| GoldenFolder::open(path).unwrap_err().to_string();
        assert!(message(&parent.path().join("no")).ends_with("no does not exist"));
        assert!(message(parent.path()).ends_with("it has no summary.json"));
        let file = parent.path().join("summary.json");
        std::fs::write(&file, "{\"schema\": 77}").unwrap();
        assert!(message(&file).ends_with("it is not a folder"));
        assert!(message(parent.path()).contains("was written in format 77"));
        std::fs::write(&file, "{\"schema\": 1}").unwrap();
        assert!(message(parent.path()).contains("missing field"));
    }
}
