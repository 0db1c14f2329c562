//! Carrying faults out on a live process, whichever engine has brought it to the moment.
//!
//! [`run`] does everything: to the first moment, the faults, the instructions in which they last or are followed, and natively to the end.
//!
//! - `session`: the loop over instructions while something has to be looked at.
//! - `native`: natively between accesses of memory that is watched; `ahead`: natively to the next instruction that can touch a changed register.
//! - `effect`: a fault that has begun: what it does now, and to every newly written value while it lasts.
//! - `instruction`: faults of one instruction, before and after it; `operands`: which of its operands is meant;
//!   `address`: an instruction executed against a wrong address.
//! - `track`: whether what was changed is read; `touch`: which bits an instruction reads and overwrites; `accesses`: its memory accesses;
//!   `calls`: what system calls do to registers and memory.
//! - `rejoin`: whether the run has come back to the state of the fault-free one, and can be ended early.
//! - `state`: all registers of a thread; `machine`: the process.
//!
//! **Self-proof.** Whatever is changed is read back, with all other registers or the neighbouring memory; an instruction executed in another way
//! must leave all registers alone that it does not write. What does not hold makes the experiment invalid, with the reason.

pub(crate) mod accesses;
mod address;
mod ahead;
mod calls;
pub(crate) mod effect;
pub(crate) mod instruction;
pub(crate) mod machine;
mod native;
pub(crate) mod operands;
pub(crate) mod rejoin;
mod session;
pub(crate) mod state;
pub(crate) mod touch;
mod track;

use fits_tracer::backend::BackendError;
use fits_tracer::engine::{End, Engine, EngineOptions, Found, Limits, Moment, Reached};
use fits_tracer::live::Live;
use fits_tracer::process::Command;

use crate::fault::Fault;
use crate::trace::{Recording, TraceOptions};
use session::Session;

pub(crate) use instruction::is_conditional;
pub use track::Activated;

/// A fault whose moment is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The fault; what is random in it has a seed.
    pub fault: Fault,
    /// Its moment.
    pub found: Found,
}

/// How to drive.
#[derive(Clone, Debug)]
pub struct DriveOptions {
    /// How many instructions are stepped after a fault to see whether what it changed is read.
    pub window: u64,
    /// Nothing is changed; everything else is as always.
    pub dry_run: bool,
    /// How many instructions a thread may retire in all while it is stepped. `None`: any number.
    pub instructions: Option<u64>,
    /// Address of a function that the program calls when it has detected a fault; looked for in the thread of the faults.
    pub detector: Option<u64>,
    /// Record the path of the thread, and its state at distances, from the first fault on.
    pub trace: Option<TraceOptions>,
    /// How many instructions after the first fault the run is compared with the fault-free one, and ended once it has the same state. Not with
    /// `trace`, and not where others can touch the memory of the process.
    pub early_stop: Option<u64>,
}

/// The usual [`DriveOptions::window`].
pub const WINDOW: u64 = 1000;

/// The usual [`DriveOptions::early_stop`] where it is asked for.
pub const EARLY_STOP: u64 = 100;

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            window: WINDOW,
            dry_run: false,
            instructions: None,
            detector: None,
            trace: None,
            early_stop: None,
        }
    }
}

/// When a run had the state of the fault-free one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Rejoined {
    /// Instructions since the first fault.
    pub after: u64,
    /// Some more have executed natively, which nobody has counted.
    pub or_more: bool,
}

/// A fault that was carried out, or could not be.
#[derive(Clone, Debug)]
pub struct Injection {
    /// As it was given.
    pub fault: Fault,
    /// The same with everything decided: an index for a trigger, an address for a region. It replays.
    pub concrete: Fault,
    /// Its moment.
    pub moment: Moment,
    /// Address of the instruction that began next.
    pub pc: u64,
    /// That instruction.
    pub instruction: String,
    /// What was changed, in words: `rax`, `4 bytes at 0x404028`.
    pub place: String,
    /// What it held, little-endian, at the first change.
    pub before: Vec<u8>,
    /// What it was given.
    pub after: Vec<u8>,
    /// The bits that differ.
    pub mask: Vec<u8>,
    /// How often it was changed.
    pub times: u64,
    /// Whether exactly that has changed; otherwise what is wrong, and the experiment is invalid.
    pub proof: Result<(), String>,
}

