//! The loop over instructions while something has to be looked at; natively before and after.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;

use fits_stats::write::instruction_text;
use fits_tracer::backend::BackendError;
use fits_tracer::engine::{End, Limits};
use fits_tracer::live::{Live, Stepped};
use fits_tracer::ptrace::Registers;
use fits_tracer::step::Decoded;
use iced_x86::Mnemonic;

use super::ahead::{Ahead, Scout};
use super::effect::{Effect, Kind};
use super::instruction::{self, Doing, Prepared, Record, Refused};
use super::machine::Machine;
use super::rejoin::{self, Rehearsed, Rejoin};
use super::state::State;
use super::touch::Place;
use super::track::{Activated, Seen, Tracked};
use super::{DriveOptions, Driven, Injected, Injection, Planned, Rejoined};
use crate::bits::Bits;
use crate::fault::{Duration, Fault, Location, Trigger, When};
use crate::trace::Recording;

/// Executed instructions that are remembered.
const MOST_EXECUTED: usize = 1 << 16;

/// A run from the first moment to the end.
pub(super) struct Session<'a> {
    pub(super) machine: Machine,
    /// Those whose moment has not come, the next one last.
    pub(super) waiting: Vec<Planned>,
    pub(super) effects: Vec<Effect>,
    pub(super) tracked: Vec<Tracked>,
    verdicts: Vec<Activated>,
    pub(super) injections: Vec<Injection>,
    /// The index at the first fault.
    pub(super) first: u64,
    /// The index up to which changed places are followed.
    pub(super) window_end: u64,
    pub(super) limits: Limits,
    pub(super) drive: &'a DriveOptions,
    /// The index at which the detector was reached while the program was stepped.
    detected: Option<u64>,
    /// The path since the first fault, and whether there is more of it to see.
    recording: Option<Recording>,
    pub(super) looking: bool,
    /// Addresses of the instructions that were executed since the first fault.
    executed: Vec<u64>,
    /// The fault-free run beside this one, while it can tell anything.
    pub(super) rejoin: Option<Rejoin>,
    /// The code ahead of the thread.
    pub(super) scout: Scout,
}

/// An instruction with the faults of it that have been prepared.
struct Turn {
    decoded: Rc<Decoded>,
    before: State,
    prepared: Vec<(usize, Prepared, Doing)>,
}

impl<'a> Session<'a> {
    /// `live` stands at the moment of the first fault; `planned` is in the order of moments.
    pub(super) fn new(
        live: Live,
        mut planned: Vec<Planned>,
        limits: Limits,
        drive: &'a DriveOptions,
    ) -> Self {
        let first = planned.first().map_or(0, |fault| fault.found.moment.index);
        planned.reverse();
        Self {
            machine: Machine::new(live, first),
            waiting: planned,
            effects: Vec::new(),
            tracked: Vec::new(),
            verdicts: Vec::new(),
            injections: Vec::new(),
            first,
            window_end: first,
            limits,
            drive,
            detected: None,
            recording: (drive.trace.as_ref()).map(|options| Recording::new(options, first)),
            looking: drive.trace.is_some(),
            executed: Vec::new(),
            rejoin: None,
            scout: Scout::default(),
        }
    }

    /// Carries the faults out, and gives the process away as soon as it needs no more of us.
    pub(super) fn inject(mut self) -> Result<Injected, BackendError> {
        loop {
            self.begin_due()?;
            self.retire_effects();
            if !self.has_to_step()? {
                break;
            }
            if self.executed.len() >= MOST_EXECUTED || self.step()? {
                return Err(self.unsupported("a fault that lasts, or ends the program at once,"));
            }
        }
        if !self.effects.is_empty() {
            return Err(self.unsupported("a fault that lasts to the end"));
        }
        Ok(Injected {
            live: self.machine.live,
            injections: self.injections,
            executed: self.executed,
        })
    }

    fn unsupported(&self, what: &str) -> BackendError {
        BackendError::Unsupported {
            what: format!("collecting the statistics of {what}"),
            pc: self.injections.first().map_or(0, |injection| injection.pc),
            backend: "dbt",
        }
    }

