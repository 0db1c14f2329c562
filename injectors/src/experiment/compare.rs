//! Two lists of results side by side: the same faults under two backends, say.

use std::fmt::{self, Write as _};

use serde::Serialize;

use super::outcome::Outcome;
use super::outputs::Difference;
use super::record::{EndRecord, InjectionRecord, Record, Results};
use super::session::difference;

/// What comparing two lists brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whether nothing differs.
    pub equal: bool,
    /// The first list.
    pub a: Side,
    /// The second list.
    pub b: Side,
    /// Experiments that both have.
    pub pairs: usize,
    /// How often they agree in what.
    pub columns: Vec<Column>,
    /// Where they do not.
    pub disagreements: Vec<Disagreement>,
    /// Faults that only one of them has.
    pub unpaired: Vec<Unpaired>,
}

/// One of the two lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Side {
    /// Where it was read from.
    pub path: String,
    /// Its backend.
    pub backend: String,
    /// How many experiments it has.
    pub experiments: usize,
}

/// How often pairs agree in something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// In what.
    pub name: &'static str,
    /// How often they do.
    pub agree: usize,
    /// How often they do not.
    pub differ: usize,
}

/// Something in which a pair does not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disagreement {
    /// Place of the experiment in the first list.
    pub number: usize,
    /// Its faults.
    pub faults: Vec<String>,
    /// In what they differ.
    pub column: &'static str,
    /// What the first list has.
    pub a: String,
    /// What the second list has.
    pub b: String,
    /// Repeats the first.
    pub replay_a: String,
    /// Repeats the second.
    pub replay_b: String,
}

/// An experiment that only one list has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unpaired {
    /// `a` or `b`.
    pub side: &'static str,
    /// Its faults.
    pub faults: Vec<String>,
    /// Repeats it.
    pub replay: String,
}

/// Why two lists can't be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("these are experiments with different programs: {a} and {b}")]
pub struct Different {
    a: String,
    b: String,
}

/// What is compared, and what a record has of it.
type Extract = fn(&Record) -> String;
const COLUMNS: [(&str, Extract); 6] = [
    ("state", state),
    ("outcome", outcome),
    ("exit", exit),
    ("output", output),
    ("activated", activated),
    ("latency", latency),
];

/// Compares the experiments with the same faults, in the order of the lists. `paths` are the names of the lists.
///
/// # Errors
/// When the programs or their arguments are not the same.
pub fn compare(a: &Results, b: &Results, paths: [&str; 2]) -> Result<Comparison, Different> {
    let command = |results: &Results| (results.program_sha256.clone(), results.arguments.clone());
    if command(a) != command(b) {
        let told = |results: &Results| results.arguments.join(" ");
        return Err(Different {
            a: told(a),
            b: told(b),
        });
    }
    let side = |results: &Results, path: &str| Side {
        path: path.to_owned(),
        backend: results.backend.clone(),
        experiments: results.experiments.len(),
    };
    let mut comparison = Comparison {
        equal: true,
        a: side(a, paths[0]),
        b: side(b, paths[1]),
        pairs: 0,
        columns: COLUMNS
            .map(|(name, _)| Column {
                name,
                agree: 0,
                differ: 0,
            })
            .into(),
        disagreements: Vec::new(),
        unpaired: Vec::new(),
    };
    let mut others: Vec<&Record> = b.experiments.iter().collect();
    for first in &a.experiments {
        match others.iter().position(|other| other.faults == first.faults) {
            Some(place) => comparison.pair(first, others.remove(place)),
            None => comparison.unpaired.push(unpaired("a", first)),
        }
    }
    let left = others.into_iter().map(|record| unpaired("b", record));
    comparison.unpaired.extend(left);
    comparison.equal = comparison.disagreements.is_empty() && comparison.unpaired.is_empty();
    Ok(comparison)
}

fn unpaired(side: &'static str, record: &Record) -> Unpaired {
    Unpaired {
        side,
        faults: record.faults.clone(),
        replay: record.replay.clone(),
    }
}

