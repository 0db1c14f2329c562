//! Why the collector gives up.

use crate::template::UnitId;

/// What the supervisor sent, or what lies in a stream, makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// A unit's template contradicts itself.
    #[error("the description of unit {unit} is inconsistent: {what}")]
    Unit {
        /// The unit.
        unit: UnitId,
        /// What is wrong.
        what: &'static str,
    },
    /// A unit that was never described.
    #[error("unit {0} was executed but never described")]
    UnknownUnit(UnitId),
    /// A stream has something other than a row of a known unit or an event.
    #[error(
        "the record of thread {thread} is damaged at byte {offset} of a chunk: did the program write to fits' memory?"
    )]
    Row {
        /// The thread.
        thread: u32,
        /// Where in the chunk.
        offset: usize,
    },
    /// An event contradicts the facts about its instruction.
    #[error("an event at {pc:#x} is inconsistent: {what}")]
    Event {
        /// Where it happened.
        pc: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A worker ended early.
    #[error("a worker of the statistics process has ended")]
    Worker,
}
