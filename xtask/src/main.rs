//! `cargo xtask`: tasks for people who work on fits.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for people who work on fits.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fetch the guests of the virtual machine's tests: stock Debian kernels, a static busybox, initial RAM disks
    ///
    /// Downloads by package name, without root, checks hashes, and keeps everything in a folder. Does nothing where that is whole.
    Guests {
        /// Where they are kept
        #[arg(long, value_name = "FOLDER", default_value_os_t = default_folder())]
        folder: PathBuf,
        /// Fetch them again, in the newest version
        #[arg(long)]
        refresh: bool,
    },
}

fn default_folder() -> PathBuf {
    xtask::guests::folder(&xtask::checkout())
}

fn main() -> ExitCode {
    let Task::Guests { folder, refresh } = Xtask::parse().task;
    let result = if refresh {
        xtask::guests::forget(&folder)
    } else {
        Ok(())
    };
    match result.and_then(|()| xtask::guests::fetch(&folder, &mut |line| eprintln!("{line}"))) {
        Ok(guests) => {
            println!("{}", guests.folder().display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}
