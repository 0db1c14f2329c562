//! The ptrace engine: finds moments by single-stepping, which is slow and obviously right, and comes to one that has been found by a breakpoint.

use fits_stats::protocol::ThreadNumber;
use rustc_hash::FxHashMap;

use super::walk::Attempt;
use super::{Goal, Live};
use crate::backend::BackendError;
use crate::engine::{Access, End, Engine, EngineOptions, Found, Landmark, Limits, Moment, Reached};
use crate::process::Command;
use crate::step::{Kind, touches};

/// Brings programs to moments by ptrace alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct PtraceEngine {
    /// [`Engine::reach_found`] steps too, instead of running natively from one arrival at the instruction to the next.
    pub single_step: bool,
}

impl Engine for PtraceEngine {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn count(&mut self, command: &Command, options: &EngineOptions) -> Result<End, BackendError> {
        let mut live = Live::launch(command, options)?;
        let mut counts: Vec<u64> = vec![0];
        live.walk(&options.limits, &mut |attempt| {
            *count_of(&mut counts, attempt.thread) += u64::from(attempt.retired);
            true
        })?;
        let end = live.finish(&Limits::default())?;
        Ok(End {
            instructions: counts,
            ..end
        })
    }

    fn locate(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        landmarks: &[Landmark],
    ) -> Result<Vec<Option<Found>>, BackendError> {
        let mut search = Search::new(landmarks);
        if landmarks.is_empty() {
            return Ok(Vec::new());
        }
        let mut live = Live::launch(command, options)?;
        live.walk(&options.limits, &mut |attempt| search.look(attempt))?;
        Ok(search.found)
    }

    fn reach(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moment: Moment,
    ) -> Result<Reached, BackendError> {
        let mut live = Live::launch(command, options)?;
        if live.run_to_birth(moment.thread, &options.limits)?
            && live
                .steps_to(&Goal::Steps(moment.index), &options.limits)?
                .is_some()
        {
            live.settle()?;
            return Ok(Reached::At(Box::new(live)));
        }
        ended(live, options)
    }

    fn reach_found(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        found: &Found,
    ) -> Result<Reached, BackendError> {
        if self.single_step {
            return self.reach(command, options, found.moment);
        }
        let mut live = Live::launch(command, options)?;
        if live.run_to_birth(found.moment.thread, &options.limits)?
            && live.arrive(found.pc, found.arrivals, &options.limits)?
        {
            return Ok(Reached::At(Box::new(live)));
        }
        ended(live, options)
    }
}

fn ended(mut live: Live, options: &EngineOptions) -> Result<Reached, BackendError> {
    Ok(Reached::Ended(live.finish(&options.limits)?))
}

fn count_of(counts: &mut Vec<u64>, thread: ThreadNumber) -> &mut u64 {
    let index = thread as usize;
    if counts.len() <= index {
        counts.resize(index + 1, 0);
    }
    &mut counts[index]
}

/// A search for landmarks among the instructions of a run.
struct Search<'a> {
    landmarks: &'a [Landmark],
    found: Vec<Option<Found>>,
    /// How many of each landmark's accesses or calls have been.
    seen: Vec<u64>,
    retired: Vec<u64>,
    arrivals: FxHashMap<(ThreadNumber, u64), u64>,
}

impl<'a> Search<'a> {
    fn new(landmarks: &'a [Landmark]) -> Self {
        Self {
            landmarks,
            found: vec![None; landmarks.len()],
            seen: vec![0; landmarks.len()],
            retired: Vec::new(),
            arrivals: FxHashMap::default(),
        }
    }

    /// Looks at one more instruction; false when all has been found.
    fn look(&mut self, attempt: &Attempt<'_>) -> bool {
        let pc = attempt.begun.registers.rip;
        let thread = attempt.thread;
        let arrivals = self.arrivals.entry((thread, pc)).or_default();
        *arrivals += 1;
        let retired = count_of(&mut self.retired, thread);
        let index = *retired;
        *retired += u64::from(attempt.retired);
        let here = Found {
            moment: Moment { thread, index },
            pc,
            arrivals: *arrivals,
        };
        for (number, landmark) in self.landmarks.iter().enumerate() {
            if self.found[number].is_none()
                && is_at(landmark, &here, attempt, &mut self.seen[number])
            {
                self.found[number] = Some(here);
            }
        }
        self.found.iter().any(Option::is_none)
    }
}

/// Whether a landmark lies before the instruction that was begun `here`.
fn is_at(landmark: &Landmark, here: &Found, attempt: &Attempt<'_>, seen: &mut u64) -> bool {
    let before = &attempt.begun.registers;
    let mut counted = |thread: ThreadNumber, happens: bool, count: u64| {
        let counts = thread == here.moment.thread && attempt.retired && happens;
        *seen += u64::from(counts);
        counts && *seen == count
    };
    match *landmark {
        Landmark::Index(moment) => moment == here.moment,
        Landmark::Arrival {
            thread,
            address,
            count,
        } => thread == here.moment.thread && address == here.pc && count == here.arrivals,
        Landmark::Access {
            thread,
            address,
            bytes,
            access,
            count,
        } => {
            let after = attempt.after.as_ref().unwrap_or(before);
            let write = access == Access::Write;
            let happens = attempt.begun.decoded.as_ref().is_some_and(|decoded| {
                touches(decoded, before, after, address, bytes.into(), write)
            });
            counted(thread, happens, count)
        }
        Landmark::Call {
            thread,
            number,
            count,
        } => {
            let decoded = attempt.begun.decoded.as_ref();
            let is_call = decoded.is_some_and(|decoded| decoded.kind == Kind::Syscall);
            counted(thread, is_call && before.rax == number, count)
        }
    }
}
