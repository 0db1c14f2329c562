//! What can go wrong with the fuzzer itself.

use nix::errno::Errno;

/// An error of the fuzzer (a difference that it found is none).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The child could not be set up.
    #[error("cannot set up the child: {0}")]
    Setup(Errno),
    /// Shared memory could not be had.
    #[error("cannot share memory with the child: {0}")]
    Memory(std::io::Error),
    /// The child ended while it was set up.
    #[error("the child could not map its memory or may not be traced")]
    Refused,
    /// A request on the child failed.
    #[error(transparent)]
    Trace(#[from] fits_tracer::error::Error),
    /// The child ended in the middle of a case.
    #[error("the child ended unexpectedly")]
    Ended,
    /// The software processor could not be set up.
    #[error("cannot set up the software processor: {0}")]
    Soft(String),
}
