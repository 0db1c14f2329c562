//! Why a translated run failed.

use fits_stats::client::ClientError;
use fits_tracer::backend::BackendError;
use fits_tracer::process::StartError;

use crate::cache::CacheError;
use crate::translate::TranslateError;

/// The name of this backend.
pub(super) const NAME: &str = "dbt";

/// A result of the supervisor.
pub(super) type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// What ends a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Trace(#[from] fits_tracer::Error),
    #[error(transparent)]
    Stats(#[from] ClientError),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Translate(#[from] TranslateError),
    #[error("{what} at {pc:#x} is not supported")]
    Unsupported { what: String, pc: u64 },
    #[error("cannot map {what} into the program: {errno}")]
    Map {
        what: &'static str,
        errno: nix::errno::Errno,
    },
    /// Of whoever looks at a walk.
    #[error(transparent)]
    Visit(BackendError),
}

impl RuntimeError {
    /// Whether the thread had ended, which a wait will report.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Trace(error) if error.is_gone())
    }

    /// Whether the cache must be flushed.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Cache(CacheError::Full))
    }
}

impl From<RuntimeError> for BackendError {
    fn from(error: RuntimeError) -> Self {
        match error {
            RuntimeError::Start(error) => Self::Start(error),
            RuntimeError::Trace(error) => Self::Trace(error),
            RuntimeError::Stats(error) => Self::Stats(error),
            RuntimeError::Unsupported { what, pc } => Self::Unsupported {
                what,
                pc,
                backend: NAME,
            },
            RuntimeError::Visit(error) => error,
            error => Self::Engine(error.to_string()),
        }
    }
}
