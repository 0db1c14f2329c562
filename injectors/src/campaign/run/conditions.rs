//! What every worker of a campaign needs.

use std::path::PathBuf;
use std::time::Duration;

use crate::campaign::file::Start;
use crate::experiment::job::ReferenceReport;
use crate::experiment::session::{Isolate, Manner, Session, SessionError};
use crate::experiment::worker::Setup;

/// How experiments of a campaign are made.
pub struct Conditions<'a> {
    /// The executable of fits.
    pub executable: PathBuf,
    /// What a worker is told first; its store and its place are each worker's own.
    pub setup: Setup,
    /// Whether runs leave the host's namespaces.
    pub isolate: Isolate,
    /// How experiments are made and judged.
    pub manner: Manner,
    /// The run without faults, as it was when the campaign was planned.
    pub report: ReferenceReport,
    /// Whether it must be the same again: not if the program is known not to be reproducible.
    pub reproducible: bool,
    /// Where runs begin.
    pub start: Start,
    /// Whether runs are in namespaces of their own.
    pub isolated: bool,
    /// A folder for checkpoints, which is made and removed.
    pub checkpoints: PathBuf,
    /// Instructions of each thread of the fault-free run.
    pub instructions: Vec<u64>,
    /// A folder for what workers keep while they work.
    pub scratch: PathBuf,
    /// How long a worker may be silent beyond five times what a run may take.
    pub silence: Duration,
    /// The command that repeats an experiment with these faults.
    pub replay: &'a (dyn Fn(&[String]) -> String + Sync),
}

impl Conditions<'_> {
    /// Starts the worker at `place`.
    ///
    /// # Errors
    /// When there can be none, or the program does not do what it did when the campaign was planned.
    pub(super) fn session(&self, place: usize) -> Result<Session, SessionError> {
        let store = self.scratch.join(format!("job-{place}"));
        // What an earlier worker has left.
        let _ = std::fs::remove_dir_all(&store);
        std::fs::create_dir_all(&store).map_err(|error| {
            SessionError::Failed(format!("cannot make {}: {error}", store.display()))
        })?;
        let mut setup = self.setup.clone();
        setup.store = store.into();
        setup.place = place;
        let mut session =
            Session::start(&self.executable, setup, self.isolate, self.manner.clone())?;
        session.know(self.instructions.clone());
        match session.renew(&self.report)? {
            Err(what) if self.reproducible => Err(SessionError::Reference(format!(
                "it is not the one that the campaign was planned with: {what}"
            ))),
            Ok(()) | Err(_) => Ok(session),
        }
    }
}