    /// Rehearses the fault-free run, if an early stop is asked for and may come. False: the process can't be used any more.
    pub(super) fn rehearse(&mut self) -> Result<bool, BackendError> {
        let Some(steps) = self.drive.early_stop else {
            return Ok(true);
        };
        let seen = |planned: &Planned| !executes_another(&planned.fault.location);
        if self.drive.trace.is_some() || self.drive.dry_run || !self.waiting.iter().all(seen) {
            return Ok(true);
        }
        let changed = self.foresee();
        match rejoin::rehearse(&mut self.machine, steps, changed)? {
            Rehearsed::Done(rejoin) => self.rejoin = Some(rejoin),
            Rehearsed::Hopeless => {}
            Rehearsed::Spoilt => return Ok(false),
        }
        Ok(true)
    }

    /// What the only fault will change, if that is known now.
    fn foresee(&mut self) -> Option<(Place, Bits)> {
        let [planned] = &self.waiting[..] else {
            return None;
        };
        if planned.fault.duration != Duration::Transient {
            return None;
        }
        let effect = Effect::new(&mut self.machine, 0, &planned.fault);
        let foreseen = effect.and_then(|mut effect| effect.foresee(&self.machine));
        let foreseen = foreseen.ok().filter(|it| !it.changed.is_zero())?;
        Some((foreseen.place, foreseen.changed))
    }

    /// Whether everything is as in the fault-free run again, for good.
    fn is_back(&mut self) -> Result<bool, BackendError> {
        let done = self.waiting.is_empty() && self.effects.is_empty() && self.detected.is_none();
        let proven = self
            .injections
            .iter()
            .all(|injection| injection.proof.is_ok());
        if !done || !proven {
            return Ok(false);
        }
        if self.is_overwritten() {
            return Ok(true);
        }
        match &mut self.rejoin {
            Some(rejoin) => rejoin.is_back(&self.machine),
            None => Ok(false),
        }
    }

    /// Whether all that was changed are registers that have been overwritten before anything read them: nothing else can have become different.
    fn is_overwritten(&self) -> bool {
        let in_register = |injection: &Injection| {
            matches!(
                injection.concrete.location,
                Location::Register(_) | Location::Destination(_)
            )
        };
        self.drive.early_stop.is_some()
            && self.drive.trace.is_none()
            && self.tracked.is_empty()
            && !self.verdicts.is_empty()
            && self.verdicts.iter().all(|it| *it == Activated::No)
            && self.injections.iter().all(in_register)
    }

    pub(super) fn run(mut self) -> Result<Driven, BackendError> {
        let mut ended = false;
        let mut used_up = false;
        while !ended {
            self.begin_due()?;
            self.retire_effects();
            self.look()?;
            if self.is_back()? {
                return self.rejoined();
            }
            let must = self.has_to_step()?;
            match self.run_ahead()? {
                Ahead::Stays if must => {}
                // The next instruction may be a call that waits.
                Ahead::Arrived => continue,
                Ahead::Stays | Ahead::Ended => break,
            }
            used_up = self
                .drive
                .instructions
                .is_some_and(|limit| self.machine.index >= limit);
            if used_up {
                break;
            }
            ended = self.step()?;
        }
        if let Some(recording) = self.recording.as_mut().filter(|_| ended) {
            recording.ended = Some(self.machine.index - self.first);
        }
        let last = self.detected.or(ended.then_some(self.machine.index));
        let counted = last.filter(|_| !self.scout.uncounted);
        let latency = counted.map(|index| index - self.first);
        let detected = self.detected.is_some() || (!used_up && self.reaches_detector()?);
        // A debug register that waits for the detector does not see accesses at the same time.
        if !ended && !used_up && self.drive.detector.is_none() {
            self.limits = self.run_watched()?;
        }
        let end = self.end(used_up)?;
        let followed = self.tracked.iter().map(Tracked::final_verdict);
        self.verdicts.extend(followed);
        Ok(Driven {
            injections: self.injections,
            reached: true,
            activated: together(&self.verdicts),
            latency,
            detected,
            recording: self.recording,
            rejoined: None,
            end,
        })
    }

