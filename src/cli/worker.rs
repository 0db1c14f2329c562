//! `fits worker`: the hidden side of experiments, started by fits itself.

use std::path::Path;

use clap::Args;
use fits_dbt::runtime::TranslatorEngine;
use fits_injectors::experiment::job::{EngineName, GoldenJob, Job, Report, carry_out};
use fits_injectors::experiment::outputs::Kind;
use fits_injectors::experiment::worker::{Inside, serve_from};
use fits_stats::model::{OutputHash, StandardInput};
use fits_tracer::backend::RunOptions;
use fits_tracer::engine::Engine;
use fits_tracer::live::PtraceEngine;
use fits_tracer::process::{CpuPlan, Environment};

use super::CliError;
use super::golden::{BackendChoice, Destination, count};
use super::record::hash_file;

/// Carry out experiments that come as JSON on standard input
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {}

pub(crate) fn run() -> Result<u8, CliError> {
    serve_from(Job::folder, |job, inside| match job {
        Job::Golden(job) => golden(&job, inside).map(|()| Report::Golden),
        job => carry_out(job, inside, &engine),
    })?;
    Ok(0)
}

/// A golden run in the sandbox. Its folder is written there first, since the process that writes it has no way to the host.
fn golden(job: &GoldenJob, inside: &mut Inside) -> Result<(), String> {
    let command = inside.command(&[]).map_err(|error| error.to_string())?;
    let setup = inside.setup().clone();
    let words = std::iter::once(&setup.program).chain(&setup.arguments);
    let words = words.map(|text| text.to_string_lossy().into_owned());
    let environment = if job.run.raw {
        Environment::Raw
    } else {
        Environment::Controlled
    };
    let options = RunOptions::new(job.level, environment, CpuPlan::new());
    let choice = match job.engine {
        EngineName::Dbt => BackendChoice::Dbt,
        EngineName::Ptrace | EngineName::Steps => BackendChoice::Ptrace,
    };
    let out = std::env::temp_dir().join(format!("fits-golden-{}", std::process::id()));
    let destination = Destination {
        out: &out,
        replace: true,
    };
    let path = Path::new(&setup.input);
    let result = count(
        &command,
        words.collect(),
        choice,
        &options,
        &destination,
        |info| {
            info.standard_input = StandardInput {
                kind: "file".to_owned(),
                path: Some(path.to_string_lossy().into_owned()),
                sha256: Some(hash_file(path)),
            };
            let streams = inside.outputs().unwrap_or_default().into_iter();
            info.outputs = streams
                .filter_map(|output| stream(output.name, output.kind))
                .collect();
        },
    );
    result.map_err(|error| error.to_string())?;
    inside
        .keep(&out, &job.keep)
        .map_err(|error| format!("the golden run cannot be kept: {error}"))?;
    // Without namespaces this is the host's.
    let _ = std::fs::remove_dir_all(&out);
    Ok(())
}

/// Standard output or error.
fn stream(name: String, kind: Kind) -> Option<OutputHash> {
    match kind {
        Kind::File { bytes, sha256, .. } if name == "stdout" || name == "stderr" => {
            Some(OutputHash {
                name,
                bytes,
                sha256,
            })
        }
        _ => None,
    }
}

fn engine(name: EngineName) -> Box<dyn Engine> {
    match name {
        EngineName::Dbt => Box::new(TranslatorEngine),
        EngineName::Ptrace => Box::new(PtraceEngine { single_step: false }),
        EngineName::Steps => Box::new(PtraceEngine { single_step: true }),
    }
}
