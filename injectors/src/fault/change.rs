//! What a fault does to the bits at its location, and for how long.

use std::fmt;

use crate::bits::Bits;

/// An operation on some bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// What is done.
    pub operation: Operation,
    /// To which bits.
    pub mask: Mask,
}

/// What is done to the bits of the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Each becomes its opposite.
    Flip,
    /// Each becomes 0.
    Stuck0,
    /// Each becomes 1.
    Stuck1,
    /// They become the bits of this number: its bit 0 goes to the lowest bit of the mask, and so on.
    Set(Bits),
    /// Those that are 1 in this number become their opposite; the number is the mask.
    Xor(Bits),
    /// Each becomes 0 or 1 with the same probability.
    Random,
}

/// Which bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mask {
    /// All of the location.
    All,
    /// These.
    Bits(Bits),
}

impl Mask {
    /// The bits, of a location that has `width`.
    #[must_use]
    pub fn bits(self, width: u32) -> Bits {
        match self {
            Self::All => Bits::ones(width),
            Self::Bits(bits) => bits,
        }
    }
}

impl Change {
    /// The bits that it may change, of a location that has `width`.
    #[must_use]
    pub fn mask(&self, width: u32) -> Bits {
        match self.operation {
            Operation::Xor(number) => number,
            _ => self.mask.bits(width),
        }
    }

    /// What becomes of `old` in a location that has `width`; `drawn` is what [`Operation::Random`] puts in.
    #[must_use]
    pub fn apply(&self, old: Bits, width: u32, drawn: Bits) -> Bits {
        let mask = self.mask(width);
        match self.operation {
            Operation::Flip | Operation::Xor(_) => old ^ mask,
            Operation::Stuck0 => old & !mask,
            Operation::Stuck1 => old | mask,
            Operation::Set(number) => old & !mask | number.deposit(mask),
            Operation::Random => old & !mask | drawn & mask,
        }
    }
}

impl Operation {
    /// Whether the result does not depend on the old value, so that it can be enforced.
    #[must_use]
    pub fn forces(self) -> bool {
        matches!(self, Self::Stuck0 | Self::Stuck1 | Self::Set(_))
    }
}

/// How long a fault lasts, counted in instructions that the thread retires from the moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Duration {
    /// Once, at the moment.
    #[default]
    Transient,
    /// While this many instructions retire.
    Instructions(u64),
    /// In the first `on` of every `period` instructions, until the end.
    Intermittent {
        /// How many of them.
        on: u64,
        /// Of how many.
        period: u64,
    },
    /// Until the end.
    Permanent,
}

impl Duration {
    /// Whether the fault is there when `retired` instructions have retired since the moment.
    #[must_use]
    pub fn active(self, retired: u64) -> bool {
        match self {
            Self::Transient => retired == 0,
            Self::Instructions(count) => retired < count,
            Self::Intermittent { on, period } => retired % period < on,
            Self::Permanent => true,
        }
    }

    /// Whether it is over when `retired` instructions have retired since the moment.
    #[must_use]
    pub fn over(self, retired: u64) -> bool {
        match self {
            Self::Transient => retired > 0,
            Self::Instructions(count) => retired >= count,
            Self::Intermittent { .. } | Self::Permanent => false,
        }
    }
}

impl fmt::Display for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Bits(bits) = self else {
            return f.write_str("all");
        };
        for (number, run) in bits.runs().into_iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            if run.start() == run.end() {
                write!(f, "{comma}{}", run.start())?;
            } else {
                write!(f, "{comma}{}-{}", run.start(), run.end())?;
            }
        }
        Ok(())
    }
}

impl Change {
    /// `flip` is left out, and `all` where it is what is meant without a mask: always, if the location has `one_bit`.
    pub(crate) fn write(&self, f: &mut fmt::Formatter<'_>, one_bit: bool) -> fmt::Result {
        match self.operation {
            Operation::Flip if one_bit => return Ok(()),
            Operation::Flip => return write!(f, ":{}", self.mask),
            Operation::Stuck0 => f.write_str(":stuck0")?,
            Operation::Stuck1 => f.write_str(":stuck1")?,
            Operation::Set(number) => write!(f, ":set={number}")?,
            Operation::Xor(number) => return write!(f, ":xor={number}"),
            Operation::Random => f.write_str(":random")?,
        }
        match self.mask {
            Mask::All if one_bit => Ok(()),
            Mask::All if matches!(self.operation, Operation::Set(_) | Operation::Random) => Ok(()),
            mask => write!(f, ":{mask}"),
        }
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transient => Ok(()),
            Self::Instructions(count) => write!(f, "/{count}"),
            Self::Intermittent { on, period } => write!(f, "/{on}of{period}"),
            Self::Permanent => f.write_str("/permanent"),
        }
    }
}
