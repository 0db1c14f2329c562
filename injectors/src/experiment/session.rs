//! The side that asks: one program, its reference run, and experiments with it, all carried out by a worker.

use std::path::{Path, PathBuf};
use std::process::Command;

use fits_stats::model::{Level, Module, Segment};
use fits_tracer::backend::Ended;
use fits_tracer::engine::{End, Found, HowEnded, Limits};

use super::client::{ClientError, Worker};
use super::job::{
    EngineName, Experiment, ExperimentReport, GoldenJob, Job, ReferenceReport, Report, Run,
};
use super::outcome::{Checks, Evidence, Outcome, judge, signal_name};
use super::outputs::{Difference, Output, What};
use super::record::{EndRecord, Isolation, Record, Site};
use super::worker::Setup;
use crate::drive::Rejoined;
use crate::trace::TraceOptions;

/// Folders of the store.
pub(crate) const GOLDEN: &str = "golden";
pub(crate) const FAULTY: &str = "faulty";

/// Whether to leave the host's namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolate {
    /// Where that is allowed.
    Auto,
    /// Or fail.
    On,
    /// No.
    Off,
}

/// How experiments are made and judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Manner {
    /// Who brings the program to the first moment.
    pub engine: EngineName,
    /// Who counts instructions and finds moments.
    pub finder: EngineName,
    /// Without a controlled start.
    pub raw: bool,
    /// Change nothing.
    pub dry_run: bool,
    /// How many instructions are stepped to see whether what was changed is read.
    pub window: u64,
    /// Compare the path and the state after the fault with those of a run without it.
    pub trace: Option<TraceOptions>,
    /// What is allowed beyond the reference run.
    pub patience: Patience,
    /// The program's own checks.
    pub checks: Checks,
    /// Patterns that the program's own checks print.
    pub patterns: Vec<String>,
    /// A function that the program calls when it has detected a fault.
    pub detector: Option<String>,
    /// A command that compares two folders of outputs.
    pub compare: Option<String>,
    /// Keep outputs that differ.
    pub keep: bool,
}

