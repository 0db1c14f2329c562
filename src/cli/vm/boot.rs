//! What is booted, with how much memory.

use std::path::PathBuf;

use clap::Args;
use fits_sysemu::boot::linux::{Boot, BootError};

use crate::cli::CliError;

/// The flags of the boot.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is booted")]
pub(crate) struct BootFlags {
    /// The kernel: a bzImage (vmlinuz) or an ELF file (vmlinux)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, required_unless_present = "restore")]
    kernel: Option<PathBuf>,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    initrd: Option<PathBuf>,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    append: String,
    /// Guest memory, in bytes or with K, M or G; at most 3G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(super) memory: u64,
}

impl BootFlags {
    pub(super) fn boot(&self) -> Boot {
        Boot {
            kernel: self.kernel.clone().unwrap_or_default(),
            initrd: self.initrd.clone(),
            command_line: self.append.clone(),
        }
    }
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

/// A boot that was refused.
pub(super) fn refused(error: BootError) -> CliError {
    match error {
        BootError::Read { .. } | BootError::NoKernel { .. } => CliError::Kernel(error.to_string()),
        other => CliError::Usage(other.to_string()),
    }
}
