//! What runs the machine.

use clap::{Args, ValueEnum};

use crate::cli::CliError;

/// The flags of the engine.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct EngineFlags {
    /// What executes the guest
    #[arg(long, value_enum, default_value_t)]
    engine: EngineName,
}

/// Names of engines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum EngineName {
    /// A processor in software: every run repeats, instructions are counted
    #[default]
    Soft,
    /// The host's processor, by /dev/kvm: fast, but nothing is counted and no run repeats
    Kvm,
}

impl EngineFlags {
    pub(super) fn is_kvm(&self) -> bool {
        self.engine == EngineName::Kvm
    }
}

/// Refuses flags, where they are given, for which KVM cannot do what the software processor does.
pub(super) fn refuse(flags: &[(&str, bool)]) -> Result<(), CliError> {
    match flags.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(CliError::Usage(format!(
            "{flag} needs the software processor (--engine soft), which counts instructions and can be looked into"
        ))),
        None => Ok(()),
    }
}