impl Comparison {
    fn pair(&mut self, a: &Record, b: &Record) {
        self.pairs += 1;
        for (column, (name, extract)) in self.columns.iter_mut().zip(COLUMNS) {
            let (of_a, of_b) = (extract(a), extract(b));
            if of_a == of_b {
                column.agree += 1;
                continue;
            }
            column.differ += 1;
            self.disagreements.push(Disagreement {
                number: a.number,
                faults: a.faults.clone(),
                column: name,
                a: of_a,
                b: of_b,
                replay_a: a.replay.clone(),
                replay_b: b.replay.clone(),
            });
        }
    }

    /// For people; at most `limit` disagreements.
    #[must_use]
    pub fn to_text(&self, limit: usize) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out, limit);
        out
    }

    fn write(&self, out: &mut String, limit: usize) -> fmt::Result {
        for (name, side) in [("A", &self.a), ("B", &self.b)] {
            writeln!(
                out,
                "{name}  {} (backend {}, {} experiments)",
                side.path, side.backend, side.experiments
            )?;
        }
        writeln!(out, "\n{:<12}{:>8}{:>8}", "", "agree", "differ")?;
        for column in &self.columns {
            writeln!(
                out,
                "{:<12}{:>8}{:>8}",
                column.name, column.agree, column.differ
            )?;
        }
        writeln!(out)?;
        for found in self.disagreements.iter().take(limit) {
            writeln!(
                out,
                "experiment {} ({}): {}\n  A {}\n  B {}\n  {}\n  {}",
                found.number,
                found.faults.join(" and "),
                found.column,
                found.a,
                found.b,
                found.replay_a,
                found.replay_b
            )?;
        }
        if self.disagreements.len() > limit {
            writeln!(out, "and {} more", self.disagreements.len() - limit)?;
        }
        for one in &self.unpaired {
            let side = one.side.to_uppercase();
            writeln!(out, "only in {side}: {}", one.faults.join(" and "))?;
        }
        match (self.equal, self.pairs) {
            (true, pairs) => writeln!(out, "all {pairs} experiments agree"),
            (false, pairs) => {
                let mut numbers: Vec<_> = self.disagreements.iter().map(|one| one.number).collect();
                numbers.dedup();
                writeln!(
                    out,
                    "{} of {pairs} experiments differ, {} are in one list only",
                    numbers.len(),
                    self.unpaired.len()
                )
            }
        }
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self)
            .expect("strings and numbers can always be written as JSON");
        text.push('\n');
        text
    }

    /// For tables: one line for each disagreement.
    #[must_use]
    pub fn to_csv(&self) -> String {
        self.csv().expect("writing to memory does not fail")
    }

    fn csv(&self) -> Result<String, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record([
            "number", "faults", "column", "a", "b", "replay_a", "replay_b",
        ])?;
        for found in &self.disagreements {
            writer.write_record([
                &found.number.to_string(),
                &found.faults.join(" "),
                found.column,
                &found.a,
                &found.b,
                &found.replay_a,
                &found.replay_b,
            ])?;
        }
        for one in &self.unpaired {
            let (a, b) = match one.side {
                "a" => (one.replay.as_str(), ""),
                _ => ("", one.replay.as_str()),
            };
            let faults = one.faults.join(" ");
            writer.write_record(["", &faults, "only in one", a, b, "", ""])?;
        }
        let bytes = writer
            .into_inner()
            .map_err(|error| csv::Error::from(error.into_error()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

fn state(record: &Record) -> String {
    let one = |one: &InjectionRecord| {
        let failed = if one.failed.is_some() { " failed" } else { "" };
        format!(
            "{}@{},thread={} before {} ({}): {} -> {} ({} times){failed}",
            one.place,
            one.index,
            one.thread,
            one.pc,
            one.instruction,
            one.before,
            one.after,
            one.times
        )
    };
    let all: Vec<_> = record.injections.iter().map(one).collect();
    all.join("; ")
}

fn outcome(record: &Record) -> String {
    record.outcome.to_string()
}

fn exit(record: &Record) -> String {
    match &record.end {
        // It may have been ended early.
        _ if record.outcome == Outcome::Masked => "as without a fault".to_owned(),
        None => "not run".to_owned(),
        Some(EndRecord::Exited { status }) => format!("status {status}"),
        Some(EndRecord::Limit { limit }) => format!("{limit} limit"),
        Some(EndRecord::Signaled {
            name,
            code,
            address,
            pc,
            thread,
            ..
        }) => {
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            format!(
                "{name} code {code:?} address {} pc {} thread {thread:?}",
                text(address),
                text(pc)
            )
        }
    }
}

fn output(record: &Record) -> String {
    let told: Vec<_> = record
        .differences
        .iter()
        .map(|one: &Difference| difference(one))
        .collect();
    told.join("; ")
}

fn activated(record: &Record) -> String {
    record.activated.clone()
}

fn latency(record: &Record) -> String {
    record
        .latency
        .map_or("unknown".to_owned(), |count| count.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::session::blank;
    use super::*;

    fn results(backend: &str, experiments: Vec<Record>) -> Results {
        Results {
            schema: super::super::record::SCHEMA,
            version: String::new(),
            program: "/bin/true".to_owned(),
            program_sha256: "00".to_owned(),
            arguments: vec!["true".to_owned()],
            working_directory: String::new(),
            standard_input: Default::default(),
            backend: backend.to_owned(),
            single_step: false,
            controlled: true,
            dry_run: false,
            isolation: Default::default(),
            seed: 0,
            reference: super::super::record::ReferenceRecord {
                end: EndRecord::Exited { status: 0 },
                cpu_seconds: 0.0,
                wall_seconds: 0.0,
                instructions: Vec::new(),
                reproducible: None,
                outputs: Vec::new(),
            },
            counts: Results::count(&experiments),
            experiments,
            warnings: Vec::new(),
        }
    }

    fn record(fault: &str, outcome: Outcome) -> Record {
        blank(0, vec![fault.to_owned()], outcome, String::new())
    }

    #[test]
    fn pairs_are_found_by_their_faults() {
        let a = results(
            "dbt",
            vec![
                record("reg:rax:1@5", Outcome::Masked),
                record("reg:rbx:1@5", Outcome::Crash),
                record("reg:rcx:1@5", Outcome::Crash),
            ],
        );
        let b = results(
            "ptrace",
            vec![
                record("reg:rbx:1@5", Outcome::Sdc),
                record("reg:rax:1@5", Outcome::Masked),
            ],
        );
        let found = compare(&a, &b, ["x", "y"]).unwrap();
        assert_eq!(
            (found.equal, found.pairs, found.unpaired.len()),
            (false, 2, 1)
        );
        assert_eq!(found.disagreements.len(), 1);
        let disagreement = &found.disagreements[0];
        assert_eq!(
            (disagreement.column, &*disagreement.a, &*disagreement.b),
            ("outcome", "crash", "sdc")
        );
        assert!(
            found
                .to_text(10)
                .ends_with("1 of 2 experiments differ, 1 are in one list only\n")
        );
        assert_eq!(found.to_csv().lines().count(), 3);
        let same = compare(&a, &a, ["x", "x"]).unwrap();
        assert!(same.equal && same.to_text(1).ends_with("all 3 experiments agree\n"));
    }

    #[test]
    fn different_programs_are_refused() {
        let a = results("dbt", Vec::new());
        let mut b = a.clone();
        b.arguments.push("-v".to_owned());
        assert!(compare(&a, &b, ["x", "y"]).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let written = results("dbt", vec![record("reg:rax:1@5", Outcome::NotReached)]);
        std::fs::write(
            folder.path().join(super::super::record::FILE),
            written.to_json(),
        )
        .unwrap();
        assert_eq!(Results::read(folder.path()).unwrap(), written);
    }
}
