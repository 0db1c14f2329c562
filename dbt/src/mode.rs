//! What translated code does beside the program's own work.

use fits_stats::protocol::Level;

/// What translated code does beside the program's own work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It counts the executions of units.
    Counts,
    /// It leaves a row with the values of all operands.
    Full,
    /// It uses up a *budget* of instructions, and comes to a stop when that is spent. Units of one basic block are counted as well,
    /// so that the hot ones can be found.
    Budget,
}

impl Mode {
    /// In r15 is not the guest's value at the boundaries of units, but the row cursor or the budget.
    pub(crate) fn takes_r15(self) -> bool {
        self != Self::Counts
    }

    /// Units use up a budget.
    pub(crate) fn has_budget(self) -> bool {
        self == Self::Budget
    }

    /// The level of what slow steps collect.
    pub(crate) fn level(self) -> Level {
        match self {
            Self::Full => Level::Full,
            Self::Counts | Self::Budget => Level::Counts,
        }
    }
}

impl From<Level> for Mode {
    fn from(level: Level) -> Self {
        match level {
            Level::Counts => Self::Counts,
            Level::Full => Self::Full,
        }
    }
}
