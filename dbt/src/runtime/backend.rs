//! Runs of the translator: golden runs for the statistics process, and the start and end that all runs share.

use std::path::PathBuf;
use std::time::Instant;

use fits_stats::client::StatsProcess;
use fits_stats::model::Translated;
use fits_stats::protocol::{Crash, Level};
use fits_tracer::backend::{Backend, BackendError, Ended, Outcome, RunOptions};
use fits_tracer::process::{Command, CpuTime, Launched, end_forwarding, forward_signals};
use fits_tracer::ptrace::{Options, Stopped};

use super::collector::Collector;
use super::error::NAME;
use super::supervisor::Supervisor;
use crate::mode::Mode;

/// The translating backend.
#[derive(Debug, Default)]
pub struct Translator;

impl Backend for Translator {
    fn name(&self) -> &'static str {
        NAME
    }

    fn run(
        &mut self,
        command: &Command,
        options: &RunOptions,
        stats: &mut StatsProcess,
    ) -> Result<Outcome, BackendError> {
        if options.follow_forks {
            let message = "it does not follow forks: use --backend ptrace for that";
            return Err(BackendError::Engine(message.to_owned()));
        }
        let stats = match options.level {
            Level::Counts => Collector::Messages(stats),
            Level::Full => Collector::Rows(stats),
        };
        let mut run = Run::start(command, options, options.level.into(), stats)?;
        let ended = run.go_on()?.ok_or_else(|| {
            BackendError::Engine("a run that seeks nothing has stopped".to_owned())
        })?;
        Ok(run.outcome(ended))
    }
}

/// A run under way.
pub(super) struct Run<'a> {
    pub(super) supervisor: Supervisor<'a>,
    pub(super) executable: PathBuf,
    pub(super) started: Instant,
    pub(super) cpu_before: CpuTime,
    /// Before its first instruction.
    pub(super) stopped: Option<Stopped>,
}

impl<'a> Run<'a> {
    /// Starts the program; it stands before its first instruction.
    pub(super) fn start(
        command: &Command,
        options: &'a RunOptions,
        mode: Mode,
        stats: Collector<'a>,
    ) -> Result<Self, BackendError> {
        options.cpus.pin_tracer();
        let started = Instant::now();
        let cpu_before = CpuTime::of_children();
        let launched =
            command.launch(Options::WHOLE_PROGRAM, options.environment, &options.cpus)?;
        // Failing leaves us with the default: a signal ends us, and the target with us.
        let _ = forward_signals(launched.pid);
        let Launched {
            pid,
            stopped,
            executable,
            pids,
            warnings,
        } = launched;
        let mut supervisor = Supervisor::new(options, mode, stats, pid, pids)?;
        if let Some(room) = options.code_cache {
            supervisor.cache.limit(room);
        }
        supervisor.warnings = warnings;
        Ok(Self {
            supervisor,
            executable,
            started,
            cpu_before,
            stopped: Some(stopped),
        })
    }

    /// Runs the program to its end, or to where the search ends: `None`. After an error nothing is left of it.
    pub(super) fn go_on(&mut self) -> Result<Option<Ended>, BackendError> {
        let ended = match (self.supervisor.adopted.take(), self.stopped.take()) {
            (Some(adopted), _) => self.supervisor.run_adopted(adopted),
            (None, Some(stopped)) => self.supervisor.run(stopped),
            (None, None) => return Ok(None),
        };
        if ended.is_err() {
            self.supervisor.kill_all();
        }
        end_forwarding();
        self.supervisor.hot.ticker = None;
        Ok(ended?)
    }

    /// All that is known when it is over.
    pub(super) fn outcome(mut self, ended: Ended) -> Outcome {
        let outcome = Outcome {
            ended,
            crash: self.crash(ended),
            warnings: self.warnings(),
            executable: self.executable,
            pid: self.supervisor.leader.as_raw(),
            wall_seconds: self.started.elapsed().as_secs_f64(),
            cpu: CpuTime::of_children().since(self.cpu_before),
            translated: Some(Translated {
                units: u64::from(self.supervisor.cache.unit_count()) - 1,
                paths: self.supervisor.hot.paths,
            }),
        };
        self.supervisor.cache.abandon();
        outcome
    }

    /// Where the program crashed, if it ended so.
    pub(super) fn crash(&self, ended: Ended) -> Option<Crash> {
        let is_it = |crash: &Crash| matches!(ended, Ended::Signaled { signal, .. } if signal == crash.signal);
        self.supervisor
            .crash
            .as_ref()
            .filter(|&crash| is_it(crash))
            .cloned()
    }

    /// What the reader should know.
    pub(super) fn warnings(&mut self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut self.supervisor.warnings);
        warnings.extend(self.supervisor.pids.warning());
        warnings.dedup();
        warnings
    }
}