/// What a run may use, measured by the reference run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// Times its processor time, and its wall time.
    pub factor: f64,
    /// And so many seconds of processor time more.
    pub cpu_seconds: f64,
    /// And so many seconds of wall time more.
    pub wall_seconds: f64,
    /// Seconds of wall time for the reference run itself.
    pub reference_seconds: Option<f64>,
    /// In place of the factor for processor time: as long as it takes for so many instructions.
    pub instructions: Option<u64>,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            factor: 10.0,
            cpu_seconds: 1.0,
            wall_seconds: 10.0,
            reference_seconds: None,
            instructions: None,
        }
    }
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// No worker.
    #[error(transparent)]
    Worker(#[from] ClientError),
    /// Isolation was demanded.
    #[error("experiments cannot be isolated here: {0} (--isolate off goes without)")]
    NotIsolated(String),
    /// The program cannot be run.
    #[error("{0}")]
    CannotRun(String),
    /// Two runs of the program were not the same.
    #[error("{0}")]
    NotReproducible(String),
    /// What was asked for is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The fault-free run is no reference.
    #[error("the fault-free run is no reference: {0}")]
    Reference(String),
    /// A job failed.
    #[error("{0}")]
    Failed(String),
    /// The user's comparison.
    #[error("the comparison '{command}' {what}")]
    Compare {
        /// The command.
        command: String,
        /// What happened to it.
        what: String,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Session {
    worker: Worker,
    pub(super) store: PathBuf,
    pub(super) manner: Manner,
    isolation: Isolation,
    pub(super) reference: Option<ReferenceReport>,
    /// Instructions of each thread, where they are known.
    instructions: Vec<u64>,
    early_stop: Option<u64>,
}

impl Session {
    /// Starts a worker; `executable` is fits.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn start(
        executable: &Path,
        mut setup: Setup,
        isolate: Isolate,
        manner: Manner,
    ) -> Result<Self, SessionError> {
        setup.isolate = isolate != Isolate::Off;
        let (worker, why_not) = match Worker::start(executable, &setup) {
            Ok(worker) => (worker, None),
            Err(ClientError::Refused(sentence)) if setup.isolate => {
                if isolate == Isolate::On {
                    return Err(SessionError::NotIsolated(sentence));
                }
                setup.isolate = false;
                (Worker::start(executable, &setup)?, Some(sentence))
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            worker,
            store: PathBuf::from(&setup.store),
            manner,
            isolation: Isolation {
                namespaces: setup.isolate,
                why_not,
            },
            reference: None,
            instructions: Vec::new(),
            early_stop: None,
        })
    }

    /// From now on an experiment is compared with the fault-free run for so many instructions after its first fault, and ended, as masked, once it
    /// has the same state ([`crate::drive::EARLY_STOP`] is usual). `None`, as at first: all run to their ends.
    pub fn stop_early(&mut self, steps: Option<u64>) {
        self.early_stop = steps;
    }

    /// How the host is protected.
    #[must_use]
    pub fn isolation(&self) -> &Isolation {
        &self.isolation
    }

    /// Number of the worker's process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.worker.process()
    }

    pub(crate) fn ask(&mut self, job: &Job) -> Result<Report, SessionError> {
        match self.worker.request(job)? {
            Ok(Report::CannotRun(sentence)) => Err(SessionError::CannotRun(sentence)),
            Ok(Report::NotReproducible(sentence)) => Err(SessionError::NotReproducible(sentence)),
            Ok(Report::Wrong(sentence)) => Err(SessionError::Wrong(sentence)),
            Ok(report) => Ok(report),
            Err(sentence) => Err(SessionError::Failed(sentence)),
        }
    }

    fn run(&self) -> Run {
        Run {
            raw: self.manner.raw,
            limits: self.limits(),
        }
    }

    /// Without limits: for runs without faults.
    pub(crate) fn unlimited(&self) -> Run {
        Run {
            limits: Limits::default(),
            ..self.run()
        }
    }

    /// Who counts instructions and finds moments.
    pub(crate) fn finder(&self) -> EngineName {
        self.manner.finder
    }

    /// Those that the reference run gives; none without one.
    fn limits(&self) -> Limits {
        let Some(reference) = &self.reference else {
            return Limits {
                wall_seconds: self.manner.patience.reference_seconds,
                ..Limits::default()
            };
        };
        let Patience {
            factor,
            cpu_seconds,
            wall_seconds,
            instructions,
            reference_seconds: _,
        } = self.manner.patience;
        let golden = reference.end.cpu.user + reference.end.cpu.system;
        let retired: u64 = self.instructions.iter().sum();
        let times = match instructions {
            Some(limit) if retired > 0 => limit as f64 / retired as f64,
            _ => factor,
        };
        Limits {
            cpu_seconds: Some(times * golden + cpu_seconds),
            wall_seconds: Some(factor.max(times) * reference.end.wall_seconds + wall_seconds),
        }
    }

    /// Runs the program without faults; what it leaves is what experiments are compared with.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn reference(&mut self) -> Result<&ReferenceReport, SessionError> {
        let report = self.reference_run(GOLDEN)?;
        if let Some(exceeded) = report.exceeded {
            let what = format!(
                "it was ended for a limit ({exceeded:?}); see --max-processes and --max-memory"
            );
            return Err(SessionError::Reference(what));
        }
        if report.end.how == HowEnded::WallLimit {
            let what = "it took longer than --reference-limit allows".to_owned();
            return Err(SessionError::Reference(what));
        }
        if let HowEnded::Ended(Ended::Signaled { signal, .. }) = report.end.how {
            let limit = match signal {
                libc::SIGXFSZ => " for a file larger than --max-file allows",
                libc::SIGXCPU => " for its processor time",
                _ => "",
            };
            let what = format!("{} ended it{limit}", signal_name(signal));
            return Err(SessionError::Reference(what));
        }
        if let Some(pattern) = report.patterns.first() {
            let what = format!(
                "its output matches '{pattern}', which is to mean that a fault was detected"
            );
            return Err(SessionError::Reference(what));
        }
        Ok(self.reference.insert(report))
    }

    fn reference_run(&mut self, name: &str) -> Result<ReferenceReport, SessionError> {
        let job = Job::Reference {
            run: self.run(),
            keep: name.to_owned(),
            patterns: self.manner.patterns.clone(),
            detector: self.manner.detector.clone(),
        };
        match self.ask(&job)? {
            Report::Reference(report) => Ok(*report),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs it once more: whether it ends in the same way and leaves the same; if not, what differs first.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn verify(&mut self) -> Result<Result<(), String>, SessionError> {
        const AGAIN: &str = "again";
        let Some(first) = self.reference.clone() else {
            return Err(SessionError::Failed("there is no reference run".to_owned()));
        };
        let again = self.reference_run(AGAIN)?;
        // It has served.
        let _ = std::fs::remove_dir_all(self.store.join(AGAIN));
        Ok(divergence(&first, &again).map_or(Ok(()), Err))
    }

    /// Runs the program without faults and judges by an earlier reference run from here on, unless it did something else; then, what. The times
    /// allowed are those of the slower one.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn renew(&mut self, earlier: &ReferenceReport) -> Result<Result<(), String>, SessionError> {
        let mut again = self.reference()?.clone();
        if let Some(what) = divergence(earlier, &again) {
            return Ok(Err(what));
        }
        let (before, now) = (&earlier.end, &mut again.end);
        if before.cpu.user + before.cpu.system > now.cpu.user + now.cpu.system {
            now.cpu = before.cpu;
        }
        now.wall_seconds = now.wall_seconds.max(before.wall_seconds);
        self.reference = Some(again);
        Ok(Ok(()))
    }

    /// Seconds of wall time that a run with a fault may take.
    #[must_use]
    pub fn allowance(&self) -> f64 {
        self.limits().wall_seconds.unwrap_or_default()
    }

    /// Counts instructions, unless they are known; those of each thread.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn count(&mut self) -> Result<&[u64], SessionError> {
        if self.instructions.is_empty() {
            let run = Run {
                limits: Limits::default(),
                ..self.run()
            };
            let engine = self.manner.finder;
            match self.ask(&Job::Count { run, engine })? {
                Report::Counted(end) => self.instructions = end.instructions,
                other => return Err(unexpected(&other)),
            }
        }
        Ok(&self.instructions)
    }

    /// Runs the program without faults in the sandbox and counts everything; the folder with what was counted.
    ///
    /// # Errors
    /// See [`SessionError`].
    pub fn golden(&mut self, level: Level) -> Result<PathBuf, SessionError> {
        const COUNTED: &str = "counted";
        let run = Run {
            limits: Limits::default(),
            ..self.run()
        };
        let job = GoldenJob {
            run,
            engine: self.manner.finder,
            level,
            keep: COUNTED.to_owned(),
        };
        match self.ask(&Job::Golden(job))? {
            Report::Golden => Ok(self.store.join(COUNTED)),
            other => Err(unexpected(&other)),
        }
    }

    /// What a golden run has counted.
    pub fn know(&mut self, instructions: Vec<u64>) {
        self.instructions = instructions;
    }

    /// Instructions of each thread, where they are known.
    #[must_use]
    pub fn instructions(&self) -> &[u64] {
        &self.instructions
    }

    /// Finds the moments of faults, which have their seeds afterwards. `None`: the fault-free run ends before.
    ///
    /// # Errors
    /// See [`SessionError`]; [`SessionError::Wrong`] says what is wrong with a fault.
    pub fn plan(
        &mut self,
        faults: &[String],
        seed: u64,
        finder: EngineName,
    ) -> Result<Vec<Option<(String, Found)>>, SessionError> {
        let cpu = self
            .reference
            .as_ref()
            .map(|reference| reference.end.cpu.user + reference.end.cpu.system);
        let known = (!self.instructions.is_empty()).then(|| self.instructions.clone());
        let job = Job::Plan {
            run: Run {
                limits: Limits::default(),
                ..self.run()
            },
            engine: finder,
            faults: faults.to_vec(),
            seed,
            golden: known.zip(cpu),
        };
        match self.ask(&job)? {
            Report::Planned(found) => Ok(found),
            other => Err(unexpected(&other)),
        }
    }

    /// The job of an experiment, and the name under which its outputs are kept.
    pub(super) fn job(
        &self,
        number: usize,
        faults: &[(String, Found)],
    ) -> (Experiment, Option<String>) {
        let golden = match &self.reference {
            Some(reference) => reference.outputs.clone(),
            None => Vec::new(),
        };
        let keep = if self.manner.keep {
            Some(format!("{FAULTY}-{number}"))
        } else {
            self.manner.compare.as_ref().map(|_| FAULTY.to_owned())
        };
        let retired = self.instructions.iter().max();
        let beyond = self.manner.patience.factor;
        let experiment = Experiment {
            run: self.run(),
            engine: self.manner.engine,
            dry_run: self.manner.dry_run,
            window: self.manner.window,
            trace: self.manner.trace.clone(),
            early_stop: self.early_stop,
            instructions: retired.map(|most| {
                let most = *most as f64 * beyond + 1e6;
                self.manner.patience.instructions.unwrap_or(most as u64)
            }),
            golden,
            golden_kept: GOLDEN.to_owned(),
            keep: keep.clone(),
            patterns: self.manner.patterns.clone(),
            detector: self.reference.as_ref().and_then(|report| report.detector),
            checkpoint: None,
            faults: faults.to_vec(),
        };
        (experiment, keep)
    }

    /// Runs the program with faults. What goes wrong with the run makes the record an invalid one.
    ///
    /// # Errors
    /// When the worker is lost, or the user's comparison cannot be run.
    pub fn experiment(
        &mut self,
        number: usize,
        faults: Vec<(String, Found)>,
    ) -> Result<Record, SessionError> {
        self.experiment_with(number, faults, None)
    }

    /// The same from a checkpoint at the first moment, which a [`super::Walker`] of the same program has left: the record is the same but for times. Should
    /// it not be possible to begin there, the run begins afresh, and a warning in the record says why.
    ///
    /// # Errors
    /// See [`Session::experiment`].
    pub fn experiment_from(
        &mut self,
        number: usize,
        faults: Vec<(String, Found)>,
        checkpoint: &Path,
    ) -> Result<Record, SessionError> {
        self.experiment_with(number, faults, Some(checkpoint))
    }

    fn experiment_with(
        &mut self,
        number: usize,
        faults: Vec<(String, Found)>,
        checkpoint: Option<&Path>,
    ) -> Result<Record, SessionError> {
        let (mut job, keep) = self.job(number, &faults);
        job.checkpoint = checkpoint.map(|path| path.as_os_str().to_owned());
        let texts = faults.into_iter().map(|(text, _)| text).collect();
        match self.ask(&Job::Experiment(Box::new(job))) {
            Ok(Report::Experiment(report)) => self.judged(number, texts, *report, keep.as_deref()),
            Ok(other) => Err(unexpected(&other)),
            Err(
                SessionError::Failed(sentence)
                | SessionError::CannotRun(sentence)
                | SessionError::NotReproducible(sentence),
            ) => Ok(blank(number, texts, Outcome::Invalid, sentence)),
            Err(error) => Err(error),
        }
    }

    fn judged(
        &self,
        number: usize,
        faults: Vec<String>,
        report: ExperimentReport,
        kept: Option<&str>,
    ) -> Result<Record, SessionError> {
        let Some(reference) = &self.reference else {
            return Err(SessionError::Failed("there is no reference run".to_owned()));
        };
        let failed = report.injections.iter().find_map(|one| one.failed.clone());
        let (outcome, reason) = if let Some(sentence) = failed {
            (Outcome::Invalid, sentence)
        } else if !report.reached && matches!(report.end.how, HowEnded::Ended(_)) {
            (
                Outcome::NotReached,
                "the program ended before the moment of the fault".to_owned(),
            )
        } else if let Some(Rejoined { after, or_more }) = report.rejoined {
            let least = if or_more { "at least " } else { "" };
            (
                Outcome::Masked,
                format!(
                    "its state was that of the fault-free run again after {least}{after} instructions"
                ),
            )
        } else {
            let evidence = Evidence {
                golden: &reference.end,
                end: &report.end,
                differs: self.differs(&report, kept)?,
                pattern: report.patterns.first().map(String::as_str),
                symbol: self.manner.detector.as_deref().filter(|_| report.detected),
            };
            let (outcome, reason) = judge(&evidence, &self.manner.checks);
            match (outcome, report.differences.first()) {
                (Outcome::Sdc, Some(first)) => (outcome, difference(first)),
                _ => (outcome, reason),
            }
        };
        if let Some(name) = kept
            && !self.manner.keep
        {
            // There is none if nothing differs.
            let _ = std::fs::remove_dir_all(self.store.join(name));
        }
        Ok(Record {
            injections: report.injections,
            end: report.rejoined.is_none().then(|| end_record(&report.end)),
            rejoined: report.rejoined.map(|rejoined| rejoined.after),
            activated: report.activated,
            latency: report.latency,
            differences: report.differences,
            trace: report.trace,
            cpu_seconds: report.end.cpu.user + report.end.cpu.system,
            wall_seconds: report.end.wall_seconds,
            limit: report
                .exceeded
                .map(|what| format!("{what:?}").to_lowercase()),
            warnings: report.end.warnings,
            ..blank(number, faults, outcome, reason)
        })
    }

    /// Whether the outputs differ in a way that matters.
    fn differs(&self, report: &ExperimentReport, kept: Option<&str>) -> Result<bool, SessionError> {
        let (Some(command), Some(kept)) = (&self.manner.compare, kept) else {
            return Ok(!report.differences.is_empty());
        };
        if report.differences.is_empty() {
            return Ok(false);
        }
        let failed = |what: String| SessionError::Compare {
            command: command.clone(),
            what,
        };
        let status = Command::new("sh")
            .args(["-c", &format!("{command} \"$@\""), "fits"])
            .args([self.store.join(GOLDEN), self.store.join(kept)])
            .stdin(std::process::Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .map_err(|error| failed(format!("cannot be started: {error}")))?;
        match status.code() {
            Some(0) => Ok(false),
            Some(126 | 127) => Err(failed("cannot be run".to_owned())),
            Some(_) => Ok(true),
            None => Err(failed(format!("was ended: {status}"))),
        }
    }

    /// Files with code, for finding symbols and lines.
    #[must_use]
    pub fn modules(&self) -> Vec<Module> {
        self.reference.as_ref().map(modules).unwrap_or_default()
    }

    /// The reference run, if there was one.
    #[must_use]
    pub fn reference_report(&self) -> Option<&ReferenceReport> {
        self.reference.as_ref()
    }
}

