//! What can be typed after `fits inject`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fits_injectors::drive::WINDOW;
use fits_injectors::experiment::session::Isolate;

use super::shorthand::Shorthand;
use crate::cli::experiments::conduct::Conduct;
use crate::cli::golden::BackendChoice;
use crate::cli::program::ProgramArgs;
use crate::exit_code;

/// Inject faults into a program and say what becomes of it
///
/// Runs PROG without faults first, then once for each experiment: to the moment of its fault, on from there with the fault in place, natively to its
/// end; and compares how it ended, its output and its files. All runs happen in a sandbox: nothing that the program does reaches the host.
///
/// A fault is written LOCATION:CHANGE/DURATION@MOMENT, for example reg:rax:3@1000000 (flip bit 3 of rax when 1000000 instructions have retired),
/// or with the flags --reg, --bit, --at and their like. docs/faults.md has all of it.
#[derive(Debug, Args)]
#[command(after_help = exit_code::INJECT_TABLE)]
pub(crate) struct InjectArgs {
    /// A fault in its text form; several are injected into one run
    #[arg(long, value_name = "FAULT", help_heading = "Faults")]
    pub(crate) fault: Vec<String>,
    /// A file of experiments, one a line: one or more faults with blanks between, # begins a comment
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with = "fault", help_heading = "Faults")]
    pub(crate) faults: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shorthand: Shorthand,
    /// What random faults are drawn from: the first one from N, each further one from the next number
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Faults")]
    pub(crate) seed: u64,
    /// Inject nothing, do everything else: the outcome must be masked
    #[arg(long, help_heading = "Faults")]
    pub(crate) dry_run: bool,

    /// What brings the program to the moment of the first fault
    #[arg(long, value_enum, default_value_t = BackendChoice::Dbt, help_heading = "Running")]
    pub(crate) backend: BackendChoice,
    /// With --backend ptrace: do everything by single steps, nothing by breakpoints or translation (slow; the reference)
    #[arg(long, help_heading = "Running")]
    pub(crate) single_step: bool,
    /// The folder of a golden run of the same program: its instructions are not counted again, and the reference run must agree with it
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Running")]
    pub(crate) golden: Option<PathBuf>,
    /// Leave the environment as the kernel gives it: randomised addresses, real time-stamp counter, vDSO
    #[arg(long, help_heading = "Running")]
    pub(crate) raw_environment: bool,
    /// Standard input of every run: a file, or - for what comes in on standard input, which is read to its end first [default: standard input if
    /// it is a file, otherwise /dev/null]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Running")]
    pub(crate) stdin: Option<PathBuf>,
    /// How many instructions are stepped after a fault to see whether what it changed is read; 0: none, and registers are not followed natively
    /// after them either
    #[arg(long, value_name = "N", default_value_t = WINDOW, help_heading = "Running")]
    pub(crate) window: u64,
    /// Compare what the thread does in the N instructions after the fault with what it does without: where the path parts, which registers
    /// and how much memory differ after 0, 1, 10, 100, … instructions [default N: 20000]
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "20000", help_heading = "Running")]
    pub(crate) trace: Option<u64>,
    /// Collect what the program executes from the fault on, without it and with it: which instructions and functions more or less often, which registers.
    /// The program runs twice more, in the translator from the fault on; with --out, both golden folders stay in DIR/experiments/N. For programs
    /// with one thread, and faults that do not last
    #[arg(long, help_heading = "Running")]
    pub(crate) trace_stats: bool,
    /// End a run, as masked, once its state is that of the fault-free run again: looked for in the first N instructions after the fault
    /// [default N: 100], and later where a changed register is overwritten before it is read
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "100", conflicts_with = "trace", help_heading = "Running")]
    pub(crate) early_stop: Option<u64>,
    /// Run the reference twice even if that takes long, and say whether it is reproducible
    #[arg(long, help_heading = "Running")]
    pub(crate) verify_reference: bool,

    /// Exit statuses by which the program says that it has detected a fault, separated by commas; 128 + N means signal N
    #[arg(
        long,
        value_name = "STATUS",
        value_delimiter = ',',
        help_heading = "Outcome"
    )]
    pub(crate) detect_exit: Vec<u8>,
    /// What the program prints when it has detected a fault: a regular expression
    #[arg(long, value_name = "REGEX", help_heading = "Outcome")]
    pub(crate) detect_output: Vec<String>,
    /// The function that the program calls when it has detected a fault (in the thread of the fault)
    #[arg(long, value_name = "SYMBOL", help_heading = "Outcome")]
    pub(crate) detect_symbol: Option<String>,
    /// A command that compares outputs: it is given two folders (stdout, stderr, files/ of the run without and with the fault) and exits with 0
    /// if they are the same in all that matters
    #[arg(long, value_name = "CMD", value_hint = clap::ValueHint::CommandString, help_heading = "Outcome")]
    pub(crate) compare: Option<String>,
    /// A run hangs when it has used so many times the time of the reference run
    #[arg(long, value_name = "X", default_value_t = 10.0, value_parser = factor, help_heading = "Outcome")]
    pub(crate) hang_factor: f64,
    /// Seconds of processor time that every run is allowed beyond that (and ten times as many of wall time)
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0, value_parser = factor, help_heading = "Outcome")]
    pub(crate) hang_floor: f64,
    /// A run hangs when it has used the time that so many instructions take in the fault-free run, in place of --hang-factor
    #[arg(long, value_name = "N", help_heading = "Outcome")]
    pub(crate) hang_instructions: Option<u64>,

    /// Seconds of wall time that the run without faults may take; it is what everything else is measured by, so nothing limits it otherwise
    #[arg(long, value_name = "SECONDS", value_parser = factor, help_heading = "Outcome")]
    pub(crate) reference_limit: Option<f64>,

    /// Whether runs leave the host's namespaces; without, only a private copy of the working directory protects the host
    #[arg(long, value_enum, default_value_t = IsolateChoice::Auto, help_heading = "Sandbox")]
    pub(crate) isolate: IsolateChoice,
    /// A further folder that runs may write to, privately (the working directory, /tmp, /var/tmp and /dev/shm always are)
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Sandbox")]
    pub(crate) writable: Vec<PathBuf>,
    /// Processes and threads that a run may have
    #[arg(long, value_name = "N", help_heading = "Sandbox")]
    pub(crate) max_processes: Option<u64>,
    /// Mebibytes of memory that a run may have
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    pub(crate) max_memory: Option<u64>,
    /// Mebibytes that one file may have
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    pub(crate) max_file: Option<u64>,
    /// Mebibytes that a run may write in all
    #[arg(long, value_name = "MIB", help_heading = "Sandbox")]
    pub(crate) max_disk: Option<u64>,

    /// Print one JSON object (docs/inject-json.md)
    #[arg(long, help_heading = "Results")]
    pub(crate) json: bool,
    /// A new folder for the results as JSON, and for outputs that differ
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath, help_heading = "Results")]
    pub(crate) out: Option<PathBuf>,
    /// Let the exit status tell the outcome
    #[arg(long, help_heading = "Results")]
    pub(crate) exit_code: bool,

    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum IsolateChoice {
    /// Where that is allowed
    Auto,
    /// Or fail
    On,
    /// Never
    Off,
}

