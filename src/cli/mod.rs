//! The subcommands: each is a struct of what was typed and a function that carries it out.

mod campaign;
mod compare;
mod error;
mod experiments;
mod generate;
mod golden;
mod inject;
mod parting;
mod program;
mod progress;
mod record;
mod report;
mod verify;
mod vm;
mod worker;

use clap::{Parser, Subcommand};

pub(crate) use error::CliError;

/// Fault injection for Linux programs and kernels.
///
/// A golden run executes a program without any fault and counts everything it does, instruction by instruction: the reference that
/// every experiment is compared with. An experiment injects a fault and says what became of the program.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Golden(golden::GoldenArgs),
    // Boxed: it has many more flags than the others.
    Inject(Box<inject::InjectArgs>),
    Campaign(campaign::CampaignArgs),
    // Boxed, too.
    Vm(Box<vm::VmArgs>),
    Compare(compare::CompareArgs),
    Report(report::ReportArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
    #[command(hide = true)]
    Worker(worker::WorkerArgs),
}

/// Carries out a command; its exit status.
pub(crate) fn run(cli: Cli) -> Result<u8, CliError> {
    match cli.command {
        Command::Golden(args) => golden::run(&args),
        Command::Inject(args) => inject::run(&args),
        Command::Campaign(args) => campaign::run(&args),
        Command::Vm(args) => vm::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Completions(args) => generate::completions(&args),
        Command::Man(args) => generate::man(&args),
        Command::Worker(worker::WorkerArgs {}) => worker::run(),
    }
}

/// Prints a result. A reader that has seen enough (`fits compare … | head`) is no failure.
fn print(text: &str) -> Result<(), CliError> {
    print_bytes(text.as_bytes())
}

/// The same for what is not text.
fn print_bytes(bytes: &[u8]) -> Result<(), CliError> {
    match std::io::Write::write_all(&mut std::io::stdout(), bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(CliError::file(
            "write to",
            "standard output".as_ref(),
        )(error)),
        _ => Ok(()),
    }
}
