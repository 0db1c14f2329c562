//! `fits vm`: a virtual machine in software, with its serial console on standard input and output.
//!
//! Each group of flags is a file here, with what it means: `boot`, `engine`, `console`, `device`, `faults`, `golden`, `hardware`, `limits`, `qmp`, `snapshot`. `files` are the commands for snapshots, `campaign` is that for campaigns.
//! `target` is the machine as faults see it, `terminal` is the raw terminal, `report` says how it ended.

mod boot;
mod campaign;
mod console;
mod device;
mod engine;
mod faults;
mod files;
mod golden;
mod hardware;
mod limits;
mod qmp;
mod report;
mod snapshot;
mod target;
mod terminal;

use std::cell::RefCell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::sync::Arc;

use clap::{Args, Subcommand};
use fits_stats::model::Privilege;
use fits_sysemu::board::console::Console;
use fits_sysemu::cpu::{Stage, Stop};
use fits_sysemu::engine::Engine;
use fits_sysemu::kvm::KvmMachine;
use fits_sysemu::machine::Machine;
use fits_tracer::backend::Progress;

use super::CliError;
use super::progress::ProgressLine;
use crate::exit_code;

/// Boot a Linux kernel in a virtual PC whose processor is software
///
/// The machine has one processor, a serial port (ttyS0), interrupt controllers, timers, a clock, ACPI power-off, and the disks and network cards that it is given.
/// Its time is virtual, one nanosecond an instruction: the same input gives the same run, to the last instruction. Input from a file is known
/// beforehand; input from a terminal or a pipe arrives when it arrives, and such a run does not repeat exactly. On a terminal every key goes to the
/// guest; Ctrl-A x quits.
#[derive(Debug, Args)]
#[command(after_help = exit_code::VM_TABLE)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct VmArgs {
    #[command(subcommand)]
    command: Option<VmCommand>,
    #[command(flatten)]
    boot: boot::BootFlags,
    #[command(flatten)]
    engine: engine::EngineFlags,
    #[command(flatten)]
    console: console::ConsoleFlags,
    #[command(flatten)]
    faults: faults::FaultFlags,
    #[command(flatten)]
    hardware: hardware::HardwareFlags,
    #[command(flatten)]
    golden: golden::GoldenFlags,
    #[command(flatten)]
    limits: limits::LimitFlags,
    #[command(flatten)]
    snapshots: snapshot::SnapshotFlags,
    #[command(flatten)]
    qmp: qmp::QmpFlags,
    #[command(flatten)]
    devices: device::DeviceFlags,
    /// How instructions are executed; the guest sees no difference but in real time
    #[arg(long, value_enum, default_value_t = StageFlag::Translated)]
    stage: StageFlag,
    /// Print at the end, on standard error, how many instructions retired and a hash of memory
    #[arg(long, help_heading = "Console")]
    summary: bool,
}

/// See [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StageFlag {
    /// One by one, from decoded blocks
    Interpreter,
    /// What is executed often is translated into native code
    Translated,
}

impl From<StageFlag> for Stage {
    fn from(flag: StageFlag) -> Self {
        match flag {
            StageFlag::Interpreter => Stage::Interpreter,
            StageFlag::Translated => Stage::Translated,
        }
    }
}

#[derive(Debug, Subcommand)]
enum VmCommand {
    Snapshot(files::SnapshotArgs),
    Campaign(campaign::CampaignArgs),
}

pub(crate) fn run(args: &VmArgs) -> Result<u8, CliError> {
    match &args.command {
        Some(VmCommand::Snapshot(args)) => files::run(args),
        Some(VmCommand::Campaign(args)) => campaign::run(args),
        None if args.engine.is_kvm() => run_on_kvm(args),
        None => run_machine(args),
    }
}

/// What the host's processor can do with the machine: run it to its end.
fn run_on_kvm(args: &VmArgs) -> Result<u8, CliError> {
    engine::refuse(&[
        (
            "--max-instructions",
            args.limits.max_instructions != u64::MAX,
        ),
        ("--golden", args.golden.asked()),
        ("--snapshot", args.snapshots.asked()),
        ("--restore", args.snapshots.restores()),
        ("--qmp", args.qmp.asked()),
        ("--device", args.devices.asked()),
        ("--fault and --model", args.faults.asked()),
    ])?;
    let output = console::Both::open(&args.console)?;
    let failure = output.failure();
    let asked = Arc::default();
    let stopper = limits::Stopper::start(&args.limits, Arc::clone(&asked))?;
    let console = Console::new(Box::new(output), console::input(&stopper));
    let hardware = args.hardware.hardware(console)?;
    let mut machine =
        KvmMachine::boot(args.boot.memory, hardware, &args.boot.boot()).map_err(boot::refused)?;
    machine.stop_when(asked);
    let raw = terminal::Raw::start();
    let stop = machine.run(u64::MAX);
    drop(raw);
    if args.summary {
        eprintln!("fits: memory {:016x}", machine.memory_hash());
    }
    let status = report::report(&stop, &machine, &stopper);
    failure.take().map_or(Ok(status), Err)
}

