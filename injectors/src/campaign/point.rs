//! A row of the plan of a campaign: one fault, its moment, and what it stands for.

use fits_tracer::engine::Found;
use serde::{Deserialize, Serialize};

/// A row of the plan. What is planned never changes afterwards; results are kept beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its place in the plan, from 0. It names the experiment everywhere: in shards, merged results, reports.
    pub number: u64,
    /// The fault in its text form, with everything decided that was drawn.
    pub fault: String,
    /// Where its moment lies; `None`: the fault-free run ends before.
    pub found: Option<Found>,
    /// How many points of the fault space it stands for. 1 in a uniform sample.
    pub weight: f64,
    /// The stratum it was drawn in, if the sample is stratified.
    pub stratum: Option<String>,
    /// Points of one class have one outcome: only the first of them is run.
    pub class: Option<u64>,
    /// What is known without running it.
    pub verdict: Option<Verdict>,
}

/// Why an outcome is known without an experiment. All of these are `masked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All changed bits are overwritten before anything reads them.
    Overwritten,
    /// The bits have the value already that the fault forces them to, for as long as it lasts.
    Constant,
}
