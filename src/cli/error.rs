//! What a command can fail with, and the exit status for it.

use std::io;
use std::path::{Path, PathBuf};

use fits_injectors::campaign::export::ExportError;
use fits_injectors::campaign::file::FileError;
use fits_injectors::campaign::report::load::ReportError;
use fits_injectors::campaign::run::RunError;
use fits_injectors::campaign::sampling::PlanError;
use fits_injectors::campaign::store::StoreError;
use fits_injectors::experiment::compare::Different;
use fits_injectors::experiment::record::ReadError;
use fits_injectors::experiment::session::SessionError;
use fits_injectors::experiment::worker::WorkerError;
use fits_stats::client::ClientError;
use fits_stats::folder::FolderError;
use fits_stats::write::WriteError;
use fits_sysemu::snapshot::SnapshotError;
use fits_tracer::backend::BackendError;
use fits_tracer::process::StartError;

use crate::exit_code;

/// A failed command. The message is one sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Stats(#[from] ClientError),
    #[error("{0}")]
    NotWritten(String),
    #[error(transparent)]
    Destination(#[from] WriteError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Worker(#[from] WorkerError),
    #[error(transparent)]
    Results(#[from] ReadError),
    #[error(transparent)]
    Compared(#[from] Different),
    #[error(transparent)]
    CampaignFile(#[from] FileError),
    #[error("{0}")]
    Batch(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Campaign(#[from] RunError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error("{0}")]
    Kernel(String),
    #[error("{0}")]
    Machine(String),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the program cannot be run twice for --verify: {0}")]
    NotTwice(String),
}

impl CliError {
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Backend(BackendError::Start(error)) => match error {
                StartError::NotFound { .. } => exit_code::NOT_FOUND,
                StartError::NotAFile { .. }
                | StartError::NotExecutable { .. }
                | StartError::Unreadable { .. }
                | StartError::NotElf { .. }
                | StartError::DamagedElf { .. }
                | StartError::NotAProgram { .. }
                | StartError::ForeignArchitecture { .. }
                | StartError::MissingInterpreter { .. }
                | StartError::SetUid { .. }
                | StartError::Exec { .. } => exit_code::CANNOT_RUN,
                _ => exit_code::FAILED,
            },
            Self::Folder(_) | Self::Results(_) | Self::Compared(_) => exit_code::NOT_GOLDEN,
            Self::Store(error)
            | Self::Campaign(RunError::Store(error))
            | Self::Export(ExportError::Store(error))
            | Self::Report(ReportError::Store(error)) => match error {
                StoreError::Held { .. } => exit_code::HELD,
                StoreError::Database { .. } | StoreError::Io { .. } => exit_code::FAILED,
                _ => exit_code::USAGE,
            },
            Self::Campaign(RunError::Pruning { .. }) => exit_code::PRUNING,
            Self::Plan(PlanError::Oracle(_) | PlanError::Io { .. }) => exit_code::FAILED,
            Self::Plan(_)
            | Self::CampaignFile(FileError::Wrong(_))
            | Self::Report(ReportError::Empty(_)) => exit_code::USAGE,
            Self::Report(ReportError::Golden(_)) => exit_code::NOT_GOLDEN,
            Self::Usage(_) | Self::Session(SessionError::Wrong(_)) => exit_code::USAGE,
            Self::Snapshot(
                SnapshotError::File {
                    action: "write", ..
                }
                | SnapshotError::Host(_)
                | SnapshotError::Plugin { .. }
                | SnapshotError::Vetoed { .. },
            ) => exit_code::FAILED,
            Self::Session(SessionError::CannotRun(_)) | Self::Kernel(_) | Self::Snapshot(_) => {
                exit_code::CANNOT_RUN
            }
            Self::Session(SessionError::NotReproducible(_)) => exit_code::NOT_REPRODUCIBLE,
            _ => exit_code::FAILED,
        }
    }
}
