//! What was asked for, and how often each outcome came up.

use std::fmt::Write as _;

use fits_stats::report::html::{Escaped, percent_text, ratio};
use fits_stats::report::shell::{Facts, warning};
use fits_stats::summary::grouped;

use crate::experiment::outcome::Outcome;
use crate::experiment::record::Results;
use crate::experiment::told;

/// How many there are.
pub(super) fn sentence(results: &Results) -> String {
    match results.experiments.len() {
        1 => "1 experiment".to_owned(),
        count => format!("{} experiments", grouped(count as u64)),
    }
}

pub(super) fn section(results: &Results) -> String {
    let mut out = String::new();
    for sentence in &results.warnings {
        out.push_str(&warning("Warning", sentence));
    }
    out.push_str(&outcomes(results));
    out.push_str(&facts(results));
    out
}

/// The class of an outcome on the page.
pub(crate) fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotReached => "not-reached",
        other => other.name(),
    }
}

/// A bar with a part for each outcome, and what the parts are.
fn outcomes(results: &Results) -> String {
    let all = results.experiments.len() as u64;
    let count = |outcome: &Outcome| results.counts.get(outcome).copied().unwrap_or_default();
    let judged = Outcome::ALL.iter().filter(|outcome| outcome.is_counted());
    let judged: u64 = judged.map(count).sum();
    let mut bar = String::new();
    let mut legend = String::new();
    for outcome in Outcome::ALL {
        let (number, class) = (count(&outcome), class(outcome));
        if number > 0 {
            let width = 100.0 * ratio(number, all);
            let _ = write!(
                bar,
                "<span class=\"{class}\" style=\"width:{width:.3}%\"></span>"
            );
        }
        let share = match outcome.is_counted() && judged > 0 {
            true => percent_text(ratio(number, judged)),
            false => String::new(),
        };
        let _ = write!(
            legend,
            "<div{}><dt class=\"outcome {class}\">{outcome}</dt><dd>{} <small>{share}</small></dd></div>",
            if number == 0 { " class=\"none\"" } else { "" },
            grouped(number)
        );
    }
    format!(
        "<div class=\"outcomes\" aria-hidden=\"true\">{bar}</div><dl class=\"legend-outcomes\">{legend}</dl>\n"
    )
}

fn facts(results: &Results) -> String {
    let mut facts = Facts::default();
    let reference = &results.reference;
    let how = match results.backend.as_str() {
        "dbt" => "the translator (dbt)",
        _ if results.single_step => "single steps (ptrace)",
        _ => "breakpoints and counting (ptrace)",
    };
    facts.add("Brought to the moment by", how);
    let start = match results.controlled {
        true => "controlled",
        false => "raw environment",
    };
    facts.add("Start", start);
    let isolation = match (&results.isolation.why_not, results.isolation.namespaces) {
        (_, true) => "in namespaces of its own".to_owned(),
        (Some(why), _) => format!("private copy of the working directory; no namespaces: {why}"),
        (None, _) => "private copy of the working directory".to_owned(),
    };
    facts.add("Isolation", &isolation);
    facts.add("Run without faults", &told(&reference.end));
    let time = format!(
        "{:.3} s of processor time, {:.3} s in all",
        reference.cpu_seconds, reference.wall_seconds
    );
    facts.add("Its time", &time);
    if !reference.instructions.is_empty() {
        let numbers: Vec<String> = (reference.instructions.iter())
            .map(|&count| grouped(count))
            .collect();
        let by_thread = if numbers.len() > 1 { " by thread" } else { "" };
        let text = format!("{}{by_thread}", numbers.join(", "));
        facts.add("Its instructions", &text);
    }
    let reproducible = match reference.reproducible {
        Some(true) => "a second run without faults did the same",
        Some(false) => "no: a second run without faults did something else",
        None => "not tried",
    };
    facts.add("Reproducible", reproducible);
    facts.add("Working directory", &results.working_directory);
    if results.standard_input.path != "/dev/null" {
        facts.add("Standard input", &results.standard_input.path);
    }
    facts.add_html(
        "SHA-256 of the program",
        &format!("<code>{}</code>", Escaped(&results.program_sha256)),
    );
    facts.to_html()
}
