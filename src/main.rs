//! The command line of fits.

mod cli;
mod exit_code;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            // Where nobody reads it, the exit status must do.
            let _ = writeln!(std::io::stderr(), "fits: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
