//! From what a campaign asks for to how its experiments are made.

use fits_injectors::campaign::file::Campaign;
use fits_stats::model::Backend;

use crate::cli::CliError;
use crate::cli::experiments::conduct::Conduct;
use crate::cli::golden::BackendChoice;

/// How experiments of a campaign are made and judged.
pub(super) fn conduct(campaign: &Campaign) -> Conduct {
    let Campaign {
        limits, judging, ..
    } = campaign;
    Conduct {
        program: campaign.program.clone().into(),
        arguments: campaign.arguments.iter().map(Into::into).collect(),
        backend: match campaign.backend {
            Backend::Dbt => BackendChoice::Dbt,
            Backend::Ptrace => BackendChoice::Ptrace,
            Backend::Soft => unreachable!("a campaign file has no word for it"),
        },
        single_step: campaign.single_step,
        raw_environment: campaign.raw_environment,
        dry_run: false,
        window: campaign.window,
        trace: campaign.trace,
        reference_limit: None,
        detect_exit: judging.detect_exit.clone(),
        detect_output: judging.detect_output.clone(),
        detect_symbol: judging.detect_symbol.clone(),
        compare: judging.compare.clone(),
        hang_factor: limits.hang_factor,
        hang_floor: limits.hang_floor,
        hang_instructions: limits.hang_instructions,
        isolate: campaign.isolate,
        writable: campaign.writable.clone(),
        max_processes: limits.max_processes,
        max_memory: limits.max_memory,
        max_file: limits.max_file,
        max_disk: limits.max_disk,
    }
}

/// The campaign without what may be another each time that it is gone on with: who carries out how much of it.
pub(super) fn identity(campaign: &Campaign) -> String {
    let campaign = Campaign {
        jobs: None,
        shard: None,
        validate_pruning: 0,
        ..campaign.clone()
    };
    campaign.to_toml()
}

/// Goes to the working directory of all runs.
pub(super) fn enter(campaign: &Campaign) -> Result<(), CliError> {
    let folder = &campaign.working_directory;
    std::env::set_current_dir(folder).map_err(CliError::file("change to", folder))
}
