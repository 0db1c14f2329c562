//! The program on a command line of fits, and what belongs to it.

use std::ffi::OsString;

use clap::Args;

/// A program with its arguments.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProgramArgs {
    /// The program (a path, or a name that is looked up in PATH) and its arguments: all that comes after it is its own
    // One list, since flags between two would be taken for those of fits.
    #[arg(id = "PROG", value_name = "PROG", required = true, trailing_var_arg = true, value_hint = clap::ValueHint::CommandWithArguments)]
    words: Vec<OsString>,
}

impl ProgramArgs {
    /// The program as typed.
    pub(crate) fn program(&self) -> &OsString {
        &self.words[0]
    }

    /// Its arguments.
    pub(crate) fn arguments(&self) -> &[OsString] {
        &self.words[1..]
    }

    /// The program and its arguments.
    pub(crate) fn words(&self) -> &[OsString] {
        &self.words
    }
}
