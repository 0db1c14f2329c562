//! Why a campaign's database cannot be used.

use std::path::{Path, PathBuf};

/// See the module. Each message is one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is none.
    #[error("{} is not the folder of a campaign: it has no {}", .0.display(), super::FILE)]
    NotACampaign(PathBuf),
    /// There is one already.
    #[error("{} holds a campaign already: fits campaign resume {} goes on with it", .0.display(), .0.display())]
    Exists(PathBuf),
    /// Something else, or damaged.
    #[error("{} is not the database of a campaign: {why}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What speaks against it.
        why: String,
    },
    /// Written by another version.
    #[error("{} has schema {found}, this version of fits reads schema {}", path.display(), super::SCHEMA)]
    Schema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
    },
    /// It is of something else than what is wanted.
    #[error("{} {what}", path.display())]
    Another {
        /// The folder.
        path: PathBuf,
        /// What is another.
        what: String,
    },
    /// Another process works on it.
    #[error("{} is in use by {holder}; wait for it, or end it: nothing that it has done is lost", path.display())]
    Held {
        /// The folder.
        path: PathBuf,
        /// Who holds it, as it says itself.
        holder: String,
    },
    /// SQLite cannot do it: the disk is full, say.
    #[error("cannot {what} {}: {source}", path.display())]
    Database {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
    /// A file or folder.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Databases that do not belong together.
    #[error("{0}")]
    Merge(String),
}

impl StoreError {
    /// For `map_err`.
    pub(crate) fn database(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Database { what, path, source }
    }

    /// For `map_err`.
    pub(crate) fn io(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
