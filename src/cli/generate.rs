//! `fits completions` and `fits man`: made from the command line's own definition.

use std::io;
use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, CliError};

/// Print a completion script for a shell
///
/// For bash, for example: fits completions bash > ~/.local/share/bash-completion/completions/fits
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Write the manual pages into a folder
///
/// One page for fits and one for each subcommand, in section 1. The folder is made if need be.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// The folder
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<u8, CliError> {
    clap_complete::generate(args.shell, &mut Cli::command(), "fits", &mut io::stdout());
    Ok(0)
}

pub(crate) fn man(args: &ManArgs) -> Result<u8, CliError> {
    std::fs::create_dir_all(&args.folder).map_err(CliError::file("make", &args.folder))?;
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .map_err(CliError::file("write manual pages to", &args.folder))?;
    Ok(0)
}
