//! Carries experiments out: each worker has a machine, and takes the next experiment when it has finished one.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};

use fits_injectors::kernel::export::Row;
use fits_injectors::kernel::outcome::judge;
use fits_injectors::kernel::{Observation, Outcome};
use fits_injectors::machine::Scheduler;
use fits_injectors::machine::geometry::Geometry;
use fits_injectors::machine::log::Log;
use fits_injectors::machine::symbols::Symbols;

use super::Point;
use super::guest::{Base, Guest, Limit};
use crate::cli::CliError;

/// What is to be done.
pub(super) struct Plan<'a> {
    pub(super) base: &'a Base<'a>,
    pub(super) golden: &'a Observation,
    pub(super) points: &'a [Point],
    pub(super) symbols: &'a Symbols,
    pub(super) seed: u64,
    pub(super) limit: Limit,
    pub(super) workers: Option<NonZeroUsize>,
}

impl Plan<'_> {
    /// All experiments, in the order of the list.
    pub(super) fn carry_out(&self) -> Result<Vec<Row>, CliError> {
        let next = AtomicUsize::new(0);
        let workers = self
            .workers
            .map_or(1, NonZeroUsize::get)
            .min(self.points.len());
        let results: Vec<Result<Vec<Row>, CliError>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| self.work(&next)))
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut rows = Vec::new();
        for result in results {
            rows.extend(result?);
        }
        rows.sort_by_key(|row| row.number);
        Ok(rows)
    }

    fn work(&self, next: &AtomicUsize) -> Result<Vec<Row>, CliError> {
        let mut guest = Guest::new(self.base)?;
        let mut rows = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(point) = self.points.get(number) else {
                return Ok(rows);
            };
            rows.push(self.experiment(&mut guest, number, point)?);
        }
    }

    fn experiment(&self, guest: &mut Guest, number: usize, point: &Point) -> Result<Row, CliError> {
        let seed = self.seed.wrapping_add(number as u64);
        let mut scheduler = Scheduler::new(
            self.symbols.clone(),
            Geometry::default(),
            seed,
            Log::new(None),
        );
        let mut row = Row {
            number,
            kind: point.kind.name().to_owned(),
            fault: point.text.clone(),
            outcome: Outcome::Invalid,
            kernel: None,
            user: None,
            end: None,
            injected_at: None,
            rip: String::new(),
            place: String::new(),
            before: String::new(),
            after: String::new(),
            instructions: 0,
            evidence: String::new(),
        };
        if let Err(reason) = scheduler.add(point.fault.clone()) {
            row.evidence = reason;
            return Ok(row);
        }
        let seen = guest.run(Some(&mut scheduler), self.limit)?;
        row.instructions = seen.instructions;
        row.end = Some(seen.end);
        let entry = scheduler.log().entries().first().cloned();
        let Some(entry) = entry else {
            row.outcome = Outcome::NotReached;
            return Ok(row);
        };
        row.injected_at = Some(entry.instruction);
        row.rip = entry.rip;
        row.place = entry.place;
        row.before = entry.before;
        row.after = entry.after;
        if entry.result.starts_with("not injected") {
            row.evidence = entry.result;
            return Ok(row);
        }
        let judged = judge(self.golden, &seen);
        row.outcome = judged.outcome;
        row.kernel = Some(judged.kernel);
        row.user = Some(judged.user);
        row.evidence = judged.evidence;
        Ok(row)
    }
}
