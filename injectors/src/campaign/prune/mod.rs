//! What is known without an experiment: what becomes of changed bits in the fault-free run.
//!
//! - `ahead`: the fate of the bits of single faults, by stepping on from their moments; `process`: what is stepped.
//! - `intervals`: the fate of every bit of registers and memory at every instruction of a window; `points`: rows of a plan made of that.
//! - `classes`: faults that have one outcome.
//! - `validate`: verdicts against real experiments.
//! - `jobs`: the same, asked of a worker.
//!
//! The rules, what is refused, and why they hold: `docs/design/pruning.md`. What an instruction reads and overwrites is decided in
//! `drive::touch` alone.

mod ahead;
mod classes;
mod intervals;
pub(crate) mod jobs;
mod points;
mod process;
mod validate;

use serde::{Deserialize, Serialize};

use super::point::Verdict;
use crate::bits::Bits;

pub use ahead::{AHEAD, look_ahead};
pub use intervals::{LONGEST_WINDOW, MEMORY_AT_MOST, intervals};
pub use points::points_of;
pub use validate::{Disagreement, validate};

/// What becomes of the bits that a fault changes, if nothing but the fault-free run follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// All of them are overwritten before anything can read them. The last of them by the instruction with this index.
    Overwritten {
        /// Its index.
        index: u64,
    },
    /// The first instruction that may read one of them, or treats it in any other way than by overwriting it for certain.
    Read {
        /// Its index.
        index: u64,
        /// Its address.
        pc: u64,
    },
    /// The fault changes nothing for as long as it lasts.
    Constant,
    /// It was not found out.
    Unknown,
}

impl Fate {
    /// The verdict that this is, if it is one: the fault is masked.
    #[must_use]
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::Overwritten { .. } => Some(Verdict::Overwritten),
            Self::Constant => Some(Verdict::Constant),
            Self::Read { .. } | Self::Unknown => None,
        }
    }
}

/// What is known of a fault before it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Foreseen {
    /// What becomes of what it changes.
    pub fate: Fate,
    /// Faults with the same number have the same outcome. `None`: nothing is known of that.
    pub class: Option<u64>,
}

/// Instructions of one thread: moments `from` to `to - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Number of the thread.
    pub thread: u32,
    /// Index of the first moment.
    pub from: u64,
    /// Index after the last moment.
    pub to: u64,
}

/// Where the faults of an exhaustive campaign may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locations {
    /// Registers by name, as faults name them. x87 registers are refused: their names move.
    pub registers: Vec<String>,
    /// Memory: first address and bytes.
    pub memory: Vec<(u64, u64)>,
}

/// A range of moments in which a flip of any of some bits has the same fate: nothing touches them in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// The location as a fault names it: `reg:rax`, `mem:0x404000`.
    pub location: String,
    /// The bits of it.
    pub bits: Bits,
    /// What they hold meanwhile.
    pub value: Bits,
    /// Index of the first moment.
    pub from: u64,
    /// Index after the last one.
    pub to: u64,
    /// What becomes of each bit that is changed at one of these moments.
    pub fate: Fate,
}

impl Interval {
    /// How many points of the fault space it has: moments × bits.
    #[must_use]
    pub fn points(&self) -> u64 {
        (self.to - self.from) * u64::from(self.bits.count())
    }
}
