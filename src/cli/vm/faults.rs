//! Faults of the machine: by hand, by a model, and the record of what was done.

use std::cell::RefCell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use fits_injectors::machine::geometry::Geometry;
use fits_injectors::machine::log::Log;
use fits_injectors::machine::model::Model;
use fits_injectors::machine::symbols::Symbols;
use fits_injectors::machine::{Event, MachineFault, Scheduler};
use fits_sysemu::board::hardware::{Card, Hardware};
use fits_sysemu::cpu::Stop;
use fits_sysemu::devices::faulty::{Failures, Faulty};
use fits_sysemu::devices::medium::Medium;
use fits_sysemu::devices::network::faulty::{FaultyNetwork, FrameFailures};
use fits_sysemu::machine::Machine;
use fits_sysemu::qmp::Carrier;

use super::target::{FaultyDisk, Parts, SoftTarget};
use crate::cli::CliError;

/// The flags that make the machine unreliable.
#[derive(Debug, Args)]
#[command(next_help_heading = "Faults")]
pub(crate) struct FaultFlags {
    /// A fault, such as "reg:rax:3@1000000" or "mce:srao:phys=0x2961000@time=4.7"; may be given again
    #[arg(long, value_name = "TEXT", value_parser = fault)]
    fault: Vec<MachineFault>,
    /// A file that says where and when errors happen, by rates and distributions
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    model: Option<PathBuf>,
    /// Write what was injected, when, and the values before and after: a line of JSON each
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    fault_log: Option<PathBuf>,
    /// The kernel's symbols (System.map or /proc/kallsyms): for faults that name symbols or processes, and for the functions of a golden run, which also takes an ELF file [default there: the kernel's own table]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    symbols: Option<PathBuf>,
    /// What faults without a seed of their own draw from
    #[arg(long, value_name = "N", default_value_t = 0)]
    fault_seed: u64,
}

fn fault(text: &str) -> Result<MachineFault, String> {
    text.parse()
        .map_err(|error: fits_injectors::fault::ParseError| error.to_string())
}

impl FaultFlags {
    /// The file of the kernel's symbols, where one was given.
    pub(super) fn symbols(&self) -> Option<&Path> {
        self.symbols.as_deref()
    }

    /// Whether there are faults.
    pub(super) fn asked(&self) -> bool {
        !self.fault.is_empty() || self.model.is_some()
    }

    /// What carries the faults out; none where there are none, and no client can ask for some.
    pub(super) fn faults(&self, clients: bool) -> Result<Option<Faults>, CliError> {
        if !self.asked() && !clients {
            return match &self.fault_log {
                Some(_) => Err(CliError::Usage(
                    "--fault-log without --fault, --model or --qmp: there is nothing to be logged"
                        .into(),
                )),
                None => Ok(None),
            };
        }
        let symbols = match &self.symbols {
            Some(path) => Symbols::read(path).map_err(CliError::Usage)?,
            None => Symbols::default(),
        };
        let model = match &self.model {
            Some(path) => Some(Model::read(path)?),
            None => None,
        };
        let out = match &self.fault_log {
            Some(path) => {
                let file = File::create(path).map_err(CliError::file("create", path))?;
                Some(Box::new(file) as Box<dyn std::io::Write>)
            }
            None => None,
        };
        let geometry = model.as_ref().map_or(Geometry::default(), Model::geometry);
        let mut scheduler = Scheduler::new(symbols, geometry, self.fault_seed, Log::new(out));
        for fault in &self.fault {
            scheduler.add(fault.clone()).map_err(CliError::Usage)?;
        }
        if let Some(model) = model {
            for source in model.sources() {
                scheduler.add_source(source).map_err(CliError::Usage)?;
            }
        }
        Ok(Some(Faults {
            scheduler,
            parts: Parts::default(),
        }))
    }

    /// Says at the end which faults had no effect because their moment never came.
    pub(super) fn conclude(&self, faults: &mut Faults) -> Result<(), CliError> {
        let scheduler = &mut faults.scheduler;
        let mut missed: Vec<String> = scheduler
            .not_reached()
            .filter(|fault| self.fault.contains(fault))
            .map(ToString::to_string)
            .collect();
        missed.sort();
        for fault in missed {
            eprintln!("fits: the moment of fault '{fault}' was not reached");
        }
        match (scheduler.log().take_failure(), &self.fault_log) {
            (Some(error), Some(path)) => Err(CliError::file("write", path)(error)),
            _ => Ok(()),
        }
    }
}

