//! The contract of a backend: what executes a program from its first instruction to its end and reports everything that retires.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fits_stats::client::{ClientError, StatsProcess};
use fits_stats::model::Translated;
use fits_stats::protocol::{Crash, Level};
use serde::{Deserialize, Serialize};

use crate::calls_made::{CallMade, CallsMade};
use crate::error::Error;
use crate::process::{Command, CpuPlan, CpuTime, Environment, StartError};

/// Executes programs and reports what they do.
///
/// # Contract
///
/// 1. **Start.** The program is started by [`Command::launch`] and nothing else: that is where semantics 1 is kept. On every
///    later `execve` of the target [`Environment::apply`] is called again.
/// 2. **One tracer.** The calling operating-system thread is the tracer; it is pinned by [`CpuPlan::pin_tracer`].
/// 3. **Behaviour unchanged.** Output, exit status, signals, files, timing aside: as natively with randomisation off. Every
///    address that the program sees is the native one. What cannot be done is refused by an error, never done wrongly.
/// 4. **Everything, once, in order.** Each instruction that retires is reported exactly once, in the order of its thread. An
///    instruction that faults has not retired. `int3` and `int1` are traps, not faults: they retire. A system call retires
///    when it returns, or when it is entered and never returns; one that the kernel interrupts and starts again retires and is
///    counted once. Handlers count.
/// 5. **Blocks.** They end as [`crate::step::BlockTracker`] says.
/// 6. **Threads** are numbered by creation, the first is 0; all are reported. Children of `fork` and `vfork` run free,
///    unless `follow_forks`: then they and their threads are numbered on as they are created.
/// 7. **Messages.** The statistics process has been told the level; the backend sends units, rows, events, `Exec`, and
///    `Mappings` (at the start, at an `Exec`, when executable memory appears, and at the end while the memory still exists). It does not send `Finish`: the
///    caller does, with the [`Outcome`].
/// 8. **Virtual reads.** In a controlled run `rdtsc` and `rdtscp` read a [`crate::process::VirtualTsc`], the processor number
///    is 0 (`rdtscp`, `rdpid`, `getcpu`, [`crate::process::virtual_cpuid`]), `rseq` answers `ENOSYS`, `getrandom` gives the bytes of
///    [`crate::process::VirtualRandom`], and `sched_getaffinity` answers [`CpuPlan::visible_mask`].
/// 9. **Signals to us** are passed on by [`crate::process::forward_signals`] and do not end us.
/// 10. **No process is left** when `run` returns, except children that ran free and outlived the target. When it returns an
///     error, the target and all its descendants have been ended.
/// 11. **The statistics process is watched**: when it dies, the target is ended and [`BackendError::Stats`] returned.
/// 12. [`Progress`] is moved on at least some times a second while the target computes.
pub trait Backend {
    /// The name on the command line and in `summary.json`.
    fn name(&self) -> &'static str;

    /// Runs `command` to its end.
    ///
    /// # Errors
    /// See [`BackendError`] and points 10 and 11 of the contract. A target that crashes or is killed is no error.
    fn run(
        &mut self,
        command: &Command,
        options: &RunOptions,
        stats: &mut StatsProcess,
    ) -> Result<Outcome, BackendError>;
}

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What is collected.
    pub level: Level,
    /// Whether the start is controlled.
    pub environment: Environment,
    /// Whether children of `fork` and `vfork` are traced too.
    pub follow_forks: bool,
    /// Who runs where.
    pub cpus: CpuPlan,
    /// Instructions retired so far, for whoever wants to look.
    pub progress: Arc<Progress>,
    /// Where the system calls of the run are written down, if anybody wants them.
    pub calls: Option<Arc<CallsMade>>,
    /// Bytes of code cache that the translator uses near each module; as many as it has if this is absent. With few it has to begin anew often.
    pub code_cache: Option<u64>,
}

impl RunOptions {
    /// The usual: children run free, nothing is written down.
    #[must_use]
    pub fn new(level: Level, environment: Environment, cpus: CpuPlan) -> Self {
        Self {
            level,
            environment,
            follow_forks: false,
            cpus,
            progress: Arc::default(),
            calls: None,
            code_cache: None,
        }
    }

    /// Writes a system call down.
    pub fn note_call(&self, call: CallMade) {
        if let Some(calls) = &self.calls {
            calls.add(call);
        }
    }
}

/// How far a run has come.
#[derive(Debug, Default)]
pub struct Progress {
    instructions: AtomicU64,
}

impl Progress {
    /// Instructions retired so far, possibly a little less.
    #[must_use]
    pub fn instructions(&self) -> u64 {
        self.instructions.load(Ordering::Relaxed)
    }

    /// Moves on.
    pub fn add(&self, instructions: u64) {
        self.instructions.fetch_add(instructions, Ordering::Relaxed);
    }
}

/// How the target ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Signaled {
        /// The signal.
        signal: i32,
        /// Whether a core was dumped.
        core: bool,
    },
}

/// What is known when a run is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How the target ended.
    pub ended: Ended,
    /// Where, when it was a signal caused by an instruction of its own.
    pub crash: Option<Crash>,
    /// The file that was executed.
    pub executable: PathBuf,
    /// Its process number.
    pub pid: i32,
    /// Wall-clock seconds from its first instruction to its end.
    pub wall_seconds: f64,
    /// Its processor time.
    pub cpu: CpuTime,
    /// What was translated, if the backend translates.
    pub translated: Option<Translated>,
    /// What the reader of the statistics should know.
    pub warnings: Vec<String>,
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The program was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Tracing failed.
    #[error(transparent)]
    Trace(#[from] Error),
    /// The statistics process is gone.
    #[error(transparent)]
    Stats(#[from] ClientError),
    /// The backend itself failed.
    #[error("the backend failed: {0}")]
    Engine(String),
    /// Two runs of the program were not the same.
    #[error(
        "the program is not reproducible: {0}; fits golden --verify names the first thing that differs"
    )]
    NotReproducible(String),
    /// The program did something that the backend cannot carry out.
    #[error("{what} at {pc:#x} is not supported by the {backend} backend")]
    Unsupported {
        /// The instruction or system call.
        what: String,
        /// Where.
        pc: u64,
        /// The backend.
        backend: &'static str,
    },
}
