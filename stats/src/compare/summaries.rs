//! Compares what two `summary.json` say about the runs themselves. Times, process numbers, paths,
//! the environment, the backend and the version of fits may differ.

use std::collections::BTreeMap;

use super::{Difference, FileComparison};
use crate::write::{ExitSummary, Summary};

/// Compares field by field; each field is a row. Standard output and error are hashed only where they
/// went to a file, so they are compared if both runs have them.
pub(super) fn compare(a: &Summary, b: &Summary, compared: &mut FileComparison, limit: usize) {
    let (mut a, mut b) = (facts(a), facts(b));
    for stream in ["output stdout", "output stderr"] {
        if !(a.contains_key(stream) && b.contains_key(stream)) {
            a.remove(stream);
            b.remove(stream);
        }
    }
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    compared.rows = keys.len() as u64;
    for key in keys {
        let (left, right) = (a.get(key), b.get(key));
        match (left, right) {
            (Some(left), Some(right)) if left == right => continue,
            (Some(_), Some(_)) => compared.changed += 1,
            (Some(_), None) => compared.only_in_a += 1,
            _ => compared.only_in_b += 1,
        }
        if compared.differences.len() < limit {
            let column = (left.is_some() && right.is_some()).then_some("value");
            let (a, b) = (left.cloned(), right.cloned());
            compared.differences.push(Difference {
                key: key.clone(),
                column,
                a,
                b,
            });
        }
    }
}

/// What has to be the same in two runs of the same program.
fn facts(summary: &Summary) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let mut add = |key: String, value: String| facts.insert(key, value);
    add("program_sha256".to_owned(), summary.program_sha256.clone());
    add("controlled".to_owned(), summary.controlled.to_string());
    add("complete".to_owned(), summary.complete.to_string());
    add("exit".to_owned(), exit(&summary.exit));
    add("instructions".to_owned(), summary.instructions.to_string());
    for thread in &summary.threads {
        let key = format!(
            "instructions of process {} thread {}",
            thread.process, thread.thread
        );
        add(key, thread.instructions.to_string());
    }
    for output in &summary.outputs {
        let name = output.name.rsplit('/').next().unwrap_or_default();
        add(
            format!("output {name}"),
            format!("sha256 {} ({} bytes)", output.sha256, output.bytes),
        );
    }
    facts
}

fn exit(exit: &ExitSummary) -> String {
    match exit {
        ExitSummary::Unknown => "unknown".to_owned(),
        ExitSummary::Exited { status } => format!("status {status}"),
        ExitSummary::Signaled {
            name,
            pc,
            fault_address,
            ..
        } => {
            let mut text = name.clone();
            for (what, value) in [(" at ", pc), (" on ", fault_address)] {
                if let Some(value) = value {
                    text.push_str(what);
                    text.push_str(value);
                }
            }
            text
        }
    }
}
