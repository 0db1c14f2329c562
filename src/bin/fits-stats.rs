//! The statistics process of fits.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fits_stats::process::main(std::env::args_os().skip(1))
}
