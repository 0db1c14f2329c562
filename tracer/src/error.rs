//! The errors of this crate: each names the operation, its subject and the cause.

use nix::errno::Errno;
use nix::unistd::Pid;

/// A result with this crate's [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong while a process was traced.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A ptrace request or a wait failed.
    #[error("{operation} on thread {tid} failed: {errno}")]
    Ptrace {
        /// The request, e.g. `PTRACE_GETREGS`.
        operation: &'static str,
        /// The thread that was asked about.
        tid: Pid,
        /// The kernel's answer.
        errno: Errno,
    },
    /// Memory of the traced process could not be read or written.
    #[error("cannot {operation} {length} bytes at {address:#x} of process {pid}: {errno}")]
    Memory {
        /// `read` or `write`.
        operation: &'static str,
        /// The process.
        pid: Pid,
        /// First address of the access.
        address: u64,
        /// Length of the access.
        length: usize,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file below `/proc` could not be read or understood.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// The path.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// An injected system call was asked for where none can be injected.
    #[error("cannot inject a system call into thread {tid} at {stop}")]
    NoInjection {
        /// The thread.
        tid: Pid,
        /// The stop that it is in.
        stop: String,
    },
    /// The thread ended while a request was under way.
    #[error("thread {tid} ended while it was being traced")]
    Gone {
        /// The thread.
        tid: Pid,
    },
}

impl Error {
    /// Whether the thread or process had ended (killed meanwhile, perhaps): its exit will be reported by a wait.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Ptrace { errno, .. } | Self::Memory { errno, .. } => *errno == Errno::ESRCH,
            Self::Gone { .. } => true,
            _ => false,
        }
    }
}