/// Files with code as they lay in a reference run, for finding symbols and lines.
#[must_use]
pub fn modules(report: &ReferenceReport) -> Vec<Module> {
    let mut modules: Vec<Module> = Vec::new();
    for (path, start, end, offset) in &report.modules {
        let segment = Segment {
            start: *start,
            end: *end,
            file_offset: *offset,
        };
        match modules.iter_mut().find(|module| module.path == *path) {
            Some(module) => module.segments.push(segment),
            None => modules.push(Module {
                path: path.clone(),
                segments: vec![segment],
                generation: 0,
            }),
        }
    }
    modules
}

/// What a second reference run did otherwise than the first, if anything.
fn divergence(first: &ReferenceReport, again: &ReferenceReport) -> Option<String> {
    if first.end.how != again.end.how {
        return Some("it ended differently".to_owned());
    }
    // Where their contents lie is no part of them.
    let known = |all: &[Output], one: &Output| {
        all.iter()
            .any(|other| (&other.name, &other.kind) == (&one.name, &one.kind))
    };
    let changed = first.outputs.iter().find(|one| !known(&again.outputs, one));
    let differing =
        changed.or_else(|| again.outputs.iter().find(|one| !known(&first.outputs, one)));
    differing.map(|output| format!("{} differs", output.name))
}

