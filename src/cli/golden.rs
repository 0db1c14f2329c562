//! `fits golden`: a program run without faults, and everything it did counted.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{ArgGroup, Args, Parser, ValueEnum};
use fits_dbt::runtime::Translator;
use fits_stats::client::StatsProcess;
use fits_stats::model::{self, CrashSite, ExitInfo, RunInfo, RunTimes};
use fits_stats::protocol::{Answer, Finish};
use fits_stats::write::{Existing, check_destination};
use fits_tracer::backend::{Backend, BackendError, Ended, Outcome, RunOptions};
use fits_tracer::calls_made::{CallMade, CallsMade};
use fits_tracer::golden::PtraceBackend;
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};

use super::program::ProgramArgs;
use super::progress::ProgressLine;
use super::record::{OutputMark, hash_file, standard_input};
use super::{CliError, verify};
use crate::exit_code;

/// Run a program and count everything it does
///
/// Runs PROG to its end, its behaviour unchanged, and leaves in a folder how often each instruction was executed, each register read and
/// written, each bit of each operand 1 and 0; basic blocks, system calls, memory pages, and distributions. The program's input, output and
/// exit status are its own; what fits says goes to standard error.
///
/// Every run starts from the same state: no address-space randomisation, fixed random bytes, no vDSO, a virtual time-stamp counter.
///
/// "--vm" counts what a kernel does in the virtual machine instead; what follows it are flags of "fits vm".
#[derive(Debug, Args)]
#[command(after_help = exit_code::TABLE)]
#[command(group(ArgGroup::new("subject").required(true).args(["PROG", "vm"])))]
#[command(
    override_usage = "fits golden [OPTIONS] PROG...\n       fits golden [--out DIR] [--stats LEVEL] [--force] --vm VM-FLAGS..."
)]
pub(crate) struct GoldenArgs {
    /// What executes the program
    #[arg(long, value_enum, default_value_t = BackendChoice::Dbt)]
    pub(crate) backend: BackendChoice,
    /// What is counted
    #[arg(long, value_enum, default_value_t = Level::Full)]
    pub(crate) stats: Level,
    /// The folder for the results; made, and must be empty if it exists [default: fits-golden-PROG in the current folder, where PROG is the
    /// program's file name with all but letters, digits, ".", "_", "+" and "-" replaced by "_"]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) out: Option<PathBuf>,
    /// Replace the earlier result in the folder
    #[arg(long)]
    pub(crate) force: bool,
    /// Leave the environment as the kernel gives it: randomised addresses, real time-stamp counter, vDSO
    #[arg(long)]
    pub(crate) raw_environment: bool,
    /// Count the children of the program too (without this they run free)
    #[arg(long)]
    pub(crate) follow_forks: bool,
    /// Bytes of the code cache near each module, for tests: with few, translated code is thrown away and made again often
    #[arg(long, value_name = "BYTES", hide = true)]
    pub(crate) code_cache: Option<u64>,
    /// Run twice, and say where the second run differs from the first
    #[arg(long)]
    pub(crate) verify: bool,
    /// Say nothing unless something fails: no summary, no progress
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Boot a kernel in the virtual machine and count that: "--vm --kernel vmlinuz --initrd initrd", say. All that follows are flags of "fits vm"
    #[arg(
        long,
        value_name = "VM-FLAGS",
        num_args = 1..,
        allow_hyphen_values = true,
        conflicts_with_all = ["backend", "raw_environment", "follow_forks", "code_cache", "verify", "quiet"]
    )]
    vm: Vec<OsString>,
    #[command(flatten)]
    program: Option<ProgramArgs>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendChoice {
    /// Translates the program as it runs: fast
    Dbt,
    /// Single-steps the program: slow, simple, the reference
    Ptrace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Executions, register reads and writes, blocks, mix, system calls
    Counts,
    /// Also operand bits, memory, lifetimes, distributions
    Full,
}

impl Level {
    pub(crate) fn of_model(self) -> model::Level {
        match self {
            Self::Counts => model::Level::Counts,
            Self::Full => model::Level::Full,
        }
    }
}

impl GoldenArgs {
    /// The program with its arguments; empty with `--vm`.
    pub(crate) fn program(&self) -> &[OsString] {
        self.program.as_ref().map_or(&[], ProgramArgs::words)
    }

