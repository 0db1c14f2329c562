//! `fits worker`: the hidden side of experiments, started by fits itself.

use clap::Args;
use fits_dbt::runtime::TranslatorEngine;
use fits_injectors::experiment::job::{EngineName, carry_out};
use fits_injectors::experiment::worker::serve;
use fits_tracer::engine::Engine;
use fits_tracer::live::PtraceEngine;

use super::CliError;

/// Carry out experiments that come as JSON on standard input
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {}

pub(crate) fn run() -> Result<u8, CliError> {
    serve(|job, inside| carry_out(job, inside, &engine))?;
    Ok(0)
}

fn engine(name: EngineName) -> Box<dyn Engine> {
    match name {
        EngineName::Dbt => Box::new(TranslatorEngine),
        EngineName::Ptrace => Box::new(PtraceEngine { single_step: false }),
        EngineName::Steps => Box::new(PtraceEngine { single_step: true }),
    }
}
