//! Who collects what the supervisor reports: the statistics process, or nobody.

use fits_stats::client::{ClientError, StatsProcess};
use fits_stats::protocol::Message;

/// Who collects.
#[derive(Debug)]
pub(super) enum Collector<'a> {
    /// The statistics process, through messages.
    Messages(&'a mut StatsProcess),
    /// The statistics process, through rows that translated code writes, and messages.
    Rows(&'a mut StatsProcess),
    /// Nobody.
    Nobody,
}

impl Collector<'_> {
    /// The statistics process, if there is one.
    fn process(&mut self) -> Option<&mut StatsProcess> {
        match self {
            Self::Messages(process) | Self::Rows(process) => Some(process),
            Self::Nobody => None,
        }
    }

    /// The statistics process, if translated code writes rows for it.
    pub(super) fn rows(&self) -> Option<&StatsProcess> {
        match self {
            Self::Rows(process) => Some(process),
            Self::Messages(_) | Self::Nobody => None,
        }
    }

    /// As [`Collector::rows`].
    pub(super) fn rows_mut(&mut self) -> Option<&mut StatsProcess> {
        match self {
            Self::Rows(process) => Some(process),
            Self::Messages(_) | Self::Nobody => None,
        }
    }

    /// Sends a message, if anybody wants it.
    pub(super) fn send(&mut self, message: impl FnOnce() -> Message) -> Result<(), ClientError> {
        match self.process() {
            Some(process) => process.send(&message()),
            None => Ok(()),
        }
    }

    /// Fails if the statistics process is gone.
    pub(super) fn check(&mut self) -> Result<(), ClientError> {
        self.process().map_or(Ok(()), StatsProcess::check)
    }

    /// Whether `pid` is the statistics process.
    pub(super) fn is(&mut self, pid: i32) -> bool {
        self.process()
            .is_some_and(|process| process.pid() as i32 == pid)
    }
}
