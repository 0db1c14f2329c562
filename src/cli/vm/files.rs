//! `fits vm snapshot`: the files that snapshots are in.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use fits_sysemu::snapshot::{SnapshotError, file};

use crate::cli::CliError;

/// List, show and delete snapshots of machines
///
/// They are taken with fits vm --snapshot, and gone on from with fits vm --restore.
#[derive(Debug, Args)]
pub(crate) struct SnapshotArgs {
    #[command(subcommand)]
    command: SnapshotCommand,
}

#[derive(Debug, Subcommand)]
enum SnapshotCommand {
    /// List the snapshots in a folder
    List {
        /// The folder
        #[arg(default_value = ".", value_hint = clap::ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Check a snapshot and show what is in it
    Info {
        /// The snapshot
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Delete snapshots; what is no snapshot stays
    Delete {
        /// The snapshots
        #[arg(required = true, value_hint = clap::ValueHint::FilePath)]
        files: Vec<PathBuf>,
    },
}

pub(super) fn run(args: &SnapshotArgs) -> Result<u8, CliError> {
    match &args.command {
        SnapshotCommand::List { folder } => crate::cli::print(&list(folder)?)?,
        SnapshotCommand::Info { file } => crate::cli::print(&info(file)?)?,
        SnapshotCommand::Delete { files } => delete(files)?,
    }
    Ok(0)
}

const MEGABYTE: u64 = 1 << 20;

fn list(folder: &Path) -> Result<String, CliError> {
    let wrong = |error| CliError::file("read", folder)(error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    let mut out = String::new();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let line = match file::describe(&path) {
            // What we may not read, or what is none, is not on the list.
            Err(SnapshotError::Foreign(_) | SnapshotError::File { .. }) => continue,
            Err(error) => format!("{name:<24} {error}"),
            Ok(about) => {
                let bytes = std::fs::metadata(&path).map_or(0, |data| data.len());
                format!(
                    "{name:<24} {:>5} MiB of RAM  {:>14} instructions  {:>12.6} s  {:>5} MiB  fits {}",
                    about.memory / MEGABYTE,
                    about.retired,
                    about.now as f64 / 1e9,
                    bytes / MEGABYTE,
                    about.fits
                )
            }
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{line}");
    }
    Ok(out)
}

fn info(path: &Path) -> Result<String, CliError> {
    let contents = file::inspect(path)?;
    let about = &contents.description;
    let mut out = format!(
        "taken by       fits {}\nboard          {}\nmemory         {} bytes, {} of them in pages that are not zero\n\
         instructions   {}\nvirtual time   {:.9} s\n\n{:<24} {:>7} {:>10}\n",
        about.fits,
        about.board,
        about.memory,
        contents.memory,
        about.retired,
        about.now as f64 / 1e9,
        "record",
        "version",
        "bytes"
    );
    for (tag, version, bytes) in &contents.records {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{tag:<24} {version:>7} {bytes:>10}");
    }
    Ok(out)
}

fn delete(files: &[PathBuf]) -> Result<(), CliError> {
    for path in files {
        match file::describe(path) {
            // One that is damaged or of another version is a snapshot all the same.
            Err(error @ (SnapshotError::Foreign(_) | SnapshotError::File { .. })) => {
                return Err(error.into());
            }
            _ => std::fs::remove_file(path).map_err(CliError::file("delete", path))?,
        }
    }
    Ok(())
}
