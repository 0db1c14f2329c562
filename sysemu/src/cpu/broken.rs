//! Broken devices, as the processor meets them: registers at ports or addresses that read wrongly, or that nobody answers at.

use std::ops::RangeInclusive;

use crate::cpu::state::Cpu;

/// Registers that are broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenRegisters {
    /// Ports, or physical addresses that are no RAM.
    pub range: RangeInclusive<u64>,
    /// They are physical addresses.
    pub memory: bool,
    /// How they are broken.
    pub how: Broken,
    /// For how many accesses; none is for ever.
    pub times: Option<u64>,
}

/// How registers are broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Nobody answers: reads give all ones, writes are dropped.
    Dead,
    /// Of each byte that is read, these bits stay, these are 1, and these are turned around.
    Reads {
        /// Bits that stay.
        and: u8,
        /// Bits that are 1.
        or: u8,
        /// Bits that are turned around.
        xor: u8,
    },
    /// The same of each byte that is written.
    Writes {
        /// Bits that stay.
        and: u8,
        /// Bits that are 1.
        or: u8,
        /// Bits that are turned around.
        xor: u8,
    },
}

impl Broken {
    /// What becomes of a byte that is read; or written.
    fn byte(self, byte: u8, write: bool) -> u8 {
        match self {
            Broken::Dead => 0xff,
            Broken::Reads { and, or, xor } if !write => (byte & and | or) ^ xor,
            Broken::Writes { and, or, xor } if write => (byte & and | or) ^ xor,
            _ => byte,
        }
    }

    fn concerns(self, write: bool) -> bool {
        match self {
            Broken::Dead => true,
            Broken::Reads { .. } => !write,
            Broken::Writes { .. } => write,
        }
    }
}

impl Cpu {
    /// Breaks registers from now on.
    pub fn break_registers(&mut self, broken: BrokenRegisters) {
        self.broken.push(broken);
    }

    /// What becomes of a value that is read from, or written to, a device; none where a write is dropped.
    #[inline(always)]
    pub(crate) fn through_broken(
        &mut self,
        memory: bool,
        address: u64,
        size: u8,
        value: u64,
        write: bool,
    ) -> Option<u64> {
        if self.broken.is_empty() {
            return Some(value);
        }
        self.through_some(memory, address, size, value, write)
    }

    #[cold]
    fn through_some(
        &mut self,
        memory: bool,
        address: u64,
        size: u8,
        value: u64,
        write: bool,
    ) -> Option<u64> {
        let mut bytes = value.to_le_bytes();
        let mut dropped = false;
        for broken in &mut self.broken {
            let end = address + u64::from(size);
            let hit = broken.memory == memory
                && *broken.range.start() < end
                && address <= *broken.range.end()
                && broken.how.concerns(write);
            if !hit {
                continue;
            }
            match &mut broken.times {
                Some(0) => continue,
                Some(times) => *times -= 1,
                None => {}
            }
            dropped |= write && broken.how == Broken::Dead;
            for (at, byte) in (address..end).zip(&mut bytes) {
                if broken.range.contains(&at) {
                    *byte = broken.how.byte(*byte, write);
                }
            }
        }
        (!dropped).then(|| u64::from_le_bytes(bytes))
    }
}
