//! `fits campaign`: very many experiments with one program.
//!
//! - `flags`: every field of a campaign file as a flag. `folder`: where a campaign lies. `conduct`: from what is asked for to how experiments are made. `provenance`: what is recorded.
//! - `plan`: the golden run, the reference run, the plan. `run`: carrying it out, from the start or from where it was left.
//! - `progress`: what is told meanwhile. `table`: outcomes with intervals. `status`: how far it is.
//! - `merge`: parts put together. `export`: for other tools. `submit`: parts on a batch system. `report`, `compare`: what was found.

mod compare;
mod conduct;
mod export;
mod flags;
mod folder;
mod merge;
mod plan;
mod progress;
mod provenance;
mod report;
mod run;
mod status;
mod submit;
mod table;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::CliError;
use crate::exit_code;

/// Make very many experiments with one program: plan, run, resume, merge, export, report, compare
///
/// A campaign lies in a folder: what was asked for (campaign.toml), a golden run (golden/), plan and results in one SQLite database (campaign.db). It can
/// be stopped and killed at any moment; fits campaign resume goes on with it. docs/campaigns.md has all of it.
#[derive(Debug, Args)]
#[command(after_help = exit_code::CAMPAIGN_TABLE)]
pub(crate) struct CampaignArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(InitArgs),
    Plan(Box<plan::PlanArgs>),
    Run(Box<run::RunArgs>),
    Resume(run::ResumeArgs),
    Status(status::StatusArgs),
    Merge(merge::MergeArgs),
    Export(export::ExportArgs),
    Submit(submit::SubmitArgs),
    Report(report::ReportArgs),
    Compare(compare::CompareArgs),
}

/// Write a commented campaign file to begin with
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Where to write it; it must not exist
    #[arg(value_name = "FILE", default_value = "campaign.toml", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
}

pub(crate) fn run(args: &CampaignArgs) -> Result<u8, CliError> {
    match &args.command {
        Command::Init(args) => init(args),
        Command::Plan(args) => plan::run(args),
        Command::Run(args) => run::run(args),
        Command::Resume(args) => run::resume(args),
        Command::Status(args) => status::run(args),
        Command::Merge(args) => merge::run(args),
        Command::Export(args) => export::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Report(args) => report::run(args),
        Command::Compare(args) => compare::run(args),
    }
}

fn init(args: &InitArgs) -> Result<u8, CliError> {
    let file = std::fs::File::create_new(&args.file);
    let write = |mut file| {
        std::io::Write::write_all(
            &mut file,
            fits_injectors::campaign::file::template().as_bytes(),
        )
    };
    file.and_then(write)
        .map_err(CliError::file("write", &args.file))?;
    super::print(&format!("{}\n", args.file.display()))?;
    Ok(0)
}

/// Says something on standard error, if anybody listens.
fn note(sentence: &str) {
    let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{sentence}\n"));
}
