//! A fault: location × operation × duration × trigger, and its text form.
//!
//! The grammar, with all that can be written, is in `docs/faults.md`; [`Fault`] reads it (`FromStr`) and writes it
//! (`Display`), and what is written is read back as the same fault.
//!
//! - `register`: registers by name. `location`: where. `change`: what, to which bits, and for how long. `trigger`: when.
//! - `parse`: the grammar, as a recursive descent. `check`: what is refused although the grammar allows it.
//! - `error`: the sentence about a text that is no fault.

mod change;
mod check;
mod error;
mod location;
pub(crate) mod parse;
mod register;
#[cfg(test)]
mod tests;
pub(crate) mod trigger;

use std::fmt;

pub use change::{Change, Duration, Mask, Operation};
pub use error::ParseError;
pub(crate) use error::{did_you_mean, nearest};
pub use location::{Location, MemoryOperand, MemoryPlace, Place, Region, RegisterOperand};
pub use register::{Cell, RegisterName};
pub use trigger::{Access, Arrival, Trigger, When};

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// Where.
    pub location: Location,
    /// What; none for locations that say it themselves ([`Location::is_whole`]).
    pub change: Option<Change>,
    /// For how long.
    pub duration: Duration,
    /// When.
    pub trigger: Trigger,
    /// What everything random in it is drawn from, if it says so itself.
    pub seed: Option<u64>,
}

impl Fault {
    /// Whether anything in it is drawn at random.
    #[must_use]
    pub fn draws(&self) -> bool {
        let operation = self
            .change
            .is_some_and(|change| change.operation == Operation::Random);
        operation
            || matches!(self.location, Location::Memory(MemoryPlace::Random(_)))
            || matches!(self.trigger.when, When::Random { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location)?;
        if let Some(change) = &self.change {
            change.write(f, self.location.width() == 1)?;
        }
        write!(f, "{}{}", self.duration, self.trigger)?;
        self.seed.map_or(Ok(()), |seed| write!(f, ",seed={seed}"))
    }
}
