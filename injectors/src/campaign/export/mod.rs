//! A campaign for other tools: one row for each experiment that counts, known or not, in the order of the plan.
//!
//! - `columns`: what a row has, and reading it. `csv`, `json`, `parquet`: the three forms.

mod columns;
mod csv;
mod json;
mod parquet;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;

use super::store::{Archive, StoreError};

/// A form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One header line, values as text, nothing for what is absent.
    Csv,
    /// A list of objects; each has the whole record of its experiment beside the columns.
    Json,
    /// Typed columns, compressed.
    Parquet,
}

/// Why a campaign cannot be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Reading rows.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The database.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// It cannot be written.
    #[error("cannot write the export: {0}")]
    Write(std::io::Error),
    /// The same for Parquet.
    #[error("cannot write the export: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

impl From<std::io::Error> for ExportError {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

/// Writes a campaign.
///
/// # Errors
/// See [`ExportError`]. What was written until then is not whole.
pub fn export(archive: &Archive, format: Format, to: impl Write + Send) -> Result<(), ExportError> {
    match format {
        Format::Csv => csv::write(archive, to),
        Format::Json => json::write(archive, to),
        Format::Parquet => parquet::write(archive, to),
    }
}
