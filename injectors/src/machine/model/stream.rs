//! The faults of one kind of error, at its times.

use super::ErrorModel;
use super::distribution::Sequence;
use super::random::Random;
use crate::machine::MachineFault;
use crate::machine::scheduler::Source;

/// Faults, one after the other.
#[derive(Debug)]
pub(super) struct Stream {
    error: ErrorModel,
    sequence: Sequence,
    given: u64,
}

impl Stream {
    pub(super) fn new(error: &ErrorModel, seed: u64, number: u64) -> Self {
        Stream {
            error: error.clone(),
            sequence: Sequence::new(error.times.clone(), Random::new(seed, number)),
            given: 0,
        }
    }
}

impl Source for Stream {
    fn next(&mut self) -> Option<Vec<MachineFault>> {
        if self.given >= self.error.count {
            return None;
        }
        let time = self.error.start + self.sequence.next()?;
        if time > self.error.end {
            self.given = self.error.count;
            return None;
        }
        self.given += 1;
        // The text was tried when it was read: every draw of it is a fault.
        let fault = self.error.fault.draw(time, self.sequence.random()).ok()?;
        Some(vec![fault])
    }
}