fn run_machine(args: &VmArgs) -> Result<u8, CliError> {
    let faults = args.faults.faults(args.qmp.asked())?;
    let output = console::Both::open(&args.console)?;
    let failure = output.failure();
    let asked = Arc::default();
    let stopper = limits::Stopper::start(&args.limits, Arc::clone(&asked))?;
    let mut taker = snapshot::Taker::new(&args.snapshots, &stopper);
    let console = Console::new(taker.watch(output), console::input(&stopper));
    let mut hardware = args.hardware.hardware(console)?;
    let faults = faults.map(|mut faults| {
        faults.stand_before(&mut hardware);
        Rc::new(RefCell::new(faults))
    });
    let restored = args.snapshots.restored()?;
    let boot = restored.is_none().then(|| args.boot.boot());
    let control = args.qmp.control(boot, faults.as_ref())?;
    let mut machine = match restored {
        Some(snapshot) => snapshot::restore(&snapshot, hardware, &args.devices)?,
        None => {
            let mut machine = Machine::boot(args.boot.memory, hardware, &args.boot.boot())
                .map_err(boot::refused)?;
            args.devices.attach(&mut machine)?;
            machine
        }
    };
    if let Some(faults) = &faults {
        faults.borrow().check(&mut machine)?;
    }
    machine.stop_when(asked);
    machine.processor().set_stage(args.stage.into());
    let golden = args
        .golden
        .start(args.boot.subject(args.faults.symbols()))?;
    let raw = terminal::Raw::start();
    let limit = args.limits.max_instructions;
    let ended = match (control, golden) {
        (Some(control), _) => Ok((qmp::carry_on(control, &mut machine, limit), None)),
        (None, Some(golden)) => count(golden, &mut machine, limit),
        (None, None) => {
            let mut faults = faults.as_ref().map(|faults| faults.borrow_mut());
            carry_on(&mut machine, faults.as_deref_mut(), limit, &mut taker)
                .map(|stop| (stop, None))
        }
    };
    drop(raw);
    let (stop, golden) = ended?;
    let taken = taker.finish(&mut machine, stop.as_ref());
    if args.summary {
        let retired = machine.retired();
        let hash = machine.memory_hash();
        eprintln!("fits: {retired} instructions, memory {hash:016x}");
    }
    let status = match stop {
        Some(stop) => {
            let status = report::report(&stop, &machine, &stopper);
            if let Some((golden, privilege)) = golden {
                let sentence = report::describe(&stop, &machine, &stopper).0;
                eprint!("{}", golden.finish(&stop, sentence, privilege)?);
            }
            status
        }
        None => 0,
    };
    if let Some(faults) = &faults {
        args.faults.conclude(&mut faults.borrow_mut())?;
    }
    match failure.take() {
        Some(error) => Err(error),
        None => taken.map(|()| status),
    }
}

/// Instructions between two updates of the status line.
const SLICE: u64 = 20_000_000;

/// Runs to the end; none where a snapshot is the end. The status line is only shown where it does not mix with the console.
fn carry_on(
    machine: &mut Machine,
    mut faults: Option<&mut faults::Faults>,
    limit: u64,
    taker: &mut snapshot::Taker,
) -> Result<Option<Stop>, CliError> {
    let progress = Arc::default();
    let _line = status_line(&progress);
    loop {
        let before = machine.retired();
        let slice = limit
            .min(before.saturating_add(SLICE))
            .min(taker.next(before));
        let stop = match &mut faults {
            None => machine.run(slice),
            Some(faults) => faults.run(machine, slice),
        };
        progress.add(machine.retired() - before);
        if taker.is_due(machine, &stop) {
            taker.take(machine)?;
            if taker.ends_run() {
                return Ok(None);
            }
        } else if stop != Stop::Limit || slice == limit {
            return Ok(Some(stop));
        }
    }
}

fn status_line(progress: &Arc<Progress>) -> ProgressLine {
    if std::io::stdout().is_terminal() {
        return ProgressLine::default();
    }
    ProgressLine::start(progress)
}

/// A golden run, with what it has counted.
type Counted = Option<(golden::GoldenRun, Privilege)>;

/// Runs to the end, and counts.
fn count(
    mut golden: golden::GoldenRun,
    machine: &mut Machine,
    limit: u64,
) -> Result<(Option<Stop>, Counted), CliError> {
    let progress = Arc::default();
    let _line = status_line(&progress);
    let (stop, privilege) = golden.run(machine, limit, &progress)?;
    Ok((Some(stop), Some((golden, privilege))))
}
