//! Pages that the program read and wrote, and the names of their regions.

use serde::{Deserialize, Serialize};

/// Size of the pages that accesses are counted by.
pub const PAGE_SIZE: u64 = 4096;

/// Accesses to one page. An access that crosses into another page counts for each of the two,
/// its bytes where they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageStatistics {
    /// Read accesses.
    pub reads: u64,
    /// Write accesses.
    pub writes: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
}

impl PageStatistics {
    /// Adds the counts of the same page from elsewhere.
    pub fn merge(&mut self, other: PageStatistics) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.bytes_read += other.bytes_read;
        self.bytes_written += other.bytes_written;
    }
}

/// A named range of addresses: `[stack]`, `[heap]`, the path of a mapped file, `anonymous`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// What lies there.
    pub name: String,
}
