//! A report of made-up experiments.

use std::collections::BTreeSet;

use fits_tracer::engine::{Found, Moment};

use super::load::PAGE;
use super::metrics::metrics;
use super::page::{Shown, page};
use super::row::{Dimension, Row, Site};
use super::tables::write_all;
use super::tally::Tallies;
use crate::campaign::point::{Point, Verdict};
use crate::experiment::outcome::Outcome;

const HOSTILE: &str = "<script>alert('\"&')</script>";

fn row(number: u64, outcome: Outcome, weight: f64) -> Row {
    let registers = ["rax", "rcx", "zmm3", "rsp"];
    let verdict =
        (number.is_multiple_of(7) && outcome == Outcome::Masked).then_some(Verdict::Overwritten);
    let point = Point {
        number,
        fault: format!(
            "reg:{}:{}@{}",
            registers[number as usize % 4],
            number % 64,
            number * 10
        ),
        found: Some(Found {
            moment: Moment {
                thread: 0,
                index: number * 10,
            },
            pc: 0x40_1000 + number % 30,
            arrivals: 1,
        }),
        weight,
        stratum: None,
        class: None,
        verdict,
    };
    let site = Site {
        function: format!("f{}{HOSTILE}", number % 3),
        source: format!("/{HOSTILE}/no such file.c:{}", number % 9 + 1),
        text: "lock xadd [rdi],rax".to_owned(),
    };
    let known = verdict.map(|_| "follows from the golden run".to_owned());
    let mut row = Row::known(&point, outcome, known, site);
    row.reason = HOSTILE.to_owned();
    row
}

fn rows(weight: impl Fn(u64) -> f64) -> Vec<Row> {
    let outcome = |number: u64| match number % 10 {
        0..=5 => Outcome::Masked,
        6 | 7 => Outcome::Sdc,
        8 => Outcome::Crash,
        _ => Outcome::Invalid,
    };
    (0..1000)
        .map(|number| row(number, outcome(number), weight(number)))
        .collect()
}

fn render(rows: &[Row]) -> String {
    let tallies = Tallies::of(rows, 10_000);
    let metrics = metrics(&tallies, Some(1 << 40), None);
    page(&Shown {
        program: "/bin/sort",
        command: HOSTILE,
        working: "/",
        facts: &[("Seed".to_owned(), HOSTILE.to_owned())],
        warnings: &[HOSTILE.to_owned()],
        rows,
        tallies: &tallies,
        metrics: &metrics,
        planned: 1200,
        version: "0",
    })
}

#[test]
fn nothing_in_a_page_can_be_taken_for_markup() {
    let page = render(&rows(|_| 1.0));
    assert!(!page.contains("<script>alert"));
    assert!(page.contains("&lt;script&gt;alert"));
    assert!(
        page.contains("1,000 of 1,200 experiments: not complete"),
        "the page says that it is not complete"
    );
    assert!(!page.contains("Weighted share"));
    assert!(
        !page.contains("http://") && !page.contains("https://"),
        "the page needs no network"
    );
}

#[test]
fn a_weighted_campaign_says_so() {
    let page = render(&rows(|number| (number % 5 + 1) as f64));
    assert!(page.contains("Weighted share") && page.contains("Raw share"));
}

#[test]
fn every_experiment_is_in_every_table_once() {
    let rows = rows(|_| 1.0);
    let tallies = Tallies::of(&rows, 10_000);
    assert_eq!(tallies.total.all(), 1000);
    assert_eq!(tallies.total.valid(), 900);
    for (dimension, groups) in &tallies.groups {
        let sum: u64 = groups.iter().map(|(_, tally)| tally.all()).sum();
        assert_eq!(sum, 1000, "{}", dimension.name());
    }
    let dimensions: BTreeSet<_> = tallies.groups.iter().map(|(one, _)| one.name()).collect();
    assert!(dimensions.contains("register") && !dimensions.contains("stratum"));
    let folder = tempfile::tempdir().unwrap();
    let names = write_all(
        folder.path(),
        &rows,
        &tallies,
        &metrics(&tallies, None, None),
    )
    .unwrap();
    assert!(!names.iter().any(|name| name == PAGE));
    let mut reader = csv::Reader::from_path(folder.path().join("experiments.csv")).unwrap();
    let outcomes: Vec<String> = reader
        .records()
        .map(|row| row.unwrap()[2].to_owned())
        .collect();
    assert_eq!(outcomes.len(), 1000);
    assert_eq!(
        outcomes.iter().filter(|outcome| *outcome == "sdc").count(),
        200
    );
    let mut reader = csv::Reader::from_path(folder.path().join("outcomes.csv")).unwrap();
    let sdc = reader
        .records()
        .map(Result::unwrap)
        .find(|row| &row[0] == "sdc")
        .unwrap();
    let numbers: Vec<f64> = [2, 3, 4]
        .map(|column| sdc[column].parse().unwrap())
        .to_vec();
    assert!((numbers[0] - 200.0 / 900.0).abs() < 1e-6);
    assert!(numbers[1] < numbers[0] && numbers[0] < numbers[2]);
}

#[test]
fn times_are_tenths_of_the_run() {
    let rows = rows(|_| 1.0);
    let first = rows[0].key(Dimension::Time, 10_000).unwrap();
    let last = rows[999].key(Dimension::Time, 10_000).unwrap();
    assert_eq!(
        (first.text.as_str(), last.text.as_str()),
        ("0-10 %", "90-100 %")
    );
}
