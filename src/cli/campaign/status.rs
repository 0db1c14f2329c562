//! `fits campaign status`.

use std::path::PathBuf;

use clap::Args;
use fits_injectors::campaign::store::{Archive, Hold, StoreError};

use super::{folder, table};
use crate::cli::CliError;
use crate::exit_code;

/// Say how far a campaign is
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The folder of the campaign
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &StatusArgs) -> Result<u8, CliError> {
    let archive = Archive::open(&args.folder)?;
    let known = archive.known()?;
    let left = known.get("missing").copied().unwrap_or_default();
    let holder = match Hold::take(&args.folder, &folder::holder()) {
        Ok(_) => None,
        Err(StoreError::Held { holder, .. }) => Some(holder),
        // A folder that can only be read can still be looked at.
        Err(_) => None,
    };
    let status = if left == 0 { 0 } else { exit_code::INCOMPLETE };
    if args.json {
        let mut object = table::json(&archive)?;
        object["holder"] = holder.into();
        crate::cli::print(&format!("{object}\n"))?;
        return Ok(status);
    }
    let provenance = archive.provenance();
    let mut text = format!(
        "{}\nseed {}, {} points planned, {} count\n",
        provenance.arguments.join(" "),
        provenance.seed,
        provenance.points,
        archive.size()?
    );
    for (how, count) in &known {
        text.push_str(&format!("  {how:<12} {count:>9}\n"));
    }
    if let Some(holder) = holder {
        text.push_str(&format!("{holder} works on it\n"));
    }
    text.push_str(&table::outcomes(&archive)?);
    crate::cli::print(&text)?;
    Ok(status)
}
