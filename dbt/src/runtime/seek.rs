//! The translator as an engine for fault injection: it counts instructions, finds moments, and brings programs to them.

use fits_stats::client::StatsProcess;
use fits_stats::protocol::Level;
use fits_tracer::backend::{BackendError, Ended, RunOptions};
use fits_tracer::engine::{
    Collected, End, Engine, EngineOptions, Found, HowEnded, Landmark, Moment, Reached, Visit,
};
use fits_tracer::live::Live;
use fits_tracer::process::{Command, CpuTime};

use super::backend::Run;
use super::collector::Collector;
use super::error::NAME;
use super::limits::Allowance;
use super::search::Search;
use super::takeover;
use super::walk::Walk;
use crate::mode::Mode;

/// The translating engine.
#[derive(Debug, Default)]
pub struct TranslatorEngine;

fn run_options(options: &EngineOptions) -> RunOptions {
    RunOptions::new(Level::Counts, options.environment, options.cpus.clone())
}

impl Engine for TranslatorEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn count(&mut self, command: &Command, options: &EngineOptions) -> Result<End, BackendError> {
        let run_options = run_options(options);
        let mut run = Run::start(command, &run_options, Mode::Budget, Collector::Nobody)?;
        run.supervisor.allowance = Allowance::new(options.limits);
        match run.go_on()? {
            Some(ended) => Ok(end(&mut run, ended)),
            None => Err(BackendError::Engine(
                "a run that seeks nothing has stopped".to_owned(),
            )),
        }
    }

    fn locate(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        landmarks: &[Landmark],
    ) -> Result<Vec<Option<Found>>, BackendError> {
        if landmarks
            .iter()
            .any(|one| matches!(one, Landmark::Access { .. }))
        {
            let message =
                "it does not search for accesses of memory: use --backend ptrace for that";
            return Err(BackendError::Engine(message.to_owned()));
        }
        let landmarks = landmarks.iter().copied();
        let mut found = search(command, options, Search::of(landmarks, std::iter::empty()))?;
        // How often a thread has arrived where it stands can only be counted when that is known.
        let uncounted = |one: &&mut Found| one.arrivals == 0;
        let mut uncounted: Vec<_> = found.iter_mut().flatten().filter(uncounted).collect();
        // Without a controlled start it stands elsewhere in every run.
        if uncounted.is_empty() || !options.environment.is_controlled() {
            return Ok(found);
        }
        let moments = uncounted.iter().map(|one| Landmark::Index(one.moment));
        let counted = uncounted.iter().map(|one| one.pc);
        let again = search(command, options, Search::of(moments, counted))?;
        for (one, again) in uncounted.iter_mut().zip(again) {
            match again {
                Some(again) if again.pc == one.pc => one.arrivals = again.arrivals,
                _ => return Err(BackendError::NotReproducible(NOT_REPRODUCIBLE.to_owned())),
            }
        }
        Ok(found)
    }

    fn walks(&self) -> bool {
        true
    }

    fn walk(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moments: &[u64],
        visit: &mut Visit<'_>,
    ) -> Result<(), BackendError> {
        let run_options = run_options(options);
        let mut run = Run::start(command, &run_options, Mode::Budget, Collector::Nobody)?;
        let mut walk = Walk::new(moments, visit, command.streams());
        run.supervisor.search.stop = walk.next(None);
        run.supervisor.walk = Some(walk);
        run.supervisor.allowance = Allowance::new(options.limits);
        if run.go_on()?.is_none() {
            run.supervisor.kill_all();
        }
        Ok(())
    }

    fn reach(
        &mut self,
        command: &Command,
        options: &EngineOptions,
        moment: Moment,
    ) -> Result<Reached, BackendError> {
        let run_options = run_options(options);
        let mut run = Run::start(command, &run_options, Mode::Budget, Collector::Nobody)?;
        run.supervisor.search = Search::to(moment);
        run.supervisor.allowance = Allowance::new(options.limits);
        Ok(match run.go_on()? {
            Some(ended) => Reached::Ended(end(&mut run, ended)),
            None => match run.leave()? {
                Ok(threads) => Reached::At(Box::new(run.hand_over(moment, threads)?)),
                Err(ended) => Reached::Ended(end(&mut run, ended)),
            },
        })
    }

    fn collect(
        &mut self,
        live: Live,
        executed: &[u64],
        options: &EngineOptions,
        stats: &mut StatsProcess,
    ) -> Result<Collected, BackendError> {
        let run_options = run_options(options);
        let stats = Collector::Messages(stats);
        takeover::collect(live, executed, options, &run_options, stats)
    }
}

const NOT_REPRODUCIBLE: &str =
    "two runs of it did not come to the same instruction, so the moment cannot be found again";

fn search(
    command: &Command,
    options: &EngineOptions,
    search: Search,
) -> Result<Vec<Option<Found>>, BackendError> {
    let run_options = run_options(options);
    let mut run = Run::start(command, &run_options, Mode::Budget, Collector::Nobody)?;
    run.supervisor.search = search;
    run.supervisor.allowance = Allowance::new(options.limits);
    if run.go_on()?.is_none() {
        run.supervisor.kill_all();
    }
    Ok(std::mem::take(&mut run.supervisor.search.found))
}

fn end(run: &mut Run<'_>, ended: Ended) -> End {
    End {
        how: (run.supervisor.allowance.ended_for).unwrap_or(HowEnded::Ended(ended)),
        crash: run.crash(ended),
        executable: run.executable.clone(),
        cpu: CpuTime::of_children().since(run.cpu_before),
        wall_seconds: run.started.elapsed().as_secs_f64(),
        instructions: run.supervisor.instructions.values().copied().collect(),
        warnings: run.warnings(),
    }
}
