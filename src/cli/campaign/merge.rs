//! `fits campaign merge`.

use std::path::PathBuf;

use clap::Args;
use fits_injectors::campaign::store::{Archive, merge};

use super::{folder, table};
use crate::cli::CliError;
use crate::exit_code;

/// Put parts of one campaign together
///
/// The parts must have the same plan. An experiment that two of them have must have come out the same.
#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The folder for the whole; made, and must be empty if it exists
    #[arg(value_name = "OUT", value_hint = clap::ValueHint::DirPath)]
    out: PathBuf,
    /// The folders of the parts
    #[arg(value_name = "DIR", required = true, value_hint = clap::ValueHint::DirPath)]
    parts: Vec<PathBuf>,
}

pub(crate) fn run(args: &MergeArgs) -> Result<u8, CliError> {
    let out = folder::prepare(&args.out)?;
    let merged = merge(&out, &args.parts)?;
    let file = args.parts[0].join(folder::CAMPAIGN);
    std::fs::copy(&file, out.join(folder::CAMPAIGN)).map_err(CliError::file("copy", &file))?;
    crate::cli::print(&table::outcomes(&Archive::open(&out)?)?)?;
    if merged.left == 0 {
        return Ok(0);
    }
    let some: Vec<String> = merged.missing.iter().map(u64::to_string).collect();
    let more = if merged.left > merged.missing.len() as u64 {
        ", …"
    } else {
        ""
    };
    super::note(&format!(
        "fits: {} of the plan's points have no outcome yet ({}{more}); fits campaign resume {} carries them out",
        merged.left,
        some.join(", "),
        out.display()
    ));
    Ok(exit_code::INCOMPLETE)
}
