//! Tests whose cases are data: every row of a table, and every script, is a test with its own name.
//!
//! `cargo test --test cases -- hard/signal` runs those whose names contain that. `FITS_LONG=1` adds
//! the long group. What this machine cannot run is listed as ignored, with the reason, and counted.

mod behaviour;
mod campaign_slurm;
mod engine;
mod exact;
mod faults;
mod guests;
mod hard_cases;
mod inject_sandbox;
mod inputs;
mod known_failures;
mod memory_errors;
mod near;
mod process;
mod table;
mod witness;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

fn trials() -> Result<Vec<Trial>, String> {
    let mut trials = hard_cases::trials()?;
    trials.extend(exact::trials()?);
    trials.extend(faults::trials()?);
    trials.extend(behaviour::trials()?);
    trials.extend(inject_sandbox::trials());
    trials.extend(memory_errors::trials());
    trials.extend(near::trials());
    trials.extend(campaign_slurm::trials());
    Ok(trials)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}
