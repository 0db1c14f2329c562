//! The fault-free run, and a golden folder that must agree with it.

use std::path::{Path, PathBuf};

use fits_injectors::experiment::job::ReferenceReport;
use fits_injectors::experiment::outputs::{Kind, Output};
use fits_injectors::experiment::record::{EndRecord, ReferenceRecord};
use fits_injectors::experiment::session::{Session, end_record};
use fits_stats::folder::GoldenFolder;
use fits_stats::write::{ExitSummary, Summary};

use super::conduct::Conduct;
use crate::cli::CliError;
use crate::cli::record::hash_file;

/// A reference run is repeated when it takes no longer.
const CHEAP: f64 = 0.2;

/// A golden folder of this program.
pub(crate) struct Golden {
    /// The folder.
    pub(crate) path: PathBuf,
    /// What it says of the run.
    pub(crate) summary: Summary,
}

/// The golden folder, if one was named and is one of this program.
pub(crate) fn golden(
    conduct: &Conduct,
    path: Option<&Path>,
    executable: &Path,
) -> Result<Option<Golden>, CliError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let summary = GoldenFolder::open(path)?.summary().clone();
    let refused = |what: String| CliError::Usage(format!("{} {what}", path.display()));
    if summary.program_sha256 != hash_file(executable) {
        let what = format!(
            "is a golden run of another program ({}), or the program has changed since; repeat it with fits golden",
            summary.program
        );
        return Err(refused(what));
    }
    let typed = conduct.words();
    if summary.arguments.get(1..) != typed.get(1..) {
        let what = format!(
            "is a golden run with other arguments: {}",
            summary.arguments.join(" ")
        );
        return Err(refused(what));
    }
    if summary.controlled == conduct.raw_environment {
        return Err(refused(
            "was made with the other setting of --raw-environment".to_owned(),
        ));
    }
    if let Some(why) = &summary.incomplete {
        return Err(refused(format!("is of a run that was not complete: {why}")));
    }
    Ok(Some(Golden {
        path: path.to_owned(),
        summary,
    }))
}

/// Runs the program without faults, twice if that is cheap or if `verify`; what is to be kept of it.
pub(crate) fn run(
    verify: bool,
    session: &mut Session,
    golden: Option<&Golden>,
    warnings: &mut Vec<String>,
) -> Result<ReferenceRecord, CliError> {
    let report = session.reference()?.clone();
    let mut record = ReferenceRecord {
        end: end_record(&report.end),
        cpu_seconds: report.end.cpu.user + report.end.cpu.system,
        wall_seconds: report.end.wall_seconds,
        instructions: Vec::new(),
        reproducible: None,
        outputs: report.outputs.clone(),
    };
    warnings.extend(report.end.warnings.clone());
    if let Some(golden) = golden {
        agree(golden, &record, &report)?;
        let summary = &golden.summary;
        let own = summary.threads.iter().filter(|thread| thread.process == 0);
        session.know(own.map(|thread| thread.instructions).collect());
        let ours: Vec<_> = std::env::vars_os()
            .map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy()))
            .collect();
        if summary.environment != ours {
            warnings.push("the environment variables are not those of the golden run: addresses on the stack, and sometimes the instructions, differ from it".to_owned());
        }
    }
    if verify || record.wall_seconds < CHEAP {
        let verified = session.verify()?;
        record.reproducible = Some(verified.is_ok());
        if let Err(what) = verified {
            warnings.push(format!(
                "the program is not reproducible: in a second run without faults {what}"
            ));
        }
    }
    Ok(record)
}

/// The reference run must do what the golden run did.
fn agree(
    golden: &Golden,
    record: &ReferenceRecord,
    report: &ReferenceReport,
) -> Result<(), CliError> {
    let Golden { path, summary } = golden;
    let refused = |what: String| {
        Err(CliError::Usage(format!(
            "the run in the sandbox does not agree with the golden run in {}: {what}",
            path.display()
        )))
    };
    match (&summary.exit, &record.end) {
        (ExitSummary::Exited { status: golden }, EndRecord::Exited { status })
            if golden != status =>
        {
            return refused(format!("exit status {status} in place of {golden}"));
        }
        _ => {}
    }
    for golden in &summary.outputs {
        let same = |output: &&Output| output.name == golden.name;
        if let Some(output) = report.outputs.iter().find(same)
            && let Kind::File { sha256, .. } = &output.kind
            && *sha256 != golden.sha256
        {
            return refused(format!("its {} is another", golden.name));
        }
    }
    Ok(())
}
