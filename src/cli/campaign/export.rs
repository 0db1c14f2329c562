//! `fits campaign export`.

use std::fs::File;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use fits_injectors::campaign::export::{Format, export};
use fits_injectors::campaign::store::Archive;

use crate::cli::CliError;

/// Write a campaign for other tools: one row for each experiment
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The folder of the campaign
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// The form
    #[arg(long, value_enum, default_value_t = FormatChoice::Csv)]
    format: FormatChoice,
    /// The file; replaced if it exists [default: standard output]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum FormatChoice {
    /// A table in text with one header line
    Csv,
    /// A list of objects, with the whole record of each experiment
    Json,
    /// Typed columns, as data frames read them
    Parquet,
}

pub(crate) fn run(args: &ExportArgs) -> Result<u8, CliError> {
    let format = match args.format {
        FormatChoice::Csv => Format::Csv,
        FormatChoice::Json => Format::Json,
        FormatChoice::Parquet => Format::Parquet,
    };
    let archive = Archive::open(&args.folder)?;
    let Some(path) = &args.output else {
        // Written at once, so that a reader that has seen enough is no failure.
        let mut text = Vec::new();
        export(&archive, format, &mut text)?;
        return crate::cli::print_bytes(&text).map(|()| 0);
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => std::path::Path::new("."),
    };
    // Beside its place, so that there is never half of it.
    let partial = tempfile::Builder::new()
        .prefix(".fits-export-")
        .tempfile_in(parent)
        .map_err(CliError::file("write to", parent))?;
    let file: &File = partial.as_file();
    export(&archive, format, file)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.set_permissions(mode)
        .map_err(CliError::file("write", path))?;
    partial
        .persist(path)
        .map_err(|error| CliError::file("write", path)(error.error))?;
    Ok(0)
}
