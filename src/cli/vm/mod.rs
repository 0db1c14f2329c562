//! `fits vm`: a virtual machine in software, with its serial console on standard input and output.
//!
//! Each group of flags is a file here, with what it means: `boot`, `console`, `limits`. `terminal` is the raw terminal, `report` says how it ended.

mod boot;
mod console;
mod limits;
mod report;
mod terminal;

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Args;
use fits_sysemu::board::console::Console;
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;
use fits_tracer::backend::Progress;

use super::CliError;
use super::progress::ProgressLine;
use crate::exit_code;

/// Boot a Linux kernel in a virtual PC whose processor is software
///
/// The machine has one processor, a serial port (ttyS0), interrupt controllers, timers, a clock and ACPI power-off; no disks and no network yet.
/// Its time is virtual, one nanosecond an instruction: the same input gives the same run, to the last instruction. Input from a file is known
/// beforehand; input from a terminal or a pipe arrives when it arrives, and such a run does not repeat exactly. On a terminal every key goes to the
/// guest; Ctrl-A x quits.
#[derive(Debug, Args)]
#[command(after_help = exit_code::VM_TABLE)]
pub(crate) struct VmArgs {
    #[command(flatten)]
    boot: boot::BootFlags,
    #[command(flatten)]
    console: console::ConsoleFlags,
    #[command(flatten)]
    limits: limits::LimitFlags,
    /// Print at the end, on standard error, how many instructions retired and a hash of memory
    #[arg(long, help_heading = "Console")]
    summary: bool,
}

pub(crate) fn run(args: &VmArgs) -> Result<u8, CliError> {
    let output = console::Both::open(&args.console)?;
    let failure = output.failure();
    let asked = Arc::default();
    let stopper = limits::Stopper::start(&args.limits, Arc::clone(&asked))?;
    let console = Console::new(Box::new(output), console::input(&stopper));
    let mut machine =
        Machine::boot(args.boot.memory, console, &args.boot.boot()).map_err(boot::refused)?;
    machine.stop_when(asked);
    let raw = terminal::Raw::start();
    let stop = carry_on(&mut machine, args.limits.max_instructions);
    drop(raw);
    if args.summary {
        let retired = machine.retired();
        let hash = machine.memory_hash();
        eprintln!("fits: {retired} instructions, memory {hash:016x}");
    }
    let status = report::report(&stop, &mut machine, &stopper);
    match failure.take() {
        Some(error) => Err(error),
        None => Ok(status),
    }
}

/// Instructions between two updates of the status line.
const SLICE: u64 = 20_000_000;

/// Runs to the end. The status line is only shown where it does not mix with the console.
fn carry_on(machine: &mut Machine, limit: u64) -> Stop {
    let progress = Arc::new(Progress::default());
    let _line = if std::io::stdout().is_terminal() {
        ProgressLine::default()
    } else {
        ProgressLine::start(&progress)
    };
    loop {
        let before = machine.retired();
        let slice = limit.min(before.saturating_add(SLICE));
        let stop = machine.run(slice);
        progress.add(machine.retired() - before);
        if stop != Stop::Limit || slice == limit {
            return stop;
        }
    }
}
