//! What the supervisor tells the statistics process.
//!
//! Three ways lead into `fits-stats`, all carrying [`Event`]s:
//! 1. the control socket: each message is a little-endian `u32` length and a postcard-encoded [`Message`];
//! 2. the streams: shared memory in which translated code writes rows, and the supervisor, in between,
//!    *inline events*: a row of unit 0 whose header is followed by a `u32` length and a
//!    postcard-encoded [`Event`], padded to a multiple of 8 bytes;
//! 3. what is too long for a row goes over the socket as [`Message::Long`] with a number, which the inline event
//!    then has instead (see [`crate::ring::event`]).
//!
//! Order matters within one thread (lifetimes follow it) and not between threads.

use crate::model::RunInfo;
use crate::template::{Prefix, UnitId, UnitTemplate};
use serde::{Deserialize, Serialize};

pub use crate::model::Level;

/// Number of a thread of the target, in order of creation, first 0.
pub type ThreadNumber = u32;

/// A message on the control socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Message {
    /// The first message.
    Start {
        /// Level of the run.
        level: Level,
    },
    /// A unit was translated; comes before any row or count that names it.
    Unit(Box<UnitTemplate>),
    /// Something happened on a thread that has no stream (`counts`, or the ptrace backend).
    Event(ThreadNumber, Event),
    /// Several of them, in order.
    Events(ThreadNumber, Vec<Event>),
    /// An event of a thread that has a stream, too long for a row: the inline event with this number stands for it.
    Long(u64, Event),
    /// Complete executions of units by a thread, since the last such message (level `counts`).
    Executions(ThreadNumber, Vec<(UnitId, u64)>),
    /// What is mapped where; sent at the start, after each change of executable mappings, and at the end.
    Mappings(Vec<Mapping>),
    /// The program was replaced by `exec`: addresses from here on belong to the new image.
    Exec,
    /// The run is over: read the streams to their end, then write the folder and answer.
    Finish(Box<Finish>),
}

/// The answer of `fits-stats` to [`Message::Finish`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// The folder was written; the text is the summary for the terminal.
    Written {
        /// Rendered summary.
        summary: String,
    },
    /// It could not be written; nothing is left of it. One sentence.
    Failed(String),
}

/// Something that happened on one thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// The thread's fs base is this from here on.
    FsBase(u64),
    /// One instruction retired outside translated code.
    Step(Box<Step>),
    /// A unit was interrupted (a fault at its instruction number `executed`, or a signal): the instructions before
    /// that one retired. Its basic block ends there.
    Partial {
        /// The unit.
        unit: UnitId,
        /// How many of its instructions retired.
        executed: u32,
        /// Its unfinished row; empty in level `counts`.
        row: Vec<u8>,
    },
    /// A basic block ended whose last instruction was a [`Step`], or that was cut between two units.
    Block(Prefix),
    /// A system call returned (or will never return: `error` is false then).
    Syscall {
        /// Its number.
        number: u64,
        /// It returned an error.
        error: bool,
    },
}

/// One retired instruction with its operand values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Guest address.
    pub pc: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its operand values, one after the other, in the order of [`crate::facts::Facts::operands`] and, within each,
    /// read before written; each as many bytes as the operand has. Empty in level `counts`.
    pub values: Vec<u8>,
    /// Its memory accesses in the order of [`crate::facts::Facts::memory`]; empty in level `counts`.
    pub memory: Vec<StepMemory>,
}

/// One memory access of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepMemory {
    /// The lowest byte touched.
    pub address: u64,
    /// Bytes read, by all iterations together.
    pub read: u64,
    /// Bytes written, by all iterations together.
    pub written: u64,
    /// Number of accesses (iterations of a `rep`, otherwise 1).
    pub count: u64,
}

/// One line of the target's memory map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file.
    pub offset: u64,
    /// It is executable.
    pub executable: bool,
    /// File path, `[heap]`, `[stack]`, or empty.
    pub name: String,
}

impl Mapping {
    /// It is executable and has a file.
    pub fn is_code(&self) -> bool {
        self.executable && self.name.starts_with('/')
    }
}

/// What to write where at the end of the run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// Where to write; must not exist or be empty, unless an earlier result may be replaced.
    pub out: std::path::PathBuf,
    /// An earlier result in `out` may be replaced.
    pub replace: bool,
    /// What the summary says beside the statistics. The statistics process adds its own warnings.
    pub info: RunInfo,
}

/// The signal that ended the target, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crash {
    /// Signal number.
    pub signal: i32,
    /// `si_code`.
    pub code: i32,
    /// Fault address.
    pub address: u64,
    /// Guest address of the instruction.
    pub pc: u64,
    /// Thread.
    pub thread: ThreadNumber,
}