/// Faults that clients can add to.
#[derive(Debug)]
pub(super) struct Shared(pub(super) Rc<RefCell<Faults>>);

impl Carrier for Shared {
    fn run(&mut self, machine: &mut Machine, until: u64, limit: u64) -> Stop {
        let faults = &mut *self.0.borrow_mut();
        run_until(machine, &mut faults.scheduler, &faults.parts, until, limit)
    }

    fn moved(&mut self, machine: &mut Machine) {
        let faults = &mut *self.0.borrow_mut();
        let mut target = SoftTarget::new(machine, &faults.parts, u64::MAX);
        faults.scheduler.moved(&mut target);
    }

    fn inject(&mut self, fault: &str) -> Result<(), String> {
        self.0.borrow_mut().scheduler.add_text(fault)
    }

    fn injected(&self) -> Vec<serde_json::Value> {
        let mut faults = self.0.borrow_mut();
        let entries = faults.scheduler.log().entries().iter();
        entries
            .filter_map(|entry| serde_json::to_value(entry).ok())
            .collect()
    }
}

/// The faults of a run, and what they reach beside the machine itself.
#[derive(Debug)]
pub(super) struct Faults {
    scheduler: Scheduler,
    parts: Parts,
}

impl Faults {
    /// Puts what can fail in front of disks and networks.
    pub(super) fn stand_before(&mut self, hardware: &mut Hardware) {
        self.parts = stand_before(hardware);
    }

    /// Whether the disks, cards and devices that faults name are in the machine, which has not begun.
    pub(super) fn check(&self, machine: &mut Machine) -> Result<(), CliError> {
        for fault in self.scheduler.faults() {
            self.parts
                .check(fault, machine)
                .map_err(|sentence| CliError::Usage(format!("fault '{fault}': {sentence}")))?;
        }
        Ok(())
    }

    /// Runs the machine until so many instructions have retired in all, or it stops.
    pub(super) fn run(&mut self, machine: &mut Machine, limit: u64) -> Stop {
        run(machine, &mut self.scheduler, &self.parts, limit)
    }
}

/// Puts what can fail in front of disks and networks.
pub(super) fn stand_before(hardware: &mut Hardware) -> Parts {
    let mut disks = Vec::new();
    for (letter, place) in ('a'..='d').zip(&mut hardware.ide) {
        if let Some(medium) = place.take() {
            *place = Some(faulty(&mut disks, format!("hd{letter}"), medium));
        }
    }
    let media = std::mem::take(&mut hardware.virtio_disks);
    for (letter, medium) in ('a'..='z').zip(media) {
        let medium = faulty(&mut disks, format!("vd{letter}"), medium);
        hardware.virtio_disks.push(medium);
    }
    let mut cards = Vec::new();
    for card in std::mem::take(&mut hardware.cards) {
        let failures = FrameFailures::default();
        hardware.cards.push(Card {
            mac: card.mac,
            network: Box::new(FaultyNetwork::new(card.network, failures.clone())),
        });
        cards.push(failures);
    }
    Parts { disks, cards }
}

fn faulty(disks: &mut Vec<FaultyDisk>, name: String, medium: Box<dyn Medium>) -> Box<dyn Medium> {
    let failures = Failures::default();
    disks.push(FaultyDisk {
        name,
        sectors: medium.sectors(),
        failures: failures.clone(),
    });
    Box::new(Faulty::new(medium, failures))
}

/// Runs a machine with these parts and the faults of a scheduler until so many instructions have retired in all, or it stops.
pub(super) fn run(
    machine: &mut Machine,
    scheduler: &mut Scheduler,
    parts: &Parts,
    limit: u64,
) -> Stop {
    run_until(machine, scheduler, parts, u64::MAX, limit)
}

/// The same, and not beyond a virtual time.
fn run_until(
    machine: &mut Machine,
    scheduler: &mut Scheduler,
    parts: &Parts,
    until: u64,
    limit: u64,
) -> Stop {
    let mut target = SoftTarget::new(machine, parts, until);
    match scheduler.run(&mut target, limit) {
        Event::Ended => target.ended(),
        _ => Stop::Limit,
    }
}
