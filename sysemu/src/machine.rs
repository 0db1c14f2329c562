//! The whole machine: processor, board, and how long it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::board::console::Console;
use crate::board::pc::Pc;
use crate::boot::linux::{Boot, BootError, prepare};
use crate::cpu::{Processor, Stop};
use crate::memory::Ram;

/// A machine.
#[derive(Debug)]
pub struct Machine {
    processor: Processor,
}

/// Instructions between two looks at whether somebody asks to stop.
const SLICE: u64 = 20_000_000;

impl Machine {
    /// A machine with that much memory, ready to boot.
    ///
    /// # Errors
    /// When the host lacks what is needed, or the kernel cannot be started.
    pub fn boot(memory: u64, console: Console, boot: &Boot) -> Result<Self, BootError> {
        let ram = Ram::new(memory).map_err(BootError::Memory)?;
        let board = Pc::new(console, ram.dma());
        let mut processor = Processor::new(ram, Box::new(board)).map_err(BootError::Memory)?;
        prepare(&mut processor, boot)?;
        Ok(Machine { processor })
    }

    /// Setting this stops the machine soon.
    #[must_use]
    pub fn stopper(&self) -> Arc<AtomicBool> {
        self.processor.stopper()
    }

    /// Runs until the machine stops, or that many instructions have retired since power-on.
    pub fn run(&mut self, limit: u64) -> Stop {
        let stopper = self.processor.stopper();
        loop {
            let slice = limit.min(self.retired().saturating_add(SLICE));
            let stop = self.processor.run(slice);
            if stop != Stop::Limit || slice == limit {
                self.processor.cpu.bus.idle();
                return stop;
            }
            if stopper.load(Ordering::Relaxed) {
                return Stop::Asked;
            }
        }
    }

    /// Instructions that have retired.
    #[must_use]
    pub fn retired(&self) -> u64 {
        self.processor.cpu.retired
    }

    /// Virtual nanoseconds since power-on.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.processor.cpu.now()
    }

    /// A hash of all memory (FNV-1a over 64-bit words).
    #[must_use]
    pub fn memory_hash(&self) -> u64 {
        const PRIME: u64 = 0x0100_0000_01b3;
        let ram = &self.processor.cpu.ram;
        (0..ram.bytes() / 8).fold(0xcbf2_9ce4_8422_2325, |hash, word| {
            (hash ^ ram.read::<u64>(8 * word)).wrapping_mul(PRIME)
        })
    }

    /// The processor, with everything in it.
    pub fn processor(&mut self) -> &mut Processor {
        &mut self.processor
    }
}
