//! What was injected: one line of JSON for each change, as it happens.

use std::io::Write;

use serde::Serialize;

/// One thing that was done.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Entry {
    /// The fault, with everything decided as it was written.
    pub fault: String,
    /// Instructions retired.
    pub instruction: u64,
    /// Virtual nanoseconds.
    pub time_ns: u64,
    /// The instruction pointer.
    pub rip: String,
    /// The root of the page tables.
    pub cr3: String,
    /// What was hit: a register, a physical address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub place: String,
    /// Its value before.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
    /// Its value after, read back.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// `injected`, what became of a machine check, or `not injected: ` and why.
    pub result: String,
}

/// Where entries go: all of them are kept, and written out if somebody wants them.
pub struct Log {
    entries: Vec<Entry>,
    out: Option<Box<dyn Write>>,
    failed: Option<std::io::Error>,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// An empty one.
    #[must_use]
    pub fn new(out: Option<Box<dyn Write>>) -> Self {
        Log {
            entries: Vec::new(),
            out,
            failed: None,
        }
    }

    /// Adds a line.
    pub(super) fn add(&mut self, entry: Entry) {
        if let Some(out) = &mut self.out {
            let line = serde_json::to_string(&entry).map_err(std::io::Error::from);
            let written = line.and_then(|line| {
                writeln!(out, "{line}")?;
                out.flush()
            });
            if let Err(error) = written {
                self.failed = Some(error);
                self.out = None;
            }
        }
        self.entries.push(entry);
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What went wrong while writing, if anything did.
    pub fn take_failure(&mut self) -> Option<std::io::Error> {
        self.failed.take()
    }
}
