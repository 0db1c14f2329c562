//! The side of fits that has workers: starts them, gives them jobs, reads their answers.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::worker::{Answer, Setup};

/// Why a worker is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It could not be started.
    #[error("cannot start a worker process: {0}")]
    Start(io::Error),
    /// It said why it cannot work.
    #[error("{0}")]
    Refused(String),
    /// It died, or talks nonsense.
    #[error("the worker process is lost: {0}")]
    Lost(io::Error),
}

/// A worker process. Dropping it ends it and all that it runs.
#[derive(Debug)]
pub struct Worker {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts one: `executable` is fits, whose hidden subcommand `worker` serves.
    ///
    /// # Errors
    /// When it can't be started, or cannot do what the setup asks.
    pub fn start(executable: &Path, setup: &Setup) -> Result<Self, ClientError> {
        let mut command = Command::new(executable);
        command.arg("worker");
        if let Some(variables) = &setup.environment {
            command.env_clear();
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(ClientError::Start)?;
        let missing = || ClientError::Start(io::ErrorKind::BrokenPipe.into());
        let to = child.stdin.take().ok_or_else(missing)?;
        let from = child.stdout.take().ok_or_else(missing)?;
        let mut worker = Self {
            child,
            to: Some(to),
            from: BufReader::new(from),
        };
        match worker.exchange(setup)? {
            Answer::Done(()) => Ok(worker),
            Answer::Failed(sentence) => Err(ClientError::Refused(sentence)),
        }
    }

    /// Its process number.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a job and waits for the answer; the inner error is the job's, in one sentence.
    ///
    /// # Errors
    /// When the worker is lost.
    pub fn request<J: Serialize, R: DeserializeOwned>(
        &mut self,
        job: &J,
    ) -> Result<Result<R, String>, ClientError> {
        Ok(match self.exchange(job)? {
            Answer::Done(done) => Ok(done),
            Answer::Failed(sentence) => Err(sentence),
        })
    }

    fn exchange<J: Serialize, R: DeserializeOwned>(
        &mut self,
        job: &J,
    ) -> Result<Answer<R>, ClientError> {
        self.send(job)?;
        let answer = self.line()?;
        serde_json::from_str(&answer).map_err(|error| ClientError::Lost(error.into()))
    }

    /// Gives it a job without waiting for the answer.
    pub(crate) fn send<J: Serialize>(&mut self, job: &J) -> Result<(), ClientError> {
        let lost = |error: serde_json::Error| ClientError::Lost(error.into());
        let mut line = serde_json::to_vec(job).map_err(lost)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// A byte for the job under way.
    pub(crate) fn nudge(&mut self) -> Result<(), ClientError> {
        self.write(b"\n")
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let to = self
            .to
            .as_mut()
            .ok_or(ClientError::Lost(io::ErrorKind::BrokenPipe.into()))?;
        to.write_all(bytes).map_err(ClientError::Lost)
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> Result<String, ClientError> {
        let mut answer = String::new();
        let read = self
            .from
            .read_line(&mut answer)
            .map_err(ClientError::Lost)?;
        if read == 0 {
            return Err(ClientError::Lost(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(answer)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // At the end of its input it ends by itself; whatever it still runs dies with it.
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
