//! Files whose code was mapped executable: where addresses get their symbols and lines from.

use serde::{Deserialize, Serialize};

/// A mapped part of a module, as a line of `/proc/PID/maps` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Offset in the file of the byte at `start`.
    pub file_offset: u64,
}

/// A file with code, and where it was mapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Path of the file.
    pub path: String,
    /// Its mapped parts (the executable ones suffice).
    pub segments: Vec<Segment>,
    /// Counts up when a range of addresses is reused: of two modules that cover an address, the
    /// one whose file has the executed bytes there counts, and else the one of the later generation.
    pub generation: u32,
}

impl Module {
    /// Offset in the file of the byte that was mapped at `address`.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|segment| (segment.start..segment.end).contains(&address))
            .map(|segment| address - segment.start + segment.file_offset)
    }
}