pub(crate) fn unexpected(report: &Report) -> SessionError {
    SessionError::Failed(format!("the worker answered something else: {report:?}"))
}

/// The record of an experiment that was not run.
#[must_use]
pub fn blank(number: usize, faults: Vec<String>, outcome: Outcome, reason: String) -> Record {
    Record {
        number,
        faults,
        outcome,
        reason,
        injections: Vec::new(),
        end: None,
        activated: "unknown".to_owned(),
        latency: None,
        differences: Vec::new(),
        trace: None,
        statistics: None,
        rejoined: None,
        cpu_seconds: 0.0,
        wall_seconds: 0.0,
        limit: None,
        replay: String::new(),
        warnings: Vec::new(),
    }
}

/// How a run ended, as it is kept. The place of a crash is found later.
#[must_use]
pub fn end_record(end: &End) -> EndRecord {
    let limit = |limit: &str| EndRecord::Limit {
        limit: limit.to_owned(),
    };
    match end.how {
        HowEnded::CpuLimit => limit("cpu"),
        HowEnded::WallLimit => limit("wall"),
        HowEnded::Ended(Ended::Exited(status)) => EndRecord::Exited { status },
        HowEnded::Ended(Ended::Signaled { signal, .. }) => {
            let crash = end.crash.as_ref();
            EndRecord::Signaled {
                signal,
                name: signal_name(signal),
                code: crash.map(|crash| crash.code),
                address: crash
                    .filter(|crash| crash.code > 0)
                    .map(|crash| format!("{:#x}", crash.address)),
                pc: crash.map(|crash| format!("{:#x}", crash.pc)),
                thread: crash.map(|crash| crash.thread),
                site: Site::default(),
            }
        }
    }
}

/// A difference in words.
#[must_use]
pub fn difference(difference: &Difference) -> String {
    let name = &difference.name;
    match &difference.what {
        What::Missing => format!("{name} is missing"),
        What::Extra => format!("{name} is new"),
        What::Form => format!("{name} is of another kind or has other permissions"),
        What::Content {
            offset,
            golden,
            faulty,
            ..
        } => {
            let byte =
                |byte: &Option<u8>| byte.map_or("end".to_owned(), |byte| format!("{byte:#04x}"));
            format!(
                "{name} differs from byte {offset} on: {} in place of {}",
                byte(faulty),
                byte(golden)
            )
        }
    }
}
