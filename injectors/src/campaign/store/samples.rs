//! Made-up plans and results, for tests.

use std::path::Path;

use fits_tracer::engine::{End, Found, HowEnded, Moment};

use super::*;
use crate::campaign::point::{Point, Verdict};
use crate::experiment::job::ReferenceReport;
use crate::experiment::outcome::Outcome;
use crate::experiment::record::{EndRecord, Record, ReferenceRecord};
use crate::experiment::session::blank;

fn provenance() -> Provenance {
    let end = End {
        how: HowEnded::WallLimit,
        crash: None,
        executable: "/bin/true".into(),
        cpu: Default::default(),
        wall_seconds: 0.1,
        instructions: Vec::new(),
        warnings: Vec::new(),
    };
    Provenance {
        version: "1".to_owned(),
        campaign: String::new(),
        command: Vec::new(),
        planned: 0.0,
        host: Host::default(),
        seed: 7,
        program: "/bin/true".to_owned(),
        arguments: vec!["true".to_owned()],
        working_directory: "/".to_owned(),
        environment: Vec::new(),
        standard_input: Default::default(),
        program_file: HashedFile {
            path: "/bin/true".to_owned(),
            sha256: "00".to_owned(),
        },
        libraries: Vec::new(),
        inputs: Vec::new(),
        backend: "dbt".to_owned(),
        single_step: false,
        controlled: true,
        isolation: Default::default(),
        reference: ReferenceRecord {
            end: EndRecord::Exited { status: 0 },
            cpu_seconds: 0.0,
            wall_seconds: 0.0,
            instructions: Vec::new(),
            reproducible: None,
            outputs: Vec::new(),
        },
        report: ReferenceReport {
            end,
            outputs: Vec::new(),
            modules: Vec::new(),
            exceeded: None,
            patterns: Vec::new(),
            detector: None,
        },
        population: serde_json::Value::Null,
        points: 0,
        plan_sha256: String::new(),
        warnings: Vec::new(),
    }
}

/// A point. Later ones have earlier moments.
pub(crate) fn point_at(number: u64, of: u64) -> Point {
    Point {
        number,
        fault: format!("reg:rax:{}@{}", number % 64, of - number),
        found: Some(Found {
            moment: Moment {
                thread: 0,
                index: of - number,
            },
            pc: u64::MAX - number,
            arrivals: 1,
        }),
        weight: 1.0,
        stratum: None,
        class: None,
        verdict: None,
    }
}

/// A campaign with this plan and no results.
pub(crate) fn plan(folder: &Path, points: &[Point]) -> Provenance {
    let mut draft = Draft::begin(folder).unwrap();
    draft.add(points).unwrap();
    let mut provenance = provenance();
    draft.finish(&mut provenance).unwrap();
    provenance
}

/// What came of an experiment.
pub(crate) fn ended(number: u64, outcome: Outcome) -> (Record, &'static str) {
    let faults = vec!["reg:rax:0@1".to_owned()];
    let record = blank(number as usize, faults, outcome, "why".to_owned());
    (record, "fresh")
}

/// The outcomes of [`campaign`], point by point.
pub(crate) const OUTCOMES: [Option<Outcome>; 5] = [
    Some(Outcome::Sdc),
    Some(Outcome::Masked),
    Some(Outcome::Crash),
    Some(Outcome::Sdc),
    None,
];

/// A campaign with a verdict, a class, and an experiment that is missing.
pub(crate) fn campaign(folder: &Path) {
    let mut points: Vec<Point> = (0..5).map(|number| point_at(number, 5)).collect();
    points[1].verdict = Some(Verdict::Constant);
    points[1].weight = 2.5;
    for member in [0, 3] {
        points[member].class = Some(1);
    }
    plan(folder, &points);
    let results = [ended(0, Outcome::Sdc), ended(2, Outcome::Crash)];
    Work::open(folder, "me").unwrap().keep(&results).unwrap();
}