    /// What "fits vm" is told with `--vm`.
    fn vm_words(&self) -> Vec<OsString> {
        let level = self.stats.to_possible_value();
        let level = level.map_or_else(String::new, |level| level.get_name().to_owned());
        let mut words: Vec<OsString> = ["fits", "vm", "--golden"].map(Into::into).into();
        words.push(self.folder().into());
        words.extend(["--stats".into(), level.into()]);
        words.extend(self.force.then(|| "--force".into()));
        words.extend(self.vm.iter().cloned());
        words
    }

    /// Where the results go.
    pub(crate) fn folder(&self) -> PathBuf {
        self.out
            .clone()
            .unwrap_or_else(|| default_folder(self.program().first().unwrap_or(&"vm".into())))
    }

    fn environment(&self) -> Environment {
        if self.raw_environment {
            Environment::Raw
        } else {
            Environment::Controlled
        }
    }
}

fn default_folder(program: &OsString) -> PathBuf {
    let name = Path::new(program)
        .file_name()
        .unwrap_or(program)
        .to_string_lossy();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._+-".contains(letter);
    let name: String = name
        .chars()
        .map(|letter| if plain(letter) { letter } else { '_' })
        .collect();
    PathBuf::from(format!("fits-golden-{name}"))
}

pub(crate) fn run(args: &GoldenArgs) -> Result<u8, CliError> {
    if !args.vm.is_empty() {
        let parsed = super::Cli::try_parse_from(args.vm_words());
        return super::run(parsed.unwrap_or_else(|error| error.exit()));
    }
    let out = args.folder();
    let existing = if args.force {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    check_destination(&out, existing)?;
    if args.verify {
        return verify::run(args, &out);
    }
    let run = execute(args, &out, Default::default())?;
    tell(args, &run);
    Ok(exit_status(run.outcome.ended))
}

/// One run with its results written to `out`.
pub(crate) fn execute(
    args: &GoldenArgs,
    out: &Path,
    stdio: [Stdio; 3],
) -> Result<Executed, CliError> {
    let (program, arguments) = args
        .program()
        .split_first()
        .ok_or_else(|| CliError::Usage("no program is named".to_owned()))?;
    let mut command = Command::new(program).args(arguments);
    for (number, stream) in stdio.into_iter().enumerate() {
        command = command.stdio(number, stream);
    }
    let calls: Option<Arc<CallsMade>> = args.verify.then(Arc::default);
    let options = RunOptions {
        follow_forks: args.follow_forks,
        calls: calls.clone(),
        code_cache: args.code_cache,
        ..RunOptions::new(args.stats.of_model(), args.environment(), CpuPlan::new())
    };
    let words = args.program().iter();
    let words: Vec<String> = words
        .map(|text| text.to_string_lossy().into_owned())
        .collect();
    let (marks, input) = (OutputMark::both(), standard_input());
    let mut line = ProgressLine::default();
    if !args.quiet {
        line = ProgressLine::start(&options.progress);
    }
    let destination = Destination {
        out,
        replace: args.force,
    };
    let (outcome, summary) = count(
        &command,
        words,
        args.backend,
        &options,
        &destination,
        |info| {
            drop(line);
            info.standard_input = input;
            info.outputs = marks.iter().filter_map(OutputMark::finish).collect();
        },
    )?;
    Ok(Executed {
        outcome,
        summary,
        calls: calls.map(|calls| calls.take()).unwrap_or_default(),
    })
}

/// A run that is over.
pub(crate) struct Executed {
    pub(crate) outcome: Outcome,
    /// For the terminal.
    pub(crate) summary: String,
    /// With `--verify`: its system calls.
    pub(crate) calls: Vec<CallMade>,
}

/// Where a result goes.
pub(crate) struct Destination<'a> {
    /// The folder.
    pub(crate) out: &'a Path,
    /// Whether an earlier result there gives way.
    pub(crate) replace: bool,
}

/// Runs a command and counts; `words` are its arguments with the program as typed, `complete` adds what is known of its input and output when it has
/// ended.
pub(crate) fn count(
    command: &Command,
    words: Vec<String>,
    choice: BackendChoice,
    options: &RunOptions,
    destination: &Destination,
    complete: impl FnOnce(&mut RunInfo),
) -> Result<(Outcome, String), CliError> {
    let executable = command.resolve().map_err(BackendError::from)?;
    fits_tracer::process::check_executable(&executable).map_err(BackendError::from)?;
    let mut stats = StatsProcess::start(
        &statistics_program()?,
        options.level,
        &options.cpus.for_statistics(),
    )?;
    // On the other CPUs while the program runs: started before this thread is pinned.
    let program_hash = std::thread::spawn(move || hash_file(&executable));
    let mut info = before(command, words, choice, options);
    let outcome = backend(choice).run(command, options, &mut stats)?;
    after(&mut info, &outcome);
    info.program_sha256 = program_hash.join().unwrap_or_default();
    complete(&mut info);
    let finish = Finish {
        out: destination.out.to_owned(),
        replace: destination.replace,
        info,
    };
    match stats.finish(finish)? {
        Answer::Written { summary } => Ok((outcome, summary)),
        Answer::Failed(sentence) => Err(CliError::NotWritten(sentence)),
    }
}

