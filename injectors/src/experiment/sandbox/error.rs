//! Why a sandbox could not be made.

use std::io;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// Why a sandbox could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The kernel refused a step.
    #[error("cannot {what} {subject}: {errno}")]
    Step {
        /// What was tried.
        what: &'static str,
        /// On what.
        subject: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file could not be made, read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A user namespace got no users.
    #[error("cannot give a user namespace its users: {source}")]
    Map {
        /// The cause.
        source: io::Error,
    },
    /// No process.
    #[error("cannot make a process: {errno}")]
    Fork {
        /// The kernel's answer.
        errno: Errno,
    },
}

impl SandboxError {
    pub(super) fn step<S: Into<String>>(
        what: &'static str,
        subject: S,
    ) -> impl FnOnce(Errno) -> Self {
        let subject = subject.into();
        move |errno| Self::Step {
            what,
            subject,
            errno,
        }
    }

    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
