//! `fits vm`: a virtual machine in software, with its serial console on standard input and output.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use clap::Args;
use fits_sysemu::board::console::{Console, Input};
use fits_sysemu::boot::linux::{Boot, BootError};
use fits_sysemu::cpu::Stop;
use fits_sysemu::machine::Machine;

use super::CliError;
use crate::exit_code;

/// Boot a Linux kernel in a virtual PC whose processor is software
///
/// The machine has one processor, a serial port (ttyS0), interrupt controllers, timers, a clock and ACPI power-off; no disks and no network yet.
/// Its time is virtual, one nanosecond an instruction: the same input gives the same run, to the last instruction. Input from a file is known
/// beforehand; input from a terminal or a pipe arrives when it arrives, and such a run does not repeat exactly.
#[derive(Debug, Args)]
#[command(after_help = exit_code::VM_TABLE)]
pub(crate) struct VmArgs {
    /// The kernel: a bzImage (vmlinuz) or an ELF file (vmlinux)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    kernel: PathBuf,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    append: String,
    /// Guest memory, in bytes or with K, M or G; at most 3G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    memory: u64,
    /// Stop after this many seconds of real time
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Stop after this many instructions
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    max_instructions: u64,
    /// Write what the guest prints to a file as well
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    console: Option<PathBuf>,
    /// Print at the end, on standard error, how many instructions retired and a hash of memory
    #[arg(long)]
    summary: bool,
}

fn size(text: &str) -> Result<u64, String> {
    let (digits, factor) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("\"{text}\" is no size: a number, perhaps with K, M or G"))
}

/// Standard output, and the console's file beside it.
struct Both {
    output: std::io::Stdout,
    file: Option<File>,
    line: Vec<u8>,
}

impl Both {
    fn send(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
        }
        match self
            .output
            .write_all(&line)
            .and_then(|()| self.output.flush())
        {
            // A reader that has seen enough is no failure.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }
}

impl Write for Both {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.len() > 4000 || bytes.contains(&b'\n') {
            self.send()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        // The port flushes after each byte; a line, or what is there when the guest idles, is enough.
        if self.line.last().is_some_and(|&byte| byte == b' ') {
            self.send()?;
        }
        Ok(())
    }
}

impl Drop for Both {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.send();
    }
}

/// What the guest reads: all of a file, or what comes.
fn input() -> Input {
    let stdin = std::io::stdin();
    let regular = std::fs::metadata("/dev/stdin").is_ok_and(|data| data.is_file());
    if regular && !stdin.is_terminal() {
        let mut bytes = Vec::new();
        return match stdin.lock().read_to_end(&mut bytes) {
            Ok(_) => Input::Fixed(bytes),
            Err(_) => Input::None,
        };
    }
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = std::io::stdin().read(&mut buffer) {
            if sender.send(buffer[..count].to_vec()).is_err() {
                break;
            }
        }
    });
    Input::Live(receiver)
}

pub(crate) fn run(args: &VmArgs) -> Result<u8, CliError> {
    let file = match &args.console {
        Some(path) => Some(File::create(path).map_err(CliError::file("create", path))?),
        None => None,
    };
    let output = Both {
        output: std::io::stdout(),
        file,
        line: Vec::new(),
    };
    let boot = Boot {
        kernel: args.kernel.clone(),
        initrd: args.initrd.clone(),
        command_line: args.append.clone(),
    };
    let console = Console::new(Box::new(output), input());
    let mut machine = Machine::boot(args.memory, console, &boot).map_err(refused)?;
    if let Some(seconds) = args.timeout {
        let stopper = machine.stopper();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            stopper.store(true, Ordering::Relaxed);
        });
    }
    let stop = machine.run(args.max_instructions);
    if args.summary {
        let retired = machine.retired();
        let hash = machine.memory_hash();
        eprintln!("fits: {retired} instructions, memory {hash:016x}");
    }
    Ok(report(&stop, args, &machine))
}

fn refused(error: BootError) -> CliError {
    match error {
        BootError::Read { .. } | BootError::NoKernel { .. } => CliError::Kernel(error.to_string()),
        other => CliError::Usage(other.to_string()),
    }
}

/// Says why the machine stopped, and with which status.
fn report(stop: &Stop, args: &VmArgs, machine: &Machine) -> u8 {
    let retired = machine.retired();
    match stop {
        Stop::PowerOff | Stop::Reset => 0,
        Stop::DebugExit(status) => *status as u8,
        Stop::Halted => {
            eprintln!(
                "fits: the guest has halted with interrupts off after {retired} instructions"
            );
            0
        }
        Stop::Limit => {
            eprintln!("fits: stopped after {retired} instructions (--max-instructions)");
            exit_code::TIMED_OUT
        }
        Stop::Asked => {
            let seconds = args.timeout.unwrap_or_default();
            eprintln!(
                "fits: stopped after {seconds} seconds and {retired} instructions (--timeout)"
            );
            exit_code::TIMED_OUT
        }
        Stop::TripleFault { rip } => {
            eprintln!("fits: the guest's processor shut down: triple fault at {rip:#x}");
            exit_code::GUEST_FAILED
        }
        Stop::Alarm
        | Stop::Watched { .. }
        | Stop::Breakpoint { .. }
        | Stop::SystemCall
        | Stop::AddressSpace => {
            // Only who asks for these stops gets them.
            unreachable!("nobody asked for {stop:?}")
        }
        Stop::Unimplemented { rip, bytes, what } => {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("fits: {what}, at {rip:#x}: {}", bytes.join(" "));
            exit_code::GUEST_FAILED
        }
    }
}