/// What became of a run with faults.
#[derive(Clone, Debug)]
pub struct Driven {
    /// The faults whose moment came, in order.
    pub injections: Vec<Injection>,
    /// Whether the moment of the first one came.
    pub reached: bool,
    /// Whether what was changed was read before it was overwritten.
    pub activated: Activated,
    /// Instructions from the first fault to the detector or the end, when that came while it was stepped.
    pub latency: Option<u64>,
    /// Whether [`DriveOptions::detector`] was reached.
    pub detected: bool,
    /// What the thread did after the first fault, if that was asked for.
    pub recording: Option<Recording>,
    /// It was ended since its state was that of the fault-free run again. [`Driven::end`] means nothing then.
    pub rejoined: Option<Rejoined>,
    /// How the run ended.
    pub end: End,
}

impl Driven {
    /// Why the experiment is invalid, if it is.
    #[must_use]
    pub fn invalid(&self) -> Option<&str> {
        let failed = |injection: &Injection| injection.proof.is_err();
        let first = self.injections.iter().find(|injection| failed(injection))?;
        first.proof.as_ref().err().map(String::as_str)
    }
}

/// A process into which faults were injected, and which needs no more of us.
#[derive(Debug)]
pub struct Injected {
    /// The process.
    pub live: Live,
    /// The faults, in order.
    pub injections: Vec<Injection>,
    /// Addresses of the instructions that it has executed since the first fault.
    pub executed: Vec<u64>,
}

/// Injects the faults into a process that stands at the moment of the first one. `drive` says whether anything is changed; nothing is
/// followed or recorded.
///
/// # Errors
/// See [`BackendError`]; [`BackendError::Unsupported`] for faults that last. No process is left.
pub fn inject(
    live: Live,
    planned: &[Planned],
    limits: Limits,
    drive: &DriveOptions,
) -> Result<Injected, BackendError> {
    let mut planned = planned.to_vec();
    planned.sort_by_key(|fault| fault.found.moment);
    let drive = DriveOptions {
        window: 0,
        detector: None,
        trace: None,
        ..drive.clone()
    };
    Session::new(live, planned, limits, &drive).inject()
}

/// Runs the program with the planned faults.
///
/// # Errors
/// See [`BackendError`]. A fault that cannot be carried out is none: its [`Injection::proof`] says so.
pub fn run(
    engine: &mut dyn Engine,
    command: &Command,
    options: &EngineOptions,
    planned: &[Planned],
    drive: &DriveOptions,
) -> Result<Driven, BackendError> {
    let mut planned = planned.to_vec();
    planned.sort_by_key(|fault| fault.found.moment);
    let Some(first) = planned.first() else {
        return Err(BackendError::Engine(
            "there is no fault to inject".to_owned(),
        ));
    };
    // The way there is without faults, so it ends however slow it is; limits are for what comes then.
    let way = EngineOptions {
        limits: Limits::default(),
        ..options.clone()
    };
    let first = first.found;
    let live = match engine.reach_found(command, &way, &first)? {
        Reached::At(live) => *live,
        Reached::Ended(end) => return Ok(not_reached(end)),
    };
    let mut session = Session::new(live, planned.clone(), options.limits, drive);
    if session.rehearse()? {
        return session.run();
    }
    // A signal came in between, say.
    drop(session);
    match engine.reach_found(command, &way, &first)? {
        Reached::At(live) => Session::new(*live, planned, options.limits, drive).run(),
        Reached::Ended(end) => Ok(not_reached(end)),
    }
}

fn not_reached(end: End) -> Driven {
    Driven {
        injections: Vec::new(),
        reached: false,
        activated: Activated::No,
        latency: None,
        detected: false,
        recording: None,
        rejoined: None,
        end,
    }
}
