//! A machine that is taken back to one snapshot again and again.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use fits_injectors::kernel::console::Console as Printed;
use fits_injectors::kernel::pages::Memory;
use fits_injectors::kernel::{End, Observation, Space};
use fits_injectors::machine::Scheduler;
use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_sysemu::memory::{PAGE, Ram};
use fits_sysemu::snapshot::{Snapshot, SnapshotError};

use crate::cli::CliError;
use crate::cli::vm::faults;
use crate::cli::vm::hardware::HardwareFlags;
use crate::cli::vm::target::FaultyDisk;

/// How often it is looked whether the kernel has given up, in instructions.
const SLICE: u64 = 2_000_000;
/// The last thing that a kernel says.
const END_OF_PANIC: &[u8] = b"---[ end Kernel panic";

/// Where all runs begin: the snapshot, with what is typed in it.
pub(super) struct Base<'a> {
    hardware: &'a HardwareFlags,
    snapshot: Snapshot,
    memory: u64,
    retired: u64,
}

impl<'a> Base<'a> {
    pub(super) fn new(
        snapshot: &Snapshot,
        hardware: &'a HardwareFlags,
        typed: Option<&str>,
    ) -> Result<Self, CliError> {
        hardware.check_repeatable()?;
        let input = match typed {
            Some(text) if text.ends_with('\n') => Input::Fixed(text.into()),
            Some(text) => Input::Fixed(format!("{text}\n").into()),
            None => Input::None,
        };
        let console = Console::new(Box::new(std::io::sink()), input);
        let snapshot = Machine::restore(snapshot, hardware.hardware(console)?)?.snapshot()?;
        let about = snapshot.description()?;
        Ok(Base {
            hardware,
            snapshot,
            memory: about.memory,
            retired: about.retired,
        })
    }

    /// Instructions from power-on to here.
    pub(super) fn retired(&self) -> u64 {
        self.retired
    }

    /// What faults are drawn from, in a run of so many instructions.
    pub(super) fn space(&self, instructions: u64) -> Result<Space, CliError> {
        let mut guest = Guest::new(self)?;
        guest.machine.load(&self.snapshot)?;
        let cpu = guest.machine.cpu();
        let window = self.retired..self.retired + instructions;
        let disks = guest.disks.iter();
        let disks = disks.map(|disk| (disk.name.clone(), disk.sectors));
        Ok(Space::new(window, &Pages(&cpu.ram), cpu.cr3).with_disks(disks.collect()))
    }
}

/// RAM, for those who look for pages.
struct Pages<'a>(&'a Ram);

impl Memory for Pages<'_> {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn word(&self, physical: u64) -> u64 {
        if self.0.contains(physical, 8) {
            self.0.read(physical)
        } else {
            0
        }
    }
    fn is_zero(&self, page: u64) -> bool {
        let bytes = self.0.slice(page * PAGE, PAGE as usize);
        bytes.iter().all(|byte| *byte == 0)
    }
}

/// What a guest prints.
#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.with(|all| all.extend_from_slice(bytes));
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The run without a fault.
pub(super) struct Golden {
    pub(super) observation: Observation,
    /// What it printed.
    pub(super) bytes: Vec<u8>,
}

/// A machine.
pub(super) struct Guest<'a> {
    base: &'a Base<'a>,
    machine: Machine,
    disks: Vec<FaultyDisk>,
    output: Output,
}

impl<'a> Guest<'a> {
    pub(super) fn new(base: &'a Base<'a>) -> Result<Self, CliError> {
        let output = Output::default();
        let console = Console::new(Box::new(output.clone()), Input::None);
        let mut hardware = base.hardware.hardware(console)?;
        let disks = faults::stand_before(&mut hardware);
        let machine = Machine::new(base.memory, hardware).map_err(SnapshotError::Host)?;
        Ok(Guest {
            base,
            machine,
            disks,
            output,
        })
    }

    /// The run without a fault, twice: the second time with everything warm, and both must be the same.
    pub(super) fn golden(mut self, limit: u64) -> Result<Golden, CliError> {
        let mut run = || -> Result<_, CliError> {
            let observation = self.run(None, limit)?;
            let bytes = self.output.with(|bytes| bytes.clone());
            Ok((self.machine.memory_hash(), observation, bytes))
        };
        let (hash, observation, bytes) = run()?;
        let (hash_again, again, bytes_again) = run()?;
        if (hash, again.instructions, &bytes)
            != (hash_again, observation.instructions, &bytes_again)
        {
            return Err(CliError::Machine(
                "two runs from the snapshot differ: the machine does not repeat".into(),
            ));
        }
        if matches!(observation.end, End::Limit) {
            return Err(CliError::Machine(format!(
                "without a fault the guest does not end within {limit} instructions: let it switch itself off when its work is done, for example with \
                 --type '…; poweroff -f'"
            )));
        }
        Ok(Golden { observation, bytes })
    }

    /// One run from the snapshot, with faults or without, of so many instructions at most.
    pub(super) fn run(
        &mut self,
        mut scheduler: Option<&mut Scheduler>,
        limit: u64,
    ) -> Result<Observation, CliError> {
        self.machine.load(&self.base.snapshot)?;
        self.output.with(Vec::clear);
        for disk in &self.disks {
            disk.failures.clear();
        }
        let limit = self.base.retired.saturating_add(limit);
        let end = loop {
            let slice = limit.min(self.machine.retired().saturating_add(SLICE));
            let stop = match &mut scheduler {
                Some(scheduler) => faults::run(&mut self.machine, scheduler, &self.disks, slice),
                None => self.machine.run(slice),
            };
            if stop != Stop::Limit {
                break end(&stop);
            }
            if self.output.with(|bytes| gave_up(bytes)) {
                break End::Panicked;
            }
            if slice == limit {
                break End::Limit;
            }
        };
        Ok(Observation {
            end,
            console: self.output.with(|bytes| Printed::read(bytes)),
            instructions: self.machine.retired() - self.base.retired,
        })
    }
}

fn gave_up(printed: &[u8]) -> bool {
    printed
        .windows(END_OF_PANIC.len())
        .any(|window| window == END_OF_PANIC)
}

fn end(stop: &Stop) -> End {
    match stop {
        Stop::PowerOff => End::PowerOff,
        Stop::Reset => End::Reset,
        Stop::DebugExit(status) => End::Exit(*status),
        Stop::Halted => End::Halted,
        Stop::TripleFault { .. } => End::TripleFault,
        Stop::Unimplemented { .. } => End::Unimplemented,
        _ => End::Limit,
    }
}
