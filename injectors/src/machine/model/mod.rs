//! Error models: where and when errors happen, by rates and distributions, read from a TOML file. All fields are in `docs/machine-faults.md`.
//!
//! - `file`: the fields, with the line of whatever is wrong. `placeholder`: what is drawn in the text of a fault.
//! - [`distribution`]: times. `stream`: faults at those times.
//! - [`dram`]: faults of DRAM by the rates of field studies. [`ecc`]: what a code makes of them. [`reliability`]: how often a module fails.

pub mod distribution;
pub mod dram;
pub mod ecc;
mod file;
mod placeholder;
pub mod random;
pub mod reliability;
mod stream;
#[cfg(test)]
mod tests;

use std::path::Path;

use crate::campaign::file::{FileError, Problems};
use crate::machine::geometry::Geometry;
use crate::machine::scheduler::Source;
use distribution::Times;
use dram::Dram;
use placeholder::Template;

/// A model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// What everything is drawn from.
    seed: u64,
    geometry: Geometry,
    errors: Vec<ErrorModel>,
    dram: Option<Dram>,
}

/// One kind of error.
#[derive(Clone, Debug, PartialEq)]
struct ErrorModel {
    fault: Template,
    times: Times,
    /// Virtual seconds before which nothing happens.
    start: f64,
    /// After which nothing happens.
    end: f64,
    /// How many at most.
    count: u64,
}

impl Model {
    /// Reads a file.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Self::parse(&text, Some(path.display().to_string()), folder)
    }

    /// Reads text; relative paths in it begin at `folder`.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn parse(text: &str, file: Option<String>, folder: &Path) -> Result<Self, FileError> {
        file::parse(text, folder).map_err(|problems| FileError::Wrong(Problems { file, problems }))
    }

    /// The DRAM that it speaks of.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Its errors, as they come.
    #[must_use]
    pub fn sources(&self) -> Vec<Box<dyn Source>> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (number, error) in (0..).zip(&self.errors) {
            sources.push(Box::new(stream::Stream::new(error, self.seed, number)));
        }
        if let Some(dram) = &self.dram {
            sources.push(Box::new(dram::Errors::new(dram, self.geometry, self.seed)));
        }
        sources
    }
}
