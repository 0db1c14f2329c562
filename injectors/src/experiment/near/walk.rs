//! The walker's job: one run of the program, a checkpoint at each moment.
//!
//! While the job runs, its standard output and input are the worker's: it says line by line what there is ([`Said`]), and each byte that comes
//! means that one checkpoint has been released.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{Engine, EngineOptions, Moment};
use fits_tracer::live::checkpoint::{self, Standing};
use fits_tracer::process::Command;

use super::Said;
use crate::experiment::worker::Inside;

/// The name of the file in a checkpoint's folder that holds the process.
pub(crate) const PROCESS: &str = "process";

/// Walks past `moments`, indices in rising order; at most `ahead` checkpoints wait at a time.
///
/// # Errors
/// When the program cannot be run.
pub(crate) fn walk(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    moments: &[u64],
    ahead: usize,
    inside: &Inside,
) -> Result<(), BackendError> {
    let mut walk = Walk {
        inside,
        ahead,
        waiting: 0,
        why: None,
    };
    let lost =
        |error: io::Error| BackendError::Engine(format!("nobody listens to the walk: {error}"));
    engine.walk(command, options, moments, &mut |moment, standing| {
        walk.visit(moment, standing)?.map_err(lost)
    })?;
    let why = walk.why;
    let rest = why.unwrap_or_else(|| "the fault-free run does not come there".to_owned());
    say(&Said::Rest(rest)).map_err(lost)?;
    // What is still released now is not for the worker to read.
    while released().map_err(lost)? {}
    Ok(())
}

struct Walk<'a> {
    inside: &'a Inside,
    ahead: usize,
    waiting: usize,
    /// Why there are no checkpoints any more.
    why: Option<String>,
}

impl Walk<'_> {
    /// Leaves a checkpoint. Whether the walk goes on; the inner error is that nobody listens.
    fn visit(
        &mut self,
        moment: Moment,
        standing: &mut Standing<'_>,
    ) -> Result<io::Result<bool>, BackendError> {
        if let Some(sentence) = standing.account.hindrance() {
            self.why = Some(sentence.to_owned());
            return Ok(Ok(false));
        }
        let said = match self.leave(moment.index, standing)? {
            Ok(()) => Said::Checkpoint(moment.index),
            Err(sentence) => Said::Fresh(moment.index, sentence),
        };
        self.waiting += usize::from(said == Said::Checkpoint(moment.index));
        Ok(say(&said).and_then(|()| self.make_room()))
    }

    fn make_room(&mut self) -> io::Result<bool> {
        while self.waiting >= self.ahead {
            if !released()? {
                return Ok(false);
            }
            self.waiting -= 1;
        }
        Ok(true)
    }

    fn leave(
        &self,
        index: u64,
        standing: &mut Standing<'_>,
    ) -> Result<Result<(), String>, BackendError> {
        let checkpoint = match standing.capture()? {
            Ok(checkpoint) => checkpoint,
            Err(refused) => return Ok(Err(refused.0)),
        };
        let pid = standing.stopped.tid();
        let folder = Beside::make(self.inside.store(), index);
        let left = folder.and_then(|folder| {
            checkpoint::write(&checkpoint, &folder.path.join(PROCESS))?;
            let saved = self
                .inside
                .save(pid, standing.account.told_files(), &folder.path)?;
            if saved.is_ok() {
                folder.settle()?;
            }
            Ok(saved)
        });
        Ok(match left {
            Ok(Ok(())) => Ok(()),
            Ok(Err(sentence)) => Err(sentence),
            Err(error) => Err(format!("its checkpoint could not be written ({error})")),
        })
    }
}

/// A folder that gets its name when it is whole.
struct Beside {
    path: PathBuf,
    name: PathBuf,
}

impl Beside {
    fn make(store: &Path, index: u64) -> io::Result<Self> {
        let folder = Self {
            path: store.join(format!("{index}.new")),
            name: store.join(index.to_string()),
        };
        fs::create_dir(&folder.path)?;
        Ok(folder)
    }

    fn settle(self) -> io::Result<()> {
        fs::rename(&self.path, &self.name)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // It is not there any more if it is whole.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn say(said: &Said) -> io::Result<()> {
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

/// Waits until one more is released; false at the end. (The worker that we were forked from holds the lock of our standard input.)
fn released() -> io::Result<bool> {
    let mut byte = [0];
    loop {
        match nix::unistd::read(io::stdin(), &mut byte) {
            Ok(read) => return Ok(read == 1),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