    /// The run is ended here.
    fn rejoined(mut self) -> Result<Driven, BackendError> {
        let end = self.machine.live.finish(&NOW)?;
        let followed = self.tracked.iter().map(Tracked::final_verdict);
        self.verdicts.extend(followed);
        Ok(Driven {
            injections: self.injections,
            reached: true,
            activated: together(&self.verdicts),
            latency: None,
            detected: false,
            recording: None,
            rejoined: Some(Rejoined {
                after: self.machine.index - self.first,
                or_more: self.scout.uncounted,
            }),
            end,
        })
    }

    /// Runs natively until the program says that it has detected a fault; false when it ends before.
    fn reaches_detector(&mut self) -> Result<bool, BackendError> {
        match self.drive.detector {
            Some(address) => self.machine.live.arrive(address, 1, &self.limits),
            None => Ok(false),
        }
    }

    fn end(&mut self, used_up: bool) -> Result<End, BackendError> {
        if !used_up {
            return self.machine.live.finish(&self.limits);
        }
        let mut end = self.machine.live.finish(&NOW)?;
        let limit = self.drive.instructions.unwrap_or_default();
        end.warnings.push(format!(
            "it was ended after {limit} instructions, as many as are allowed"
        ));
        Ok(end)
    }

    /// Records where the thread stands, as far as the path is asked for.
    fn look(&mut self) -> Result<(), BackendError> {
        if let Some(recording) = self.recording.as_mut().filter(|_| self.looking) {
            let retired = self.machine.index - self.first;
            self.looking = recording.look(&self.machine.live, retired)?;
        }
        Ok(())
    }

    /// Whether anything is to be seen in the next instruction.
    fn has_to_step(&mut self) -> Result<bool, BackendError> {
        if self.watched_effects().is_none() || !self.waiting.is_empty() {
            return Ok(true);
        }
        if self.compares()? {
            return Ok(true);
        }
        let open = self.tracked.iter().any(|place| place.verdict().is_none());
        let end = if self.scout.uncounted {
            self.ahead().end
        } else {
            self.window_end
        };
        let followed = open && self.machine.index < end;
        if !followed && !self.looking {
            return Ok(false);
        }
        // A system call that waits is left to the run that has limits.
        let decoded = self.machine.decoded()?;
        let calls = |decoded: &Rc<Decoded>| decoded.instruction.mnemonic() == Mnemonic::Syscall;
        if !decoded.as_ref().is_some_and(calls) {
            return Ok(true);
        }
        let registers = self.machine.live.registers()?;
        Ok(!may_wait(registers.rax) || is_about_a_file(&self.machine.live, &registers))
    }

    /// Whether the next instruction is one that can be compared with the fault-free run.
    fn compares(&mut self) -> Result<bool, BackendError> {
        if self.rejoin.as_ref().is_none_or(Rejoin::is_over) {
            return Ok(false);
        }
        let decoded = self.machine.decoded()?;
        let compares = decoded.is_some_and(|decoded| rejoin::can_be_undone(&decoded));
        if !compares {
            self.rejoin = None;
        }
        Ok(compares)
    }

    /// Begins the faults whose moment is now.
    fn begin_due(&mut self) -> Result<(), BackendError> {
        while let Some(next) = self.waiting.last() {
            let moment = next.found.moment;
            let here = moment.thread == self.machine.live.focus();
            if here && moment.index > self.machine.index {
                return Ok(());
            }
            let Some(next) = self.waiting.pop() else {
                return Ok(());
            };
            if here {
                self.begin(&next)?;
            } else {
                let sentence = format!(
                    "its thread {} is another than that of the first fault, {}: the faults of one run go into one thread",
                    moment.thread,
                    self.machine.live.focus()
                );
                self.injections.push(blank(&next, String::new()));
                self.fail(self.injections.len() - 1, sentence);
            }
        }
        Ok(())
    }

