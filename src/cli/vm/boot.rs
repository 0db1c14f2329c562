//! What is booted, with how much memory.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use fits_sysemu::boot::{Boot, BootError, Entry, Module};

use super::golden::Subject;
use crate::cli::CliError;

/// The flags of the boot.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is booted")]
pub(crate) struct BootFlags {
    /// The kernel: a bzImage (vmlinuz), an ELF file (vmlinux), or a multiboot kernel
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, required_unless_present = "restore")]
    kernel: Option<PathBuf>,
    /// The initial RAM disk
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    initrd: Option<PathBuf>,
    /// A module of a multiboot kernel, with its command line after a comma; can be given several times
    #[arg(long = "module", value_name = "FILE[,TEXT]")]
    modules: Vec<String>,
    /// Where the kernel is entered
    #[arg(long, value_enum, default_value_t)]
    entry: EntryName,
    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyS0")]
    append: String,
    /// Guest memory, in bytes or with K, M or G; at most 3G
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(super) memory: u64,
}

/// Names of entries.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EntryName {
    /// The fastest that the file has
    #[default]
    Auto,
    /// The 64-bit entry of a bzImage: the kernel unpacks itself
    Bzimage,
    /// The 64-bit entry of the kernel itself; one in a bzImage is unpacked by the host
    Kernel,
    /// The 32-bit entry of the kernel's PVH note
    Pvh,
    /// Multiboot 1
    Multiboot,
}

impl From<EntryName> for Entry {
    fn from(name: EntryName) -> Self {
        match name {
            EntryName::Auto => Entry::Auto,
            EntryName::Bzimage => Entry::Bzimage,
            EntryName::Kernel => Entry::Kernel,
            EntryName::Pvh => Entry::Pvh,
            EntryName::Multiboot => Entry::Multiboot,
        }
    }
}

fn module(argument: &str) -> Module {
    let (file, text) = argument.split_once(',').unwrap_or((argument, ""));
    Module {
        file: file.into(),
        text: text.to_owned(),
    }
}

impl BootFlags {
    /// What a golden run says of it; `symbols` is the file of the kernel's symbols.
    pub(super) fn subject<'a>(&'a self, symbols: Option<&'a Path>) -> Subject<'a> {
        Subject {
            symbols,
            kernel: self.kernel.as_deref(),
            append: &self.append,
        }
    }

    pub(super) fn boot(&self) -> Boot {
        Boot {
            kernel: self.kernel.clone().unwrap_or_default(),
            initrd: self.initrd.clone(),
            command_line: self.append.clone(),
            entry: self.entry.into(),
            modules: self
                .modules
                .iter()
                .map(|argument| module(argument))
                .collect(),
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
