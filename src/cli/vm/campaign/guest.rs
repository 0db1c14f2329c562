//! A machine that is taken back to one snapshot again and again.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use fits_injectors::kernel::console::Console as Printed;
use fits_injectors::kernel::pages::Memory;
use fits_injectors::kernel::{End, Observation, Space, Traffic};
use fits_injectors::machine::{MachineFault, Scheduler};
use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::cpu::Stop;
use fits_sysemu::devices::network::faulty::Way;
use fits_sysemu::devices::overlay::Written;
use fits_sysemu::machine::Machine;
use fits_sysemu::memory::{PAGE, Ram};
use fits_sysemu::snapshot::{Snapshot, SnapshotError};

use crate::cli::CliError;
use crate::cli::vm::faults;
use crate::cli::vm::hardware::HardwareFlags;
use crate::cli::vm::target::Parts;

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
        let input = match typed {
            Some(text) if text.ends_with('\n') => Input::Fixed(text.into()),
            Some(text) => Input::Fixed(format!("{text}\n").into()),
            None => Input::None,
        };
        let console = Console::new(Box::new(std::io::sink()), input);
        let (hardware_now, _) = hardware.repeatable(console)?;
        let snapshot = Machine::restore(snapshot, hardware_now)?.snapshot()?;
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

    /// What faults are drawn from: the moments and traffic of the run without one.
    pub(super) fn space(&self, golden: &Golden) -> Result<Space, CliError> {
        let mut guest = Guest::new(self)?;
        guest.machine.load(&self.snapshot)?;
        let cpu = guest.machine.cpu();
        let window = self.retired..self.retired + golden.observation.instructions;
        Ok(Space::new(window, &Pages(&cpu.ram), cpu.cr3).with_traffic(golden.traffic.clone()))
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
    /// What went through its disks and network cards.
    pub(super) traffic: Traffic,
    /// Exceptions and interrupts that it took.
    deliveries: u64,
}

impl Golden {
    /// What a run may use; one that uses more hangs. Even a run that is short without a fault is given time to panic.
    pub(super) fn limit(&self, factor: f64) -> Limit {
        const INSTRUCTIONS: u64 = 20_000_000;
        const DELIVERIES: u64 = 1_000_000;
        let times = |count: u64| (count as f64 * factor) as u64;
        Limit {
            instructions: times(self.observation.instructions) + INSTRUCTIONS,
            deliveries: times(self.deliveries) + DELIVERIES,
        }
    }
}

/// What a run may use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) instructions: u64,
    /// Exceptions and interrupts: with these alone time does not pass.
    pub(super) deliveries: u64,
}

/// A machine.
pub(super) struct Guest<'a> {
    base: &'a Base<'a>,
    machine: Machine,
    parts: Parts,
    written: Vec<Written>,
    output: Output,
}

impl<'a> Guest<'a> {
    pub(super) fn new(base: &'a Base<'a>) -> Result<Self, CliError> {
        let output = Output::default();
        let console = Console::new(Box::new(output.clone()), Input::None);
        let (mut hardware, written) = base.hardware.repeatable(console)?;
        let parts = faults::stand_before(&mut hardware);
        let machine = Machine::new(base.memory, hardware).map_err(SnapshotError::Host)?;
        Ok(Guest {
            base,
            machine,
            parts,
            written,
            output,
        })
    }

    /// Whether the disk, card or device that a fault names is there.
    pub(super) fn check(&mut self, fault: &MachineFault) -> Result<(), String> {
        self.parts.check(fault, &mut self.machine)
    }

    /// The run without a fault, twice: the second time with everything warm, and both must be the same.
    pub(super) fn golden(mut self, limit: u64) -> Result<Golden, CliError> {
        let limit_all = Limit {
            instructions: limit,
            deliveries: u64::MAX,
        };
        let mut run = || -> Result<_, CliError> {
            let observation = self.run(None, limit_all)?;
            let bytes = self.output.with(|bytes| bytes.clone());
            Ok((self.machine.memory_hash(), observation, bytes))
        };
        let (hash, observation, bytes) = run()?;
        let (hash_again, again, bytes_again) = run()?;
        let deliveries = u64::MAX - self.machine.processor().deliveries_left();
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
        Ok(Golden {
            observation,
            bytes,
            traffic: self.traffic(),
            deliveries,
        })
    }

    /// What went through disks and network cards in the last run.
    fn traffic(&self) -> Traffic {
        let disks = self.parts.disks.iter();
        let disks = disks.map(|disk| (disk.name.clone(), disk.failures.read()));
        let cards = self.parts.cards.iter();
        let cards = cards.map(|card| (card.frames(Way::Received), card.frames(Way::Sent)));
        Traffic {
            disks: disks.collect(),
            cards: cards.collect(),
        }
    }

    /// One run from the snapshot, with faults or without.
    pub(super) fn run(
        &mut self,
        mut scheduler: Option<&mut Scheduler>,
        limit: Limit,
    ) -> Result<Observation, CliError> {
        self.machine.load(&self.base.snapshot)?;
        self.output.with(Vec::clear);
        self.parts.repair();
        self.written.iter().for_each(Written::clear);
        self.machine.processor().limit_deliveries(limit.deliveries);
        let limit = self.base.retired.saturating_add(limit.instructions);
        let end = loop {
            let slice = limit.min(self.machine.retired().saturating_add(SLICE));
            let stop = match &mut scheduler {
                Some(scheduler) => faults::run(&mut self.machine, scheduler, &self.parts, slice),
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
