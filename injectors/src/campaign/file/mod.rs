//! A campaign as it is asked for: [`Campaign`], read from a TOML file, from flags, or from both. All fields are in `docs/campaign-file.md`.
//!
//! - `campaign`: what there is to say. `choice`: what is said by a word, and how it is written.
//! - `document`: tables, keys and values with the lines and flags that they come from; `reader`: typed values out of them.
//! - `read`: every field by itself; `check`: fields that contradict each other; `error`: the sentences.
//! - `write`: [`Campaign::to_toml`]. `template.toml`: the commented file to begin with, [`template`].

mod campaign;
mod check;
mod choice;
pub(crate) mod document;
mod error;
mod read;
pub(crate) mod reader;
#[cfg(test)]
mod tests;
mod write;

use std::path::Path;

pub use campaign::{
    Campaign, GoldenRun, Judging, Limits, Preset, Region, Sampling, Shard, Size, Space,
};
pub use choice::{
    IndexRange, InstructionChoice, InstructionPart, MaskChoice, MemoryChoice, Pruning,
    RegisterChoice, RegisterClass, Restriction, SourceLines, Start, Stratum, Words,
};
pub use document::{Origin, Override, Setting};
pub use error::{FileError, Problem, Problems};

use read::Folders;

/// The commented campaign file to begin with.
#[must_use]
pub fn template() -> &'static str {
    include_str!("template.toml")
}

impl Campaign {
    /// Reads a campaign file; what flags say takes the place of what it says.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn read(path: &Path, overrides: Vec<Override>) -> Result<Self, FileError> {
        let io = |source| FileError::Io {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(io)?;
        let current = std::env::current_dir().map_err(io)?;
        let whole = std::path::absolute(path).map_err(io)?;
        let folders = Folders {
            file: whole.parent().unwrap_or(Path::new("/")).to_owned(),
            current,
        };
        let name = path.display().to_string();
        Self::of(&text, Some(name), overrides, &folders)
    }

    /// Reads what a campaign file in `folder` would say.
    ///
    /// # Errors
    /// Everything that is wrong with it, with lines.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, FileError> {
        let folders = Folders {
            file: folder.to_owned(),
            current: folder.to_owned(),
        };
        Self::of(text, None, Vec::new(), &folders)
    }

    /// A campaign by flags alone.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of_flags(flags: Vec<Override>) -> Result<Self, FileError> {
        let current = std::env::current_dir().map_err(|source| FileError::Io {
            path: ".".into(),
            source,
        })?;
        let folders = Folders {
            file: current.clone(),
            current,
        };
        Self::of("", None, flags, &folders)
    }

    fn of(
        text: &str,
        file: Option<String>,
        overrides: Vec<Override>,
        folders: &Folders,
    ) -> Result<Self, FileError> {
        let wrong = |problems| {
            FileError::Wrong(Problems {
                file: file.clone(),
                problems,
            })
        };
        let mut entries = document::parse(text).map_err(|problem| wrong(vec![problem]))?;
        document::override_with(&mut entries, overrides);
        let gathered = reader::Gathered::default();
        let root = reader::Table::root(&entries, &gathered);
        let campaign = read::campaign(&root, folders);
        root.finish();
        let written = check::Written {
            root: &entries,
            gathered: &gathered,
        };
        check::check(&campaign, &written);
        let problems = gathered.sorted();
        if problems.is_empty() {
            Ok(campaign)
        } else {
            Err(wrong(problems))
        }
    }
}
