//! The moment of a fault of a machine.

use std::fmt;
use std::time::Duration;

use super::Place;
use crate::fault::trigger::{Count, Seconds, write_call};

/// When, and in whose name. It is always between two instructions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Moment {
    /// When.
    pub when: When,
    /// What else must be so then.
    pub restriction: Restriction,
}

/// What must be so for an occurrence to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restriction {
    /// The process that runs has this name.
    pub process: Option<String>,
    /// Privilege: user mode, or the kernel.
    pub user: Option<bool>,
}

/// What names the moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// So many instructions have retired since the machine was switched on.
    Instruction(u64),
    /// So much virtual time has passed since the machine was switched on.
    Time(Duration),
    /// The instruction at the place is about to begin, for the `count`-th time.
    Execution {
        /// Its address, which is virtual.
        place: Place,
        /// Which time, from 1.
        count: u64,
    },
    /// An instruction is about to make the `count`-th such access.
    Access {
        /// How.
        kind: AccessKind,
        /// Of what.
        place: Place,
        /// How many bytes from there, 1 to 4096.
        bytes: u16,
        /// Which access, from 1.
        count: u64,
    },
    /// The `count`-th such system call has entered the kernel.
    Call {
        /// Its number.
        number: u64,
        /// Which call, from 1.
        count: u64,
    },
}

/// An access of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessKind {
    /// A read.
    Read,
    /// A write.
    Write,
    /// Either.
    Any,
}

impl AccessKind {
    pub(super) const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Any];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Any => "access",
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instruction(index) => write!(f, "{index}"),
            Self::Time(time) => write!(f, "time={}", Seconds(*time)),
            Self::Execution { place, count } => write!(f, "{place}{}", Count(*count)),
            Self::Access {
                kind,
                place,
                bytes,
                count,
            } => {
                write!(f, "{}={place}{}", kind.name(), Count(*count))?;
                match bytes {
                    1 => Ok(()),
                    bytes => write!(f, ",bytes={bytes}"),
                }
            }
            Self::Call { number, count } => write_call(f, *number, *count),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.when)?;
        if let Some(process) = &self.restriction.process {
            write!(f, ",process={process}")?;
        }
        match self.restriction.user {
            None => Ok(()),
            Some(true) => f.write_str(",mode=user"),
            Some(false) => f.write_str(",mode=kernel"),
        }
    }
}
