//! `fits campaign report`: what a campaign has found, as a page and as tables.

use std::path::PathBuf;

use clap::Args;
use fits_injectors::campaign::report::load::Loaded;
use fits_injectors::campaign::report::metrics::RawRate;

use crate::cli::CliError;

/// Write a page and tables: outcomes with intervals by register, bit, function, line, opcode and time
///
/// Shares of experiments carry 95 % Wilson intervals. Where experiments stand for different numbers of points of the fault space, weighted
/// shares stand beside the raw ones: only they are estimates for the fault space. It can be made while the campaign runs, and says then
/// that it is not complete.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The folder of the campaign
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
    /// The folder to write to; files of an earlier report are replaced [default: DIR/report]
    #[arg(long, short, value_name = "FOLDER", value_hint = clap::ValueHint::DirPath)]
    output: Option<PathBuf>,
    /// Raw faults of one bit in a billion hours: gives failures in time (FIT) and the mean time to failure
    #[arg(long, value_name = "FIT", requires = "bits")]
    raw_fit: Option<f64>,
    /// How many bits such faults can strike
    #[arg(long, value_name = "N", requires = "raw_fit")]
    bits: Option<u64>,
}

pub(crate) fn run(args: &ReportArgs) -> Result<u8, CliError> {
    let raw = match args.raw_fit.zip(args.bits) {
        Some((fit_per_bit, _)) if !(fit_per_bit.is_finite() && fit_per_bit > 0.0) => {
            let sentence = format!("--raw-fit: {fit_per_bit} is no rate; it must be larger than 0");
            return Err(CliError::Usage(sentence));
        }
        Some((fit_per_bit, bits)) => Some(RawRate { fit_per_bit, bits }),
        None => None,
    };
    let output = match &args.output {
        Some(output) => output.clone(),
        None => args.folder.join("report"),
    };
    let names = Loaded::open(&args.folder)?.write(&output, raw)?;
    let lines = names.iter().map(|name| output.join(name));
    let text: String = lines.map(|path| format!("{}\n", path.display())).collect();
    crate::cli::print(&text)?;
    Ok(0)
}