fn backend(choice: BackendChoice) -> Box<dyn Backend> {
    match choice {
        BackendChoice::Dbt => Box::new(Translator),
        BackendChoice::Ptrace => Box::new(PtraceBackend),
    }
}

/// The statistics process lies beside our own executable.
pub(crate) fn statistics_program() -> Result<PathBuf, CliError> {
    let own = std::env::current_exe()
        .map_err(CliError::file("find", "the executable of fits".as_ref()))?;
    Ok(own.with_file_name("fits-stats"))
}

fn before(
    command: &Command,
    words: Vec<String>,
    choice: BackendChoice,
    options: &RunOptions,
) -> RunInfo {
    let text = |text: &OsString| text.to_string_lossy().into_owned();
    let started = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let variable =
        |(name, value): (OsString, OsString)| format!("{}={}", text(&name), text(&value));
    RunInfo {
        program: command
            .resolve()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        arguments: words,
        environment: std::env::vars_os().map(variable).collect(),
        working_directory: std::env::current_dir()
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
        backend: match choice {
            BackendChoice::Dbt => model::Backend::Dbt,
            BackendChoice::Ptrace => model::Backend::Ptrace,
        },
        level: options.level,
        controlled: matches!(options.environment, Environment::Controlled),
        times: RunTimes {
            started: started.as_secs_f64(),
            ..RunTimes::default()
        },
        ..RunInfo::default()
    }
}

fn after(info: &mut RunInfo, outcome: &Outcome) {
    info.pid = outcome.pid.cast_unsigned();
    info.times.elapsed = outcome.wall_seconds;
    info.times.user = outcome.cpu.user;
    info.times.system = outcome.cpu.system;
    info.translated = outcome.translated;
    info.warnings.clone_from(&outcome.warnings);
    info.exit = match outcome.ended {
        Ended::Exited(status) => ExitInfo::Exited(status),
        Ended::Signaled { signal, .. } => {
            let site = outcome.crash.as_ref().map(|crash| CrashSite {
                pc: crash.pc,
                code: crash.code,
                fault_address: (crash.code > 0).then_some(crash.address),
            });
            ExitInfo::Signaled { signal, site }
        }
    };
}

/// The sentence about a program that did not exit by itself.
fn ending(outcome: &Outcome) -> Option<String> {
    let Ended::Signaled { signal, core } = outcome.ended else {
        return None;
    };
    let name = nix::sys::signal::Signal::try_from(signal).map_or_else(
        |_| format!("signal {signal}"),
        |name| format!("signal {signal} ({name})"),
    );
    let place = outcome
        .crash
        .as_ref()
        .map(|crash| format!(" at {:#x}", crash.pc))
        .unwrap_or_default();
    let dumped = if core { ", core dumped" } else { "" };
    Some(format!(
        "the program was ended by {name}{place}{dumped}; the statistics go up to there"
    ))
}

/// Says on standard error how it went.
pub(crate) fn tell(args: &GoldenArgs, run: &Executed) {
    if args.quiet {
        return;
    }
    if let Some(sentence) = ending(&run.outcome) {
        eprintln!("fits: {sentence}");
    }
    eprint!("{}", run.summary);
    eprintln!("Results in {}", args.folder().display());
}

pub(crate) fn exit_status(ended: Ended) -> u8 {
    match ended {
        Ended::Exited(status) => status as u8,
        Ended::Signaled { signal, .. } => exit_code::signaled(signal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_folder_is_named_after_the_program() {
        assert_eq!(
            default_folder(&"/usr/bin/g++-14".into()),
            Path::new("fits-golden-g++-14")
        );
        assert_eq!(
            default_folder(&"./my prog".into()),
            Path::new("fits-golden-my_prog")
        );
        assert_eq!(default_folder(&"/".into()), Path::new("fits-golden-_"));
    }
}
