//! `fits report`: a golden run, or a list of experiments, as one HTML page.

use std::path::{Path, PathBuf};

use clap::Args;
use fits_injectors::experiment::record::FILE;

use super::CliError;

/// Make one self-contained HTML page of a golden run or of experiments
///
/// Of a golden run: summary, annotated disassembly with counts, registers bit by bit, lifetimes, histograms, memory map. Of experiments
/// (a folder of fits inject --out): each with its fault, its outcome and where outputs differ; with --trace, what golden and faulty run
/// executed, side by side. The page needs no network.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder of the run, or of the experiments
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// Where to write the page [default: DIR/report.html]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &ReportArgs) -> Result<u8, CliError> {
    let page = if args.folder.join(FILE).is_file() {
        fits_injectors::report::render(&args.folder)?
    } else {
        fits_stats::report::render(&args.folder)?
    };
    let path = args
        .output
        .clone()
        .unwrap_or_else(|| args.folder.join("report.html"));
    replace(&path, &page).map_err(CliError::file("write", &path))?;
    super::print(&format!("{}\n", path.display()))?;
    Ok(0)
}

/// Writes the page beside its place and moves it there, so that there is never half a page.
fn replace(path: &Path, page: &str) -> std::io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".partial-{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let result = std::fs::write(&partial, page).and_then(|()| std::fs::rename(&partial, path));
    if result.is_err() {
        // The error that is reported matters, not what is left of the page.
        let _ = std::fs::remove_file(&partial);
    }
    result
}
