//! The whole machine: processor, board, and how long it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::board::hardware::Hardware;
use crate::board::pc::Pc;
use crate::boot::{Boot, BootError, Start, prepare};
use crate::cpu::{Processor, Stop};
use crate::memory::Ram;
use crate::snapshot::{self, Description, Loader, Records, Snapshot, SnapshotError};

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
    /// A machine with that much memory and these parts (a console alone is enough), right after power-on: nothing is in memory.
    ///
    /// # Errors
    /// When the host lacks what is needed: a sentence.
    pub fn new(memory: u64, hardware: impl Into<Hardware>) -> Result<Self, String> {
        Self::with_ram(Ram::new(memory)?, hardware.into())
    }

    fn with_ram(ram: Ram, hardware: Hardware) -> Result<Self, String> {
        let board = Pc::new(hardware, ram.dma());
        let processor = Processor::new(ram, Box::new(board))?;
        Ok(Machine { processor })
    }

    /// A machine with that much memory and these parts, ready to boot.
    ///
    /// # Errors
    /// When the host lacks what is needed, or the kernel cannot be started.
    pub fn boot(
        memory: u64,
        hardware: impl Into<Hardware>,
        boot: &Boot,
    ) -> Result<Self, BootError> {
        let mut machine = Self::new(memory, hardware).map_err(BootError::Memory)?;
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
        let cpu = &mut *self.processor.cpu;
        let mut records = Records::default();
        records.put(snapshot::MACHINE, &description);
        records.put(CPU, cpu);
        cpu.bus.save(&mut records);
        let ram = cpu.ram.freeze().map_err(SnapshotError::Host)?;
        Ok(Snapshot { records, ram })
    }

    /// A new machine that goes on from a snapshot. Its RAM is a copy on write: this takes no longer than mapping it.
    ///
    /// # Errors
    /// When the snapshot is of another version or another machine, or the host lacks what is needed.
    pub fn restore(
        snapshot: &Snapshot,
        hardware: impl Into<Hardware>,
    ) -> Result<Self, SnapshotError> {
        let memory = snapshot.description()?.memory;
        let mut machine = Self::new(memory, hardware).map_err(SnapshotError::Host)?;
        machine.load(snapshot)?;
        Ok(machine)
    }

    /// Takes this machine to the state of a snapshot. Nobody watches memory, code or time any more, and no cell is stuck. Where it was there before, what was decoded of memory that nobody has written since stays
    /// decoded.
    ///
    /// # Errors
    /// When the snapshot is of another version or another machine, or the host refuses: the machine is then not to be used any more.
    pub fn load(&mut self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        let mut loader = snapshot.records().loader();
        self.load_parts(snapshot, &mut loader)?;
        loader.finish()
    }

    /// The same, and the rest of the records is somebody else's.
    pub(crate) fn load_parts(
        &mut self,
        snapshot: &Snapshot,
        loader: &mut Loader<'_>,
    ) -> Result<(), SnapshotError> {
        let description = snapshot.description()?;
        let other = |found: String, asked: String| SnapshotError::Machine {
            tag: snapshot::MACHINE.into(),
            found,
            asked,
        };
        if description.board != BOARD {
            return Err(other(format!("board {}", description.board), BOARD.into()));
        }
        let memory = self.processor.cpu.ram.bytes();
        if description.memory != memory || snapshot.ram().bytes() != memory {
            return Err(other(
                format!("{} bytes of memory", description.memory),
                format!("{memory}"),
            ));
        }
        self.processor.forget_watchers();
        self.processor
            .adopt_memory(snapshot.ram())
            .map_err(SnapshotError::Host)?;
        loader.skip(snapshot::MACHINE);
        let cpu = &mut *self.processor.cpu;
        loader.give(CPU, cpu)?;
        cpu.bus.load(loader)
    }

    /// Setting this stops the machine soon.
    #[must_use]
    pub fn stopper(&self) -> Arc<AtomicBool> {
        self.processor.stopper()
    }

    /// Lets somebody else's flag stop the machine.
    pub fn stop_when(&mut self, asked: Arc<AtomicBool>) {
        self.processor.stop_when(asked);
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

    /// Presses the reset button and starts a kernel again. Memory that it does not occupy keeps what is in it, and the virtual time goes on.
    ///
    /// # Errors
    /// When the kernel cannot be started any more.
    pub fn restart(&mut self, boot: &Boot) -> Result<(), BootError> {
        self.processor.reset().map_err(BootError::Memory)?;
        prepare(&mut self.processor, boot)
    }

    /// Lets virtual time pass in which no instruction executes.
    pub fn wait_until(&mut self, time: u64) {
        let cpu = &mut self.processor.cpu;
        cpu.idle += time.saturating_sub(cpu.now());
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

    /// A hash of all memory.
    #[must_use]
    pub fn memory_hash(&self) -> u64 {
        self.processor.cpu.ram.hash()
    }

    /// Puts the processor where a boot protocol wants it.
    pub fn begin(&mut self, start: &Start) {
        start.enter(&mut self.processor);
    }

    /// The processor's registers, memory and bus, to look at.
    #[must_use]
    pub fn cpu(&self) -> &crate::cpu::Cpu {
        &self.processor.cpu
    }

    /// The processor, with everything in it.
    pub fn processor(&mut self) -> &mut Processor {
        &mut self.processor
    }
}
