//! The path of a thread, and its state at chosen distances from the moment.

use fits_tracer::backend::BackendError;
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::Mapping;
use fits_tracer::ptrace::Registers;
use serde::{Deserialize, Serialize};

use crate::drive::state::State;

/// More writable memory than this is not compared.
const MEMORY_LIMIT: u64 = 256 << 20;

/// How far to look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceOptions {
    /// Instructions after the moment.
    pub steps: u64,
    /// Distances from the moment, in instructions, at which registers and memory are compared; ascending.
    pub distances: Vec<u64>,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self::to(20_000)
    }
}

impl TraceOptions {
    /// So many instructions, with states after 0, 1, 10, 100, … of them.
    #[must_use]
    pub fn to(steps: u64) -> Self {
        let powers = std::iter::successors(Some(1_u64), |power| power.checked_mul(10));
        let distances = powers.take_while(|&power| power <= steps);
        Self {
            steps,
            distances: std::iter::once(0).chain(distances).collect(),
        }
    }
}

/// The state of a run at a distance from the moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Instructions retired since the moment.
    pub(crate) distance: u64,
    /// All registers of the thread.
    pub(crate) state: State,
    /// All writable memory: address and contents. `None`: there is too much of it.
    pub(crate) memory: Option<Vec<(u64, Vec<u8>)>>,
}

/// What a thread did from a moment on.
#[derive(Clone, Debug)]
pub struct Recording {
    /// How it was asked for.
    pub options: TraceOptions,
    /// Index of the moment.
    pub index: u64,
    /// The address of each instruction that was about to begin, and how many had retired since the moment. Where a signal handler was entered,
    /// two have the same number.
    pub path: Vec<(u64, u64)>,
    /// The states.
    pub snapshots: Vec<Snapshot>,
    /// What was mapped at the moment, for names and bytes of instructions.
    pub mappings: Vec<Mapping>,
    /// The thread ended, after so many instructions.
    pub ended: Option<u64>,
}

impl Recording {
    /// Nothing yet; `index` is that of the moment.
    #[must_use]
    pub fn new(options: &TraceOptions, index: u64) -> Self {
        Self {
            options: options.clone(),
            index,
            path: Vec::new(),
            snapshots: Vec::new(),
            mappings: Vec::new(),
            ended: None,
        }
    }

    /// Looks at the thread in focus, which has retired so many instructions since the moment. Whether there is more to see.
    ///
    /// # Errors
    /// When the thread is gone.
    pub fn look(&mut self, live: &Live, retired: u64) -> Result<bool, BackendError> {
        let registers = live.registers()?;
        if self.path.is_empty() {
            self.mappings = live.mappings()?;
        }
        self.path.push((registers.rip, retired));
        let seen = self.snapshots.last().map(|snapshot| snapshot.distance);
        if self.options.distances.contains(&retired) && seen != Some(retired) {
            self.snapshots.push(snapshot(live, registers, retired)?);
        }
        Ok(retired < self.options.steps)
    }
}

/// Steps the thread in focus, and records what it does. `index` is that of the moment at which it stands.
///
/// # Errors
/// See [`BackendError`].
pub fn record(
    live: &mut Live,
    options: &TraceOptions,
    index: u64,
) -> Result<Recording, BackendError> {
    let mut recording = Recording::new(options, index);
    let mut retired = 0;
    while recording.look(live, retired)? {
        match live.step()? {
            Stepped::Retired => retired += 1,
            Stepped::Handler { .. } => {}
            Stepped::Ended => {
                recording.ended = Some(retired);
                break;
            }
        }
    }
    Ok(recording)
}

fn snapshot(live: &Live, registers: Registers, distance: u64) -> Result<Snapshot, BackendError> {
    let xstate = live.xstate()?;
    let mappings = live.mappings()?;
    let writable = || mappings.iter().filter(|one| one.write && one.read);
    let bytes: u64 = writable().map(|one| one.end - one.start).sum();
    let contents = |one: &Mapping| {
        let mut bytes = vec![0; (one.end - one.start) as usize];
        // Memory that can't be read, of a device for example, is left out in both runs.
        let read = live.memory().read(one.start, &mut bytes);
        read.is_ok().then_some((one.start, bytes))
    };
    Ok(Snapshot {
        distance,
        state: State { registers, xstate },
        memory: (bytes <= MEMORY_LIMIT).then(|| writable().filter_map(contents).collect()),
    })
}
