//! Why something cannot be booted.

use std::path::PathBuf;

use super::linux::COMMAND_LINE_MAX;

/// Why a kernel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A file cannot be read.
    #[error("cannot read {what} {}: {source}", path.display())]
    Read {
        /// What it is.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no kernel.
    #[error("{} is not a kernel that can be booted: {reason}", path.display())]
    NoKernel {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Memory is too small.
    #[error(
        "{what} {} of guest memory, there are {}: give more with --memory", mebibytes(*need), mebibytes(*have)
    )]
    TooLittle {
        /// Who needs it.
        what: &'static str,
        /// Bytes needed.
        need: u64,
        /// Bytes there.
        have: u64,
    },
    /// The command line is too long.
    #[error("the kernel's command line has {0} bytes: at most {max} are possible", max = COMMAND_LINE_MAX)]
    CommandLine(usize),
    /// Modules for a kernel that takes none.
    #[error("only a multiboot kernel takes --module; Linux takes --initrd")]
    Modules,
    /// Memory could not be had or written, or the host cannot run the machine.
    #[error("{0}")]
    Memory(String),
}

/// In MiB, rounded up to a tenth.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_said_in_mebibytes() {
        let error = BootError::TooLittle {
            what: "the kernel needs",
            need: (64 << 20) + 1,
            have: 16 << 20,
        };
        let text = error.to_string();
        assert!(
            text.contains("needs 64.1 MiB of guest memory, there are 16.0 MiB"),
            "{text}"
        );
    }
}
