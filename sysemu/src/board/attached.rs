//! A device on the board, and what is wrong with it as a whole: it may be dead, or have another idea of the time.

use std::time::Duration;

use crate::devices::device::{Context, Device};

/// Billionths in one.
const BILLION: u128 = 1_000_000_000;

/// What goes wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// It does nothing any more: reads give all ones, writes are dropped, its lines stay as they are.
    Dead,
    /// Its clock gains so many nanoseconds in a second; 1,000,000,000 is right, 0 stands still.
    Rate(u64),
}

/// The clock of a device.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Since this time it goes at this rate,
    since: u64,
    /// and showed this then.
    shown: u64,
    rate: u64,
}

impl Default for Clock {
    fn default() -> Self {
        Clock {
            since: 0,
            shown: 0,
            rate: BILLION as u64,
        }
    }
}

impl Clock {
    /// From now on it goes at another rate.
    pub(super) fn set_rate(&mut self, now: u64, rate: u64) {
        *self = Clock {
            since: now,
            shown: self.local(now),
            rate,
        };
    }

    fn is_right(&self) -> bool {
        self.since == self.shown && u128::from(self.rate) == BILLION
    }

    /// What it shows.
    pub(super) fn local(&self, now: u64) -> u64 {
        if self.is_right() {
            return now;
        }
        let passed = u128::from(now.saturating_sub(self.since)) * u128::from(self.rate) / BILLION;
        self.shown.saturating_add(passed as u64)
    }

    /// When it will show that; never where it stands still.
    pub(super) fn global(&self, local: u64) -> Option<u64> {
        if self.is_right() {
            return Some(local);
        }
        if self.rate == 0 {
            return None;
        }
        let left = u128::from(local.saturating_sub(self.shown)) * BILLION;
        let left = left.div_ceil(self.rate.into()).min(u128::from(u64::MAX));
        Some(self.since.saturating_add(left as u64))
    }

    /// Lets somebody act at the time that it shows.
    pub(super) fn with<R>(&self, context: &mut Context, act: impl FnOnce(&mut Context) -> R) -> R {
        let now = context.now;
        context.now = self.local(now);
        let result = act(context);
        context.now = now;
        result
    }
}

/// A device.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) name: String,
    pub(super) device: Box<dyn Device>,
    /// When it wants to act.
    pub(super) due: Option<u64>,
    pub(super) clock: Clock,
    pub(super) dead: bool,
}

impl Attached {
    pub(super) fn new(name: &str, device: Box<dyn Device>) -> Self {
        let mut attached = Attached {
            name: name.to_owned(),
            device,
            due: None,
            clock: Clock::default(),
            dead: false,
        };
        attached.plan();
        attached
    }

    /// Nothing is wrong with it any more.
    pub(super) fn mend(&mut self) {
        (self.clock, self.dead) = (Clock::default(), false);
        self.plan();
    }

    /// Looks when it wants to act.
    pub(super) fn plan(&mut self) {
        let next = if self.dead {
            None
        } else {
            self.device.next_event()
        };
        self.due = next.and_then(|local| self.clock.global(local));
    }

    /// Acts if its time has come.
    pub(super) fn advance(&mut self, context: &mut Context) {
        if self.due.is_some_and(|at| at <= context.now) {
            let device = &mut self.device;
            self.clock.with(context, |context| device.advance(context));
            self.plan();
        }
    }

    /// Waits for something from outside.
    pub(super) fn wait(&mut self, limit: Duration) -> bool {
        !self.dead && self.device.wait(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_goes_at_its_rate_from_when_that_was_set() {
        let mut clock = Clock::default();
        assert_eq!((clock.local(12), clock.global(12)), (12, Some(12)));
        clock.set_rate(1000, 1_500_000_000);
        assert_eq!(clock.local(1000), 1000);
        assert_eq!(clock.local(1100), 1150);
        assert_eq!(clock.global(1150), Some(1100));
        assert_eq!(clock.global(1151), Some(1101));
        clock.set_rate(1100, 0);
        assert_eq!((clock.local(9999), clock.global(1151)), (1150, None));
        clock.set_rate(2000, 1_000_000_000);
        assert_eq!((clock.local(2010), clock.global(1160)), (1160, Some(2010)));
    }
}