    fn begin(&mut self, planned: &Planned) -> Result<(), BackendError> {
        let decoded = self.machine.decoded()?;
        let text = decoded.map_or_else(String::new, |decoded| {
            instruction_text(&decoded.instruction)
        });
        let number = self.injections.len();
        let mut injection = blank(planned, text);
        injection.pc = self.machine.live.registers()?.rip;
        self.injections.push(injection);
        self.window_end = self.machine.index.saturating_add(self.drive.window);
        match Effect::new(&mut self.machine, number, &planned.fault) {
            Err(sentence) => self.fail(number, sentence),
            Ok(mut effect) => {
                self.injections[number].concrete = concrete(planned, &effect);
                if self.drive.dry_run {
                    return Ok(());
                }
                let done = effect.enforce(&mut self.machine);
                self.take(number, done);
                self.effects.push(effect);
            }
        }
        Ok(())
    }

    /// The experiment is invalid.
    pub(super) fn fail(&mut self, number: usize, sentence: String) {
        let injection = &mut self.injections[number];
        if injection.proof.is_ok() {
            injection.proof = Err(sentence);
        }
        self.effects.retain(|effect| effect.number != number);
    }

    /// Takes note of a change.
    fn take(&mut self, number: usize, done: Result<Option<Record>, String>) {
        match done {
            Err(sentence) => self.fail(number, sentence),
            Ok(None) => {}
            Ok(Some(record)) => self.record(number, record),
        }
    }

    fn record(&mut self, number: usize, record: Record) {
        let changed = record.changed();
        let injection = &mut self.injections[number];
        let first = injection.place.is_empty();
        if first || changed && injection.times == 0 {
            let both = record.before.iter().zip(&record.after);
            injection.mask = both.map(|(before, after)| before ^ after).collect();
            injection.place = record.place;
            injection.before = record.before;
            injection.after = record.after;
        }
        injection.times += u64::from(changed);
        match record.tracked {
            Some(tracked) if changed => self.tracked.push(tracked),
            // The instruction itself works with it.
            None if changed => self.verdicts.push(Activated::Yes),
            _ => self.verdicts.push(Activated::No),
        }
        self.settle();
    }

    /// Keeps only those places that are still open.
    pub(super) fn settle(&mut self) {
        let verdicts = &mut self.verdicts;
        self.tracked.retain(|place| match place.verdict() {
            Some(verdict) => {
                if !verdicts.contains(&verdict) {
                    verdicts.push(verdict);
                }
                false
            }
            None => true,
        });
        if verdicts.contains(&Activated::Yes) {
            self.tracked.clear();
        }
    }

    fn retire_effects(&mut self) {
        let machine = &self.machine;
        self.effects.retain(|effect| !effect.over(machine));
    }

