//! To the end, under limits.

use std::time::{Duration, Instant};

use super::Live;
use super::events::Happened;
use crate::backend::{BackendError, Ended};
use crate::engine::{End, HowEnded, Limits};
use crate::process::{CpuTime, Ticker, cpu_seconds, end_forwarding};

/// How often limits are looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Limits that count from here on.
#[derive(Debug)]
pub(super) struct Watch {
    limits: Limits,
    since: Instant,
    next: Instant,
    cpu_before: f64,
    /// Interrupts waiting.
    ticker: Option<Ticker>,
}

impl Watch {
    fn start(limits: &Limits, cpu_before: f64) -> Result<Self, BackendError> {
        let limited = limits.cpu_seconds.is_some() || limits.wall_seconds.is_some();
        let ticker = limited.then(|| Ticker::start(INTERVAL)).transpose();
        let failed =
            |errno| BackendError::Engine(format!("no timer could be had for the limits: {errno}"));
        Ok(Self {
            limits: *limits,
            since: Instant::now(),
            next: Instant::now() + INTERVAL,
            cpu_before,
            ticker: ticker.map_err(failed)?,
        })
    }
}

impl Live {
    /// Lets all threads run natively to the end. Limits count from here on. When it has ended already, that end is told again.
    ///
    /// # Errors
    /// See [`BackendError`]. A program that crashes or uses up a limit is no error.
    pub fn finish(&mut self, limits: &Limits) -> Result<End, BackendError> {
        let mut watch = self.watch_limits(limits)?;
        self.resume_all(None)?;
        while self.over.is_none() {
            self.turn(true)?;
            self.check(&mut watch)?;
        }
        self.end()
            .ok_or(crate::Error::Gone { tid: self.leader }.into())
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        let how = self.over?;
        let crash = self.last_signal.clone().filter(|crash| {
            matches!(how, HowEnded::Ended(Ended::Signaled { signal, .. }) if signal == crash.signal)
        });
        let mut warnings = self.warnings.clone();
        warnings.extend(self.pids.warning());
        warnings.dedup();
        Some(End {
            how,
            crash,
            executable: self.executable.clone(),
            cpu: self.cpu,
            wall_seconds: self.wall_seconds,
            instructions: Vec::new(),
            warnings,
        })
    }

    pub(super) fn watch_limits(&self, limits: &Limits) -> Result<Watch, BackendError> {
        Watch::start(limits, cpu_seconds(self.leader).unwrap_or_default())
    }

    /// Ends the process if it has used up a limit. To be called at every turn.
    pub(super) fn check(&mut self, watch: &mut Watch) -> Result<(), BackendError> {
        if watch.ticker.is_none() || self.over.is_some() || Instant::now() < watch.next {
            return Ok(());
        }
        watch.next = Instant::now() + INTERVAL;
        let over = |used: f64, limit: Option<f64>| limit.is_some_and(|limit| used > limit);
        let cpu = || cpu_seconds(self.leader).unwrap_or_default() - watch.cpu_before;
        let how = if watch.limits.cpu_seconds.is_some() && over(cpu(), watch.limits.cpu_seconds) {
            HowEnded::CpuLimit
        } else if over(
            watch.since.elapsed().as_secs_f64(),
            watch.limits.wall_seconds,
        ) {
            HowEnded::WallLimit
        } else {
            return Ok(());
        };
        // Should it have ended meanwhile, it has used up the limit all the same.
        let _ = nix::sys::signal::kill(self.leader, nix::sys::signal::Signal::SIGKILL);
        while self.over.is_none() {
            if self.turn(true)? == Some(Happened::Over) {
                break;
            }
        }
        self.over = Some(how);
        Ok(())
    }

    pub(super) fn note_over(&mut self, how: HowEnded) {
        end_forwarding();
        self.over = Some(how);
        self.wall_seconds = self.started.elapsed().as_secs_f64();
        self.cpu = CpuTime::of_children().since(self.cpu_before);
    }
}
