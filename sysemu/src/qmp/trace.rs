//! The timed trace of a control socket: what came and what went, each with the virtual time at which it did.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// How much is traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    Nothing,
    /// What is done to the machine, and events.
    Actions,
    /// Every message too.
    Messages,
}

/// A trace.
#[derive(Default)]
pub struct Trace {
    level: Level,
    output: Option<Box<dyn Write + Send>>,
    /// The virtual time, in nanoseconds.
    pub(crate) now: u64,
}

impl std::fmt::Debug for Trace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trace")
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

impl Trace {
    /// A trace into a file, which is emptied.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn file(path: &Path, level: Level) -> std::io::Result<Self> {
        let output = BufWriter::new(File::create(path)?);
        Ok(Trace::to(Box::new(output), level))
    }

    /// A trace to anything.
    #[must_use]
    pub fn to(output: Box<dyn Write + Send>, level: Level) -> Self {
        Trace {
            level,
            output: Some(output),
            now: 0,
        }
    }

    /// A line, if that much is asked for. A trace that cannot be written ends; the machine does not.
    pub(crate) fn line(&mut self, level: Level, text: impl FnOnce() -> String) {
        if level > self.level {
            return;
        }
        let Some(output) = &mut self.output else {
            return;
        };
        let written = writeln!(output, "{}ns: {}", self.now, text()).and_then(|()| output.flush());
        if let Err(error) = written {
            eprintln!("fits: the trace of the control socket ends here: {error}");
            self.output = None;
        }
    }
}
