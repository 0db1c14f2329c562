//! The contract of an engine for fault injection: what brings a program to a moment of its run, and finds moments by what happens there.
//!
//! An engine knows nothing of faults. It hands over a [`Live`] process that stands at the moment, in the state that it has natively;
//! whoever injects goes on from there.

use std::path::PathBuf;

use fits_stats::client::StatsProcess;
use fits_stats::protocol::{Crash, ThreadNumber};
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Ended, Outcome};
use crate::live::Live;
use crate::live::checkpoint::Standing;
use crate::process::{Command, CpuPlan, CpuTime, Environment};

/// A point of a run: `thread` has retired `index` instructions, and has not begun the next one (semantics, section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Number of the thread, in order of creation; the first is 0.
    pub thread: ThreadNumber,
    /// Instructions that it has retired.
    pub index: u64,
}

/// How memory is accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Access {
    /// By a load.
    Read,
    /// By a store.
    Write,
}

/// What names a moment of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Landmark {
    /// The moment itself; finding it tells what stands there.
    Index(Moment),
    /// Before the instruction at `address` begins for the `count`-th time (from 1) in `thread`.
    Arrival {
        /// The thread.
        thread: ThreadNumber,
        /// Address of an instruction.
        address: u64,
        /// Which arrival, from 1.
        count: u64,
    },
    /// Before the instruction that makes the `count`-th access (from 1) of `thread` that touches a byte of `address .. address + bytes`. All
    /// iterations of a `rep` instruction together are one access; what the kernel does in a system call is none.
    Access {
        /// The thread.
        thread: ThreadNumber,
        /// Address of the first byte.
        address: u64,
        /// How many bytes, from 1 to 8.
        bytes: u8,
        /// Loads or stores.
        access: Access,
        /// Which access, from 1.
        count: u64,
    },
    /// Before the `syscall` instruction that makes the `count`-th call (from 1) of system call `number` in `thread`.
    Call {
        /// The thread.
        thread: ThreadNumber,
        /// Number of the system call.
        number: u64,
        /// Which call, from 1.
        count: u64,
    },
}

/// Where a [`Landmark`] lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The moment.
    pub moment: Moment,
    /// Address of the instruction that comes next.
    pub pc: u64,
    /// How often the thread has arrived at `pc`, this time included: [`Landmark::Arrival`] with this count is the same moment. 0 if that was not counted,
    /// since the start was not controlled and `pc` is another one in the next run.
    pub arrivals: u64,
}

/// How to run.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Whether the start is controlled.
    pub environment: Environment,
    /// Who runs where.
    pub cpus: CpuPlan,
    /// What ends a run that does not end by itself.
    pub limits: Limits,
}

/// What a program may use before it is ended. `None`: no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Seconds of processor time of the process, its threads and what it has waited for.
    pub cpu_seconds: Option<f64>,
    /// Seconds of wall-clock time.
    pub wall_seconds: Option<f64>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// How.
    pub how: HowEnded,
    /// Where, when it was a signal caused by an instruction of its own.
    pub crash: Option<Crash>,
    /// The file that was executed.
    pub executable: PathBuf,
    /// Its processor time (with its threads and the children that it has waited for).
    pub cpu: CpuTime,
    /// Wall-clock seconds from its first instruction to its end.
    pub wall_seconds: f64,
    /// Instructions that each thread retired, where they were counted (empty otherwise).
    pub instructions: Vec<u64>,
    /// What the reader should know.
    pub warnings: Vec<String>,
}

/// How a program ended, or was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum HowEnded {
    /// By itself.
    Ended(Ended),
    /// It used more processor time than allowed, and was killed.
    CpuLimit,
    /// It took more wall-clock time than allowed, and was killed.
    WallLimit,
}

/// A run to a moment.
#[derive(Debug)]
pub enum Reached {
    /// The program stands there.
    At(Box<Live>),
    /// It ended before.
    Ended(End),
}

/// Looks at a run at its moments; false ends it there.
pub type Visit<'a> = dyn FnMut(Moment, &mut Standing<'_>) -> Result<bool, BackendError> + 'a;

/// A process that was let go on to its end while statistics were collected.
#[derive(Debug, Clone, PartialEq)]
pub struct Collected {
    /// How it ended, or was ended.
    pub how: HowEnded,
    /// What is known of it.
    pub outcome: Outcome,
}

/// Brings programs to moments.
///
/// Points 1, 2, 3, 8, 9 and 10 of the contract of [`crate::backend::Backend`] hold here too. Two engines that are given the same command
/// find the same moments, and hand over the same state: registers, vector state, memory and signal masks of all threads.
pub trait Engine {
    /// The name on the command line and in results.
    fn name(&self) -> &'static str;

    /// Runs the program to its end, counting the instructions of each thread.
    ///
    /// # Errors
    /// See [`BackendError`]. A program that crashes or uses up a limit is no error.
    fn count(&mut self, command: &Command, options: &EngineOptions) -> Result<End, BackendError>;

    /// Runs the program as far as needed to find all landmarks. `None`: the program ended before.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn locate(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        landmarks: &[Landmark],
    ) -> Result<Vec<Option<Found>>, BackendError>;

    /// Whether it can [`Engine::walk`].
    fn walks(&self) -> bool {
        false
    }

    /// Runs the program once, past all these moments of its first thread, which are indices in rising order, and shows it at each. Those that it
    /// does not come to are left out.
    ///
    /// # Errors
    /// See [`BackendError`], and when this engine does not walk.
    fn walk(
        &mut self,
        _command: &Command,
        _options: &EngineOptions,
        _moments: &[u64],
        _visit: &mut Visit<'_>,
    ) -> Result<(), BackendError> {
        let message = format!("the engine {} does not walk past moments", self.name());
        Err(BackendError::Engine(message))
    }

    /// Runs the program to a moment.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn reach(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moment: Moment,
    ) -> Result<Reached, BackendError>;

    /// Runs the program to a moment that has been found. The same as [`Engine::reach`], perhaps by a faster way.
    ///
    /// # Errors
    /// See [`BackendError`].
    fn reach_found(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        found: &Found,
    ) -> Result<Reached, BackendError> {
        self.reach(command, options, found.moment)
    }

    /// Lets a process that stands at a moment go on to its end, and tells the statistics process what it executes from there on. `executed` are the
    /// addresses of instructions that it has executed before, and that count as well. Afterwards the statistics process can be told to finish.
    ///
    /// # Errors
    /// See [`BackendError`]; [`BackendError::Unsupported`] for processes that cannot be taken over. No process is left.
    fn collect(
        &mut self,
        live: Live,
        executed: &[u64],
        options: &EngineOptions,
        stats: &mut StatsProcess,
    ) -> Result<Collected, BackendError> {
        let _ = (executed, options, stats);
        let pc = live.registers()?.rip;
        Err(BackendError::Unsupported {
            what: "collecting statistics from a moment on".to_owned(),
            pc,
            backend: self.name(),
        })
    }
}
