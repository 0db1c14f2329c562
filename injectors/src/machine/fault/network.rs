//! What goes wrong with frames of a network card.

use std::fmt;
use std::time::Duration;

use crate::fault::trigger::Seconds;

/// A failure of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NetworkFault {
    /// The card: `eth0` … by order.
    pub card: u8,
    /// The first frame that fails, from 1, counted from the moment on.
    pub frame: u64,
    /// Which way the frames go.
    pub way: Way,
    /// What.
    pub failure: FrameFailure,
}

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// To the guest.
    Received,
    /// From the guest.
    Sent,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameFailure {
    /// A random bit is wrong.
    Flip,
    /// Bits that the change names, counted from a byte on, are wrong.
    Bits(u16),
    /// It is lost.
    Drop,
    /// It comes twice.
    Duplicate,
    /// It comes after the next one.
    Reorder,
    /// It comes so much virtual time later.
    Delay(Duration),
}

impl Way {
    const ALL: [Self; 2] = [Self::Received, Self::Sent];

    fn name(self) -> &'static str {
        match self {
            Self::Received => "rx",
            Self::Sent => "tx",
        }
    }

    /// `rx-drop` in its parts.
    pub(super) fn split(word: &str) -> Option<(Self, &str)> {
        let (way, failure) = word.split_once('-')?;
        let found = Self::ALL.into_iter().find(|one| one.name() == way)?;
        Some((found, failure))
    }
}

impl FrameFailure {
    /// All, with the least values of what they need.
    pub(super) const ALL: [Self; 6] = [
        Self::Flip,
        Self::Bits(0),
        Self::Drop,
        Self::Duplicate,
        Self::Reorder,
        Self::Delay(Duration::ZERO),
    ];

    /// Its name in texts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Bits(_) => "bits",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Delay(_) => "delay",
        }
    }
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (way, failure) = (self.way.name(), self.failure.name());
        write!(f, "net:eth{}:{}:{way}-{failure}", self.card, self.frame)?;
        match self.failure {
            FrameFailure::Bits(at) => write!(f, "={at}"),
            FrameFailure::Delay(time) => write!(f, "={}", Seconds(time)),
            _ => Ok(()),
        }
    }
}
