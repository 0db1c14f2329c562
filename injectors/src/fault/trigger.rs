//! When a fault happens.

use std::fmt;
use std::time::Duration;

use super::location::Place;
use fits_stats::protocol::ThreadNumber;
use fits_stats::write::syscall_name;
pub use fits_tracer::engine::Access;

/// The moment of a fault: always before an instruction begins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trigger {
    /// In which thread.
    pub thread: ThreadNumber,
    /// When.
    pub when: When,
}

/// What names the moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum When {
    /// When the thread has retired so many instructions, since its start or since an arrival.
    Index {
        /// How many.
        index: u64,
        /// Since when.
        from: Option<Arrival>,
    },
    /// Before an instruction begins.
    Arrival(Arrival),
    /// Before an instruction that accesses memory.
    Access {
        /// How.
        access: Access,
        /// Which memory.
        place: Place,
        /// How many bytes from there, 1 to 8.
        bytes: u8,
        /// Which access, from 1.
        count: u64,
    },
    /// Before a system call.
    Call {
        /// Its number.
        number: u64,
        /// Which call, from 1.
        count: u64,
    },
    /// After so much processor time of the golden run.
    Time(Duration),
    /// At a random instruction of the thread, all alike, from its start or an arrival to its end.
    Random {
        /// Since when.
        from: Option<Arrival>,
    },
}

/// An arrival at an instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arrival {
    /// The instruction.
    pub place: Place,
    /// Which arrival, from 1.
    pub count: u64,
}

/// `:3`; nothing for 1.
pub(crate) struct Count(pub(crate) u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => Ok(()),
            count => write!(f, ":{count}"),
        }
    }
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.place, Count(self.count))
    }
}

fn write_from(f: &mut fmt::Formatter<'_>, from: Option<&Arrival>) -> fmt::Result {
    from.map_or(Ok(()), |arrival| write!(f, ",from={arrival}"))
}

/// `0.25`: seconds, without zeros at the end.
pub(crate) struct Seconds(pub(crate) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fraction = format!("{:09}", self.0.subsec_nanos());
        write!(f, "{}", self.0.as_secs())?;
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            digits => write!(f, ".{digits}"),
        }
    }
}

/// `call=write:2`
pub(crate) fn write_call(f: &mut fmt::Formatter<'_>, number: u64, count: u64) -> fmt::Result {
    match syscall_name(number) {
        "" => write!(f, "call={number}{}", Count(count)),
        name => write!(f, "call={name}{}", Count(count)),
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index { index, from } => {
                write!(f, "{index}")?;
                write_from(f, from.as_ref())
            }
            Self::Arrival(arrival) => write!(f, "{arrival}"),
            Self::Access {
                access,
                place,
                bytes,
                count,
            } => {
                let name = match access {
                    Access::Read => "read",
                    Access::Write => "write",
                };
                write!(f, "{name}={place}{}", Count(*count))?;
                match bytes {
                    1 => Ok(()),
                    bytes => write!(f, ",bytes={bytes}"),
                }
            }
            Self::Call { number, count } => write_call(f, *number, *count),
            Self::Time(time) => write!(f, "time={}", Seconds(*time)),
            Self::Random { from } => {
                f.write_str("random")?;
                write_from(f, from.as_ref())
            }
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}", self.when)?;
        match self.thread {
            0 => Ok(()),
            thread => write!(f, ",thread={thread}"),
        }
    }
}
