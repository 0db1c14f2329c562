//! What is wrong with a campaign: where, what, and what would be right.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::document::Origin;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub origin: Origin,
    /// What, and what would be right.
    pub sentence: String,
}

/// Why a campaign cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What was written is wrong.
    #[error("{0}")]
    Wrong(Problems),
}

/// All that is wrong with a campaign, in the order of the lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The name of the file, if there is one.
    pub file: Option<String>,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Problem { origin, sentence }) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            match (origin, &self.file) {
                (Origin::Flag(flag), _) => write!(f, "{flag}: {sentence}")?,
                (Origin::Line(line), Some(file)) => write!(f, "{file}:{line}: {sentence}")?,
                (Origin::File, Some(file)) => write!(f, "{file}: {sentence}")?,
                (Origin::Line(line), None) => write!(f, "line {line}: {sentence}")?,
                (Origin::File, None) => f.write_str(sentence)?,
            }
        }
        Ok(())
    }
}
