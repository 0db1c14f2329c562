//! The controlled start (semantics, section 1): the same for every backend, applied at every `execve`.

use super::auxv::InitialStack;
use crate::error::Result;
use crate::ptrace::{Memory, Stopped};

/// Whether the start is controlled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Environment {
    /// As semantics 1 says.
    #[default]
    Controlled,
    /// As the kernel gives it.
    Raw,
}

/// What the 16 bytes at `AT_RANDOM` are in a controlled run. The lowest byte is 0, as glibc makes it in its stack guard.
pub const RANDOM: [u8; 16] = *b"\0fits-fixed-rand";

const AT_IGNORE: u64 = 1;
const AT_RANDOM: u64 = 25;
const AT_SYSINFO_EHDR: u64 = 33;

impl Environment {
    /// Whether anything is controlled.
    #[must_use]
    pub fn is_controlled(self) -> bool {
        self == Self::Controlled
    }

    /// Fixes `AT_RANDOM` and hides the vDSO, in a process that has executed nothing since `execve`.
    ///
    /// # Errors
    /// When its stack can't be read or written.
    pub fn apply(self, stopped: &Stopped) -> Result<()> {
        if !self.is_controlled() {
            return Ok(());
        }
        let memory = Memory::open(stopped.tid())?;
        let stack = InitialStack::read(&memory, stopped.registers()?.rsp)?;
        for entry in &stack.auxv {
            match entry.kind {
                AT_RANDOM => memory.write(entry.value, &RANDOM)?,
                AT_SYSINFO_EHDR => memory.write(entry.address, &AT_IGNORE.to_le_bytes())?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// The counter that `rdtsc` and `rdtscp` read in a controlled run: one for each thread, it moves only when it is read.
/// The processor number that `rdtscp`, `rdpid` and `getcpu` give is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VirtualTsc {
    next: u64,
}

impl VirtualTsc {
    /// The first value.
    pub const START: u64 = 0x1_0000_0000;
    /// From one read to the next.
    pub const STEP: u64 = 10_000;

    /// The value that this read gives.
    pub fn read(&mut self) -> u64 {
        let value = self.next;
        self.next += Self::STEP;
        value
    }
}

impl Default for VirtualTsc {
    fn default() -> Self {
        Self { next: Self::START }
    }
}
