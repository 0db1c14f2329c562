//! The controlled start (semantics, section 1): the same for every backend, applied at every `execve`.

use std::arch::x86_64::__cpuid_count;

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

    /// A counter whose next read gives `next`.
    #[must_use]
    pub fn at(next: u64) -> Self {
        Self { next }
    }

    /// What the next read will give.
    #[must_use]
    pub fn upcoming(&self) -> u64 {
        self.next
    }

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

/// What `cpuid` says in a controlled run: the truth, but that of processor 0 where it tells processors apart.
#[must_use]
pub fn virtual_cpuid(leaf: u32, subleaf: u32) -> [u32; 4] {
    let answer = __cpuid_count(leaf, subleaf);
    let [mut eax, mut ebx, mut ecx, mut edx] = [answer.eax, answer.ebx, answer.ecx, answer.edx];
    match leaf {
        0x1 => ebx &= 0x00ff_ffff,
        0xb | 0x1f | 0x8000_0026 => edx = 0,
        0x8000_001e => {
            eax = 0;
            ebx &= !0xff;
            ecx &= !0xff;
        }
        _ => {}
    }
    [eax, ebx, ecx, edx]
}

/// The bytes that `getrandom` gives in a controlled run, one stream for all threads: without them two runs of almost any program
/// differ, because the C library asks for a random number when it first allocates memory. (`/dev/urandom` is left alone.)
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VirtualRandom {
    state: u64,
}

impl VirtualRandom {
    /// A stream that has been read up to a position.
    #[must_use]
    pub fn at(position: u64) -> Self {
        Self { state: position }
    }

    /// How far it has been read; for [`VirtualRandom::at`] alone.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.state
    }

    /// The next bytes of the stream (SplitMix64 from 0; a call takes whole words).
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = self.state;
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
    }
}