impl IsolateChoice {
    pub(crate) fn of_session(self) -> Isolate {
        match self {
            Self::Auto => Isolate::Auto,
            Self::On => Isolate::On,
            Self::Off => Isolate::Off,
        }
    }
}

impl InjectArgs {
    /// What was typed about how experiments are made and judged.
    pub(crate) fn conduct(&self) -> Conduct {
        Conduct {
            program: self.program.program().clone(),
            arguments: self.program.arguments().to_vec(),
            backend: self.backend,
            single_step: self.single_step,
            raw_environment: self.raw_environment,
            dry_run: self.dry_run,
            window: self.window,
            trace: self.trace,
            detect_exit: self.detect_exit.clone(),
            detect_output: self.detect_output.clone(),
            detect_symbol: self.detect_symbol.clone(),
            compare: self.compare.clone(),
            hang_factor: self.hang_factor,
            hang_floor: self.hang_floor,
            hang_instructions: self.hang_instructions,
            reference_limit: self.reference_limit,
            isolate: self.isolate.of_session(),
            writable: self.writable.clone(),
            max_processes: self.max_processes,
            max_memory: self.max_memory,
            max_file: self.max_file,
            max_disk: self.max_disk,
        }
    }
}

fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..=1e6).contains(&number) => Ok(number),
        _ => Err("it must be a number from 0 to 1000000".to_owned()),
    }
}