    /// Lets one instruction execute, with all that has to be done before and after. Whether the thread has ended.
    fn step(&mut self) -> Result<bool, BackendError> {
        let Some(decoded) = self.machine.decoded()? else {
            self.rejoin = None;
            return Ok(self.machine.step()? == Stepped::Ended);
        };
        if self.drive.detector == Some(decoded.pc) {
            self.detected.get_or_insert(self.machine.index);
        }
        let prepared = self.prepare(&decoded);
        let before = self.machine.glance(self.is_extended())?;
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.before(&self.machine, &decoded, &before);
        }
        let turn = Turn {
            decoded,
            before,
            prepared,
        };
        let skips = turn
            .prepared
            .iter()
            .any(|(_, prepared, _)| prepared.skips());
        let waits = turn.decoded.instruction.mnemonic() == Mnemonic::Syscall
            && turn.prepared.is_empty()
            && may_wait(turn.before.registers.rax);
        let stepped = if skips {
            self.machine.index += 1;
            Stepped::Retired
        } else if waits {
            self.machine.step_within(&self.limits)?
        } else {
            self.machine.step()?
        };
        if stepped == Stepped::Retired && !skips && self.executed.len() < MOST_EXECUTED {
            self.executed.push(turn.decoded.pc);
        }
        self.after(turn, stepped, skips)?;
        if let Some(rejoin) = &mut self.rejoin {
            rejoin.after(&self.machine, stepped);
        }
        Ok(stepped == Stepped::Ended)
    }

    /// Whether steps have to look at x87, vector and mask registers.
    fn is_extended(&self) -> bool {
        self.tracked.iter().any(Tracked::moves) || self.effects.iter().any(Effect::is_extended)
    }

    fn prepare(&mut self, decoded: &Decoded) -> Vec<(usize, Prepared, Doing)> {
        let mut all = Vec::new();
        let mut failed = Vec::new();
        let mut slid = Vec::new();
        for effect in &mut self.effects {
            let Kind::Instruction { done } = effect.kind else {
                continue;
            };
            if !effect.active(&self.machine) && done {
                continue;
            }
            let doing = effect.doing();
            let location = effect.fault.location.clone();
            match instruction::prepare(&mut self.machine, decoded, &location, &doing) {
                Ok(prepared) => all.push((effect.number, prepared, doing)),
                // Later instructions may be without such an operand.
                Err(Refused::NoSuch(_)) if done => {}
                Err(Refused::NoSuch(_)) if effect.slides(&self.machine) => {
                    slid.push(effect.number);
                }
                Err(refused) => failed.push((effect.number, refused.sentence())),
            }
        }
        for (number, sentence) in failed {
            self.fail(number, sentence);
        }
        for number in slid {
            self.slide(number);
        }
        for (number, _, _) in &all {
            self.arrive(*number, decoded);
        }
        all
    }

    /// A drawn moment is at an instruction without such an operand: the next one is tried.
    fn slide(&mut self, number: usize) {
        let effects = self.effects.iter_mut();
        for effect in effects.filter(|effect| effect.number == number) {
            effect.began += 1;
        }
    }

    /// The instruction that a fault goes into has been found: where it lies is its moment.
    fn arrive(&mut self, number: usize, decoded: &Decoded) {
        let index = self.machine.index;
        let began = self
            .effects
            .iter()
            .any(|effect| effect.number == number && effect.began == index);
        let injection = &mut self.injections[number];
        if !began || injection.moment.index == index {
            return;
        }
        injection.moment.index = index;
        injection.pc = decoded.pc;
        injection.instruction = instruction_text(&decoded.instruction);
        injection.concrete.trigger.when = When::Index { index, from: None };
    }

    fn after(&mut self, turn: Turn, stepped: Stepped, skipped: bool) -> Result<(), BackendError> {
        let Turn {
            decoded,
            before,
            prepared,
        } = turn;
        if !skipped {
            let seen = Seen {
                decoded: &decoded,
                state: &before,
                stepped,
            };
            for place in &mut self.tracked {
                place.see(&seen, &mut self.machine.factory);
            }
            self.settle();
        }
        for (number, prepared, doing) in prepared.into_iter().rev() {
            self.complete(number, &decoded, prepared, &doing, stepped);
        }
        if stepped == Stepped::Retired {
            self.enforce(&decoded, &before)?;
        }
        Ok(())
    }

    fn complete(
        &mut self,
        number: usize,
        decoded: &Decoded,
        prepared: Prepared,
        doing: &Doing,
        stepped: Stepped,
    ) {
        let record = instruction::complete(&mut self.machine, decoded, prepared, doing, stepped);
        for effect in &mut self.effects {
            if effect.number == number
                && let Kind::Instruction { done } = &mut effect.kind
            {
                *done = true;
            }
        }
        match record {
            Ok(None) if self.injections[number].place.is_empty() => {
                let sentence = match stepped {
                    Stepped::Handler { signal } => {
                        format!("signal {signal} came before the instruction had retired")
                    }
                    _ => "the thread ended before the instruction had retired".to_owned(),
                };
                self.fail(number, sentence);
            }
            record => self.take(number, record),
        }
    }

    /// What lasts is done to what the instruction has written.
    fn enforce(&mut self, decoded: &Decoded, before: &State) -> Result<(), BackendError> {
        if self.effects.is_empty() {
            return Ok(());
        }
        let after = self.machine.glance(self.is_extended())?;
        let mut done = Vec::new();
        for effect in &mut self.effects {
            effect.note(&mut self.machine, decoded, before, &after);
            done.push((effect.number, effect.enforce(&mut self.machine)));
        }
        for (number, done) in done {
            self.take(number, done);
        }
        Ok(())
    }
}

