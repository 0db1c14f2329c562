//! How registers and flags were used: the rows of `registers.csv`.

use serde::{Deserialize, Serialize};

/// How a register or flag was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterStatistics {
    /// Executions of instructions that read it.
    pub reads: u64,
    /// Executions of instructions that write it.
    pub writes: u64,
    /// Points (instructions of any thread) at which it held a value that was still to be read;
    /// 0 at level `counts`.
    pub live_points: u64,
}

impl RegisterStatistics {
    /// Adds the counts of the same register from elsewhere.
    pub fn merge(&mut self, other: RegisterStatistics) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.live_points += other.live_points;
    }
}
