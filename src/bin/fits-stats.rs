//! The statistics process of fits.

use std::process::ExitCode;

fn main() -> ExitCode {
    fits_stats::process::main(std::env::args_os().skip(1))
}