/// Ends a run at once.
const NOW: Limits = Limits {
    cpu_seconds: Some(0.0),
    wall_seconds: Some(0.0),
};

/// Whether a fault makes the instruction another one, whose accesses are not known.
fn executes_another(location: &Location) -> bool {
    matches!(
        location,
        Location::Text | Location::LoadAddress(_) | Location::StoreAddress(_)
    )
}

/// Yes if any is; no if all are.
fn together(verdicts: &[Activated]) -> Activated {
    if verdicts.contains(&Activated::Yes) {
        Activated::Yes
    } else if verdicts.contains(&Activated::Unknown) {
        Activated::Unknown
    } else {
        Activated::No
    }
}

fn blank(planned: &Planned, instruction: String) -> Injection {
    Injection {
        fault: planned.fault.clone(),
        concrete: planned.fault.clone(),
        moment: planned.found.moment,
        pc: planned.found.pc,
        instruction,
        place: String::new(),
        before: Vec::new(),
        after: Vec::new(),
        mask: Vec::new(),
        times: 0,
        proof: Ok(()),
    }
}

/// The fault with an index for a trigger and an address for a region.
fn concrete(planned: &Planned, effect: &Effect) -> Fault {
    let moment = planned.found.moment;
    let mut fault = planned.fault.clone();
    fault.location = effect.concrete_location();
    fault.trigger = Trigger {
        thread: moment.thread,
        when: When::Index {
            index: moment.index,
            from: None,
        },
    };
    if !fault.draws() {
        fault.seed = None;
    }
    fault
}

/// Whether a system call that may wait reads or opens a plain file, and so does not.
fn is_about_a_file(live: &Live, registers: &Registers) -> bool {
    let process = format!("/proc/{}", live.leader());
    let opened = |address: u64| {
        let name = live.memory().read_c_string(address, 4096).ok()?;
        Some(
            Path::new(&process)
                .join("cwd")
                .join(OsStr::from_bytes(&name)),
        )
    };
    let path = match registers.rax.cast_signed() {
        libc::SYS_read | libc::SYS_readv | libc::SYS_pread64 => {
            Some(format!("{process}/fd/{}", registers.rdi).into())
        }
        libc::SYS_open => opened(registers.rdi),
        libc::SYS_openat => opened(registers.rsi),
        _ => None,
    };
    let Some(path) = path else {
        return false;
    };
    let opens = registers.rax.cast_signed() == libc::SYS_openat
        || registers.rax.cast_signed() == libc::SYS_open;
    match std::fs::metadata(path) {
        Ok(found) => found.is_file() || found.is_dir(),
        // There is nothing to wait for.
        Err(_) => opens,
    }
}

/// Whether a system call may take as long as it likes.
fn may_wait(number: u64) -> bool {
    let Ok(number) = i64::try_from(number) else {
        return false;
    };
    matches!(
        number,
        libc::SYS_read
            | libc::SYS_readv
            | libc::SYS_pread64
            | libc::SYS_poll
            | libc::SYS_ppoll
            | libc::SYS_select
            | libc::SYS_pselect6
            | libc::SYS_epoll_wait
            | libc::SYS_epoll_pwait
            | libc::SYS_epoll_pwait2
            | libc::SYS_futex
            | libc::SYS_nanosleep
            | libc::SYS_clock_nanosleep
            | libc::SYS_pause
            | libc::SYS_wait4
            | libc::SYS_waitid
            | libc::SYS_accept
            | libc::SYS_accept4
            | libc::SYS_connect
            | libc::SYS_recvfrom
            | libc::SYS_recvmsg
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_flock
            | libc::SYS_rt_sigsuspend
            | libc::SYS_rt_sigtimedwait
            | libc::SYS_open
            | libc::SYS_openat
    )
}
