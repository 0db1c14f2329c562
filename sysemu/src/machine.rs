//! The whole machine: processor, board, and how long it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::board::console::Console;
use crate::board::pc::Pc;
use crate::boot::linux::{Boot, BootError, prepare};
use crate::cpu::{Processor, Stop};
use crate::memory::Ram;
use crate::snapshot::{self, Description, Records, Snapshot, SnapshotError};

/// A machine.
#[derive(Debug)]
pub struct Machine {
    processor: Processor,
}

const BOARD: &str = "pc";
/// The processor's record.
const CPU: &str = "cpu";

/// Instructions between two looks at whether somebody asks to stop.
const SLICE: u64 = 20_000_000;

impl Machine {
    /// A machine with that much memory, right after power-on: nothing is in it.
    ///
    /// # Errors
    /// When the host lacks what is needed: a sentence.
    pub fn new(memory: u64, console: Console) -> Result<Self, String> {
        Self::with_ram(Ram::new(memory)?, console)
    }

    fn with_ram(ram: Ram, console: Console) -> Result<Self, String> {
        let board = Pc::new(console, ram.dma());
        let processor = Processor::new(ram, Box::new(board))?;
        Ok(Machine { processor })
    }

    /// A machine with that much memory, ready to boot.
    ///
    /// # Errors
    /// When the host lacks what is needed, or the kernel cannot be started.
    pub fn boot(memory: u64, console: Console, boot: &Boot) -> Result<Self, BootError> {
        let mut machine = Self::new(memory, console).map_err(BootError::Memory)?;
        prepare(&mut machine.processor, boot)?;
        Ok(machine)
    }

    /// What decides how the machine goes on, as it is now, between two instructions.
    ///
    /// The processor's caches of addresses are emptied, so that this machine and one that is restored go on alike.
    ///
    /// # Errors
    /// When the host has no memory for it.
    pub fn snapshot(&mut self) -> Result<Snapshot, SnapshotError> {
        let description = Description {
            fits: env!("CARGO_PKG_VERSION").into(),
            board: BOARD.into(),
            memory: self.processor.cpu.ram.bytes(),
            retired: self.retired(),
            now: self.now(),
        };
        self.processor.refresh();
        let cpu = &mut self.processor.cpu;
        let mut records = Records::default();
        records.put(snapshot::MACHINE, &description);
        records.put(CPU, cpu);
        cpu.bus.save(&mut records);
        let ram = cpu.ram.freeze().map_err(SnapshotError::Host)?;
        Ok(Snapshot { records, ram })
    }

    /// A machine that goes on from a snapshot. Its RAM is a copy on write: this takes no longer than mapping it.
    ///
    /// # Errors
    /// When the snapshot is of another version or another machine, or the host lacks what is needed.
    pub fn restore(snapshot: &Snapshot, console: Console) -> Result<Self, SnapshotError> {
        let description = snapshot.description()?;
        if description.board != BOARD {
            return Err(SnapshotError::Machine {
                tag: snapshot::MACHINE.into(),
                found: format!("board {}", description.board),
                asked: BOARD.into(),
            });
        }
        if description.memory != snapshot.ram().bytes() {
            return Err(SnapshotError::Malformed {
                tag: snapshot::MACHINE.into(),
                reason: format!("{} bytes of memory", description.memory),
            });
        }
        let ram = Ram::of_image(snapshot.ram()).map_err(SnapshotError::Host)?;
        let mut machine = Self::with_ram(ram, console).map_err(SnapshotError::Host)?;
        machine.load(snapshot)?;
        Ok(machine)
    }

    /// Takes this machine, which was restored from that snapshot, back to it. What was decoded of memory that nobody wrote stays decoded.
    ///
    /// # Errors
    /// When it was not restored from it, or the host refuses.
    pub fn rewind(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        if !self.processor.cpu.ram.is_copy_of(snapshot.ram()) {
            return Err(SnapshotError::Host(
                "the machine was not restored from this snapshot".into(),
            ));
        }
        self.processor
            .rewind_memory()
            .map_err(SnapshotError::Host)?;
        self.load(snapshot)
    }

    fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let cpu = &mut self.processor.cpu;
        let mut loader = snapshot.records().loader();
        loader.skip(snapshot::MACHINE);
        loader.give(CPU, cpu)?;
        cpu.bus.load(&mut loader)?;
        loader.finish()
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
