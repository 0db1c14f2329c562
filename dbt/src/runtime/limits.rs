//! Ending a program that uses more than it may.

use std::time::{Duration, Instant};

use fits_tracer::engine::{HowEnded, Limits};
use fits_tracer::process::{Ticker, cpu_seconds};
use nix::sys::signal::{Signal, kill};

use super::supervisor::Supervisor;

/// How often processor time is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// What the program may use, and whether it was ended for it.
#[derive(Debug)]
pub(super) struct Allowance {
    limits: Limits,
    since: Instant,
    next: Instant,
    /// Interrupts waiting. Without it limits are looked at when the program stops.
    _ticker: Option<Ticker>,
    /// It was killed for this.
    pub(super) ended_for: Option<HowEnded>,
}

impl Allowance {
    /// Counts from now on.
    pub(super) fn new(limits: Limits) -> Self {
        let now = Instant::now();
        Self {
            limits,
            since: now,
            next: now + INTERVAL,
            _ticker: (limits != Limits::default())
                .then(|| Ticker::start(INTERVAL).ok())
                .flatten(),
            ended_for: None,
        }
    }

    fn over(&self, cpu: impl FnOnce() -> f64) -> Option<HowEnded> {
        let wall = self.since.elapsed().as_secs_f64();
        if self.limits.cpu_seconds.is_some_and(|limit| cpu() > limit) {
            Some(HowEnded::CpuLimit)
        } else if self.limits.wall_seconds.is_some_and(|limit| wall > limit) {
            Some(HowEnded::WallLimit)
        } else {
            None
        }
    }
}

impl Supervisor<'_> {
    /// Kills the program if it has used more than it may.
    pub(super) fn check_limits(&mut self) {
        let now = Instant::now();
        let allowance = &mut self.allowance;
        if allowance.limits == Limits::default() || now < allowance.next {
            return;
        }
        allowance.next = now + INTERVAL;
        let leader = self.leader;
        if allowance.ended_for.is_none()
            && let Some(how) = allowance.over(|| cpu_seconds(leader).unwrap_or_default())
        {
            allowance.ended_for = Some(how);
            // Should it have ended meanwhile, it has used up the limit all the same.
            let _ = kill(leader, Signal::SIGKILL);
        }
    }
}
