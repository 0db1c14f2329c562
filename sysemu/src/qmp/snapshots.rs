//! States of the machine that clients keep and go back to, as jobs of the protocol. They live in memory, as long as the machine.

use serde_json::{Value, json};

use crate::machine::Machine;
use crate::qmp::action::SnapshotStep;
use crate::qmp::control::Control;
use crate::qmp::message::Failure;

/// States that are kept at a time: each may cost as much as guest memory.
const MOST: usize = 64;
/// Jobs that have ended and were not dismissed.
const MOST_JOBS: usize = 1024;

impl Control {
    /// Does it now, between two instructions; what became of it is the job's.
    pub(crate) fn snapshot_job(
        &mut self,
        machine: &mut Machine,
        step: SnapshotStep,
        job: &str,
        tag: &str,
    ) -> Result<(), Failure> {
        if self.jobs.iter().any(|known| known["id"] == job) {
            return Err(Failure::new(format!("Job ID '{job}' already in use")));
        }
        if self.jobs.len() == MOST_JOBS {
            return Err(Failure::new(format!(
                "{MOST_JOBS} jobs were not dismissed: dismiss some with job-dismiss"
            )));
        }
        for status in ["created", "running"] {
            self.job_status(job, status);
        }
        let result = self.snapshot(machine, step, tag);
        let kind = match step {
            SnapshotStep::Save => "snapshot-save",
            SnapshotStep::Load => "snapshot-load",
            SnapshotStep::Delete => "snapshot-delete",
        };
        let mut ended = json!({
            "id": job, "type": kind, "status": "concluded", "current-progress": 1, "total-progress": 1,
        });
        let last = match result {
            Ok(()) => ["waiting", "pending", "concluded"].as_slice(),
            Err(failure) => {
                ended["error"] = failure.sentence.into();
                ["aborting", "concluded"].as_slice()
            }
        };
        self.jobs.push(ended);
        for status in last {
            self.job_status(job, status);
        }
        Ok(())
    }

    fn job_status(&mut self, job: &str, status: &str) {
        self.server.event(
            "JOB_STATUS_CHANGE",
            Some(json!({"id": job, "status": status})),
        );
    }

    /// Keeps, takes or forgets a state.
    pub(crate) fn snapshot(
        &mut self,
        machine: &mut Machine,
        step: SnapshotStep,
        tag: &str,
    ) -> Result<(), Failure> {
        let absent = || Failure::new(format!("Snapshot '{tag}' does not exist"));
        match step {
            SnapshotStep::Save => {
                if self.snapshots.contains_key(tag) {
                    return Err(Failure::new(format!("Snapshot '{tag}' already exists")));
                }
                if self.snapshots.len() == MOST {
                    return Err(Failure::new(format!(
                        "{MOST} snapshots are kept already: delete some with snapshot-delete"
                    )));
                }
                let taken = machine
                    .snapshot()
                    .map_err(|error| Failure::new(error.to_string()))?;
                self.snapshots.insert(tag.to_owned(), taken);
            }
            SnapshotStep::Load => {
                let kept = self.snapshots.get(tag).ok_or_else(absent)?;
                machine
                    .load(kept)
                    .map_err(|error| Failure::new(error.to_string()))?;
                self.carrier.moved(machine);
            }
            SnapshotStep::Delete => {
                self.snapshots.remove(tag).ok_or_else(absent)?;
            }
        }
        Ok(())
    }

    /// Forgets a job.
    pub(crate) fn dismiss(&mut self, job: &str) -> Result<Value, Failure> {
        let at = self.jobs.iter().position(|known| known["id"] == job);
        let at = at.ok_or_else(|| Failure::new(format!("Job not found: {job}")))?;
        self.jobs.remove(at);
        self.job_status(job, "null");
        Ok(json!({}))
    }
}
