//! The page of a campaign: one file of HTML with everything it needs inside.

use std::fmt::Write as _;
use std::path::Path;

use fits_stats::report::html::{Cell, Escaped, Table, script_json};
use fits_stats::report::shell::{Facts, Page, Section, warning};
use fits_stats::summary::grouped;
use serde_json::json;

use super::code;
use super::metrics::{Metric, is_failure};
use super::row::{Dimension, Key, Row};
use super::tables::percentiles;
use super::tally::{Tallies, Tally};
use crate::campaign::statistics::Interval;
use crate::experiment::outcome::Outcome;
use crate::report::{OUTCOMES, Sources, class};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// At most so many experiments are in the page, which has to stay handy; all are in the tables.
const MAX_LISTED: usize = 20_000;
/// At most so many groups of a dimension are shown.
const MAX_GROUPS: usize = 200;
/// In the order of bars and legends.
const SHOWN: [Outcome; 5] = [
    Outcome::Masked,
    Outcome::Sdc,
    Outcome::Detected,
    Outcome::Crash,
    Outcome::Hang,
];

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a> {
    /// Path of the program.
    pub program: &'a str,
    /// Program and arguments.
    pub command: &'a str,
    /// Working directory of the runs.
    pub working: &'a str,
    /// Where the figures come from: names and what they are.
    pub facts: &'a [(String, String)],
    /// What to know before trusting them.
    pub warnings: &'a [String],
    /// All experiments, in the order of the plan.
    pub rows: &'a [Row],
    /// The same, counted.
    pub tallies: &'a Tallies,
    /// What follows.
    pub metrics: &'a [Metric],
    /// Rows of the plan, those included that have not been carried out yet.
    pub planned: u64,
    /// The version of fits that carried it out.
    pub version: &'a str,
}

/// The page.
#[must_use]
pub fn page(shown: &Shown<'_>) -> String {
    let name = shown.program.rsplit('/').next().unwrap_or(shown.program);
    let mut sections = vec![Section {
        id: "outcomes",
        title: "Outcomes",
        body: outcomes(shown.tallies),
    }];
    if !shown.metrics.is_empty() {
        sections.push(Section {
            id: "metrics",
            title: "Vulnerability",
            body: metrics(shown.metrics),
        });
    }
    sections.extend(shown.tallies.groups.iter().map(|(dimension, groups)| {
        let body = groups_table(*dimension, groups, shown.tallies.uniform);
        Section {
            id: dimension.name(),
            title: dimension.title(),
            body,
        }
    }));
    sections.push(Section {
        id: "code",
        title: "Code",
        body: code::disassembly(shown.rows),
    });
    let source = code::source(shown.rows, &Sources::new(Path::new(shown.working)));
    if !source.is_empty() {
        sections.push(Section {
            id: "lines",
            title: "Source",
            body: source,
        });
    }
    sections.push(Section {
        id: "crashes",
        title: "Crashes and latency",
        body: crashes(shown.tallies),
    });
    sections.push(Section {
        id: "experiments",
        title: "Experiments",
        body: experiments(shown.rows.len()),
    });
    let data = embedded(shown.rows);
    let title = format!("Fault-injection campaign on {name}");
    let complete = shown.rows.len() as u64 >= shown.planned;
    let end = match complete {
        true => format!("{} experiments", grouped(shown.planned)),
        false => format!(
            "{} of {} experiments: not complete",
            grouped(shown.rows.len() as u64),
            grouped(shown.planned)
        ),
    };
    Page {
        title: &title,
        kicker: "Fault-injection campaign",
        heading: name,
        command: shown.command,
        end: (&end, complete),
        summary_html: &summary(shown),
        sections: &sections,
        data: Some(&data),
        style: &[OUTCOMES, STYLE].concat(),
        script: SCRIPT,
        version: shown.version,
    }
    .to_html()
}

fn summary(shown: &Shown<'_>) -> String {
    let tallies = shown.tallies;
    let mut out: String = shown
        .warnings
        .iter()
        .map(|text| warning("Warning", text))
        .collect();
    let _ = write!(
        out,
        "<div class=\"whole\">{}</div>{}",
        bar(&tallies.total, !tallies.uniform),
        legend()
    );
    let total = &tallies.total;
    let figures = [
        ("planned", shown.planned),
        ("valid", total.valid()),
        ("carried out", tallies.ran),
        ("known without", tallies.known.values().sum()),
        ("not reached", total.count(Outcome::NotReached)),
        ("invalid", total.count(Outcome::Invalid)),
    ];
    out.push_str("<dl class=\"figures\">");
    for (what, number) in figures {
        let number = grouped(number);
        let _ = write!(out, "<div><dt>{what}</dt><dd>{number}</dd></div>");
    }
    out.push_str("</dl>\n");
    let mut facts = Facts::default();
    for (name, text) in shown.facts {
        facts.add(name, text);
    }
    out.push_str(&facts.to_html());
    out
}

/// Outcomes as parts of one bar.
pub(super) fn bar(tally: &Tally, weighted: bool) -> String {
    let whole = if weighted {
        tally.valid_weight()
    } else {
        tally.valid() as f64
    };
    let mut out = "<span class=\"outcomes\" aria-hidden=\"true\">".to_owned();
    for outcome in SHOWN {
        let part = if weighted {
            tally.weight(outcome)
        } else {
            tally.count(outcome) as f64
        };
        if part > 0.0 {
            let percent = part / whole * 100.0;
            let name = outcome.name();
            let _ = write!(
                out,
                "<span class=\"{name}\" style=\"width:{percent:.3}%\" title=\"{name} {percent:.1} %\"></span>"
            );
        }
    }
    out.push_str("</span>");
    out
}

fn legend() -> String {
    let keys: String = SHOWN
        .iter()
        .map(|outcome| format!("<span class=\"outcome {0}\">{0}</span> ", outcome.name()))
        .collect();
    format!("<p class=\"legend\">{keys}</p>\n")
}

fn share_html(share: Option<Interval>) -> Cell {
    share.map_or(Cell::Empty, |share| Cell::HtmlNumber {
        sort: (share.estimate * 1e9) as u64,
        html: share_text(share),
    })
}

fn share_text(share: Interval) -> String {
    let [estimate, low, high] = share.percents();
    format!("{estimate} % <small>{low} to {high}</small>")
}

fn outcomes(tallies: &Tallies) -> String {
    let total = &tallies.total;
    let mut out = "<p class=\"note\">Shares are of the valid experiments, each with its 95 % Wilson interval.".to_owned();
    if !tallies.uniform {
        out.push_str(
            " The experiments stand for different numbers of points of the fault space: <strong>the weighted share is the estimate \
             for the fault space</strong>, the raw share only says what was run.",
        );
    }
    out.push_str("</p>\n");
    let mut columns = vec![
        ("Outcome", false),
        ("Experiments", true),
        ("Raw share", true),
    ];
    if !tallies.uniform {
        columns.extend([("Points", true), ("Weighted share", true)]);
    }
    let rows = Outcome::ALL.into_iter().map(|outcome| {
        let is = |one| one == outcome;
        let share = |share: Option<Interval>| share_html(share.filter(|_| outcome.is_counted()));
        let mut row = vec![
            Cell::Text(outcome.name().to_owned()),
            Cell::Number(total.count(outcome)),
            share(total.share(is)),
        ];
        if !tallies.uniform {
            row.push(Cell::Number(total.weight(outcome).round() as u64));
            row.push(share(total.weighted_share(is)));
        }
        row
    });
    let table = Table {
        caption: "Outcomes",
        columns: &columns,
        rows: rows.collect(),
    };
    let _ = write!(out, "{table}");
    if !tallies.known.is_empty() {
        out.push_str("<p class=\"note\">Known without being carried out: ");
        let known = tallies.known.iter();
        let known: Vec<String> = known
            .map(|(how, count)| format!("{} {}", grouped(*count), Escaped(how)))
            .collect();
        let _ = write!(out, "{}.</p>", known.join(", "));
    }
    out
}

fn metrics(metrics: &[Metric]) -> String {
    let number = |value: f64, unit: &str| match unit {
        "" => format!("{:.3} %", value * 100.0),
        _ if value.is_infinite() => "∞".to_owned(),
        _ if (0.01..1e6).contains(&value) => format!("{value:.3}"),
        _ if value == 0.0 => "0".to_owned(),
        _ => format!("{value:.3e}"),
    };
    let rows = metrics.iter().map(|metric| {
        let Interval {
            estimate,
            low,
            high,
            ..
        } = metric.value;
        let [estimate, low, high] = [estimate, low, high].map(|one| number(one, metric.unit));
        vec![
            Cell::Text(metric.title.to_owned()),
            Cell::HtmlNumber {
                sort: 0,
                html: format!("{estimate} {}", metric.unit),
            },
            Cell::HtmlNumber {
                sort: 0,
                html: format!("{low} to {high}"),
            },
        ]
    });
    let table = Table {
        caption: "Estimates for the fault space",
        columns: &[
            ("Figure", false),
            ("Estimate", true),
            ("95 % interval", true),
        ],
        rows: rows.collect(),
    };
    table.to_string()
}

fn groups_table(dimension: Dimension, groups: &[(Key, Tally)], uniform: bool) -> String {
    let mut columns = vec![
        (dimension.title(), false),
        ("Experiments", true),
        ("Outcomes", false),
        ("Not masked", true),
        ("SDC", true),
    ];
    if !uniform {
        columns.push(("Not masked, weighted", true));
    }
    let rows = groups.iter().take(MAX_GROUPS).enumerate();
    let rows = rows.map(|(place, (key, tally))| {
        let mut row = vec![
            Cell::Html {
                sort: place as u64,
                html: format!("<code>{}</code>", Escaped(&shortened(dimension, &key.text))),
            },
            Cell::Number(tally.all()),
            Cell::Html {
                sort: tally.sum(is_failure),
                html: bar(tally, false),
            },
            share_html(tally.share(is_failure)),
            share_html(tally.share(|outcome| outcome == Outcome::Sdc)),
        ];
        if !uniform {
            row.push(share_html(tally.weighted_share(is_failure)));
        }
        row
    });
    let title = format!("Outcomes by {}", dimension.title().to_lowercase());
    let table = Table {
        caption: &title,
        columns: &columns,
        rows: rows.collect(),
    };
    let mut out = table.to_string();
    if groups.len() > MAX_GROUPS {
        let more = grouped((groups.len() - MAX_GROUPS) as u64);
        let _ = write!(out, "<p class=\"note\">{more} more are in the tables.</p>");
    }
    out
}

/// The last two parts of the path of a source line.
fn shortened(dimension: Dimension, text: &str) -> String {
    let cut = text.rmatch_indices('/').nth(1).map(|(at, _)| at + 1);
    match (dimension, cut) {
        (Dimension::Source, Some(cut)) => text[cut..].to_owned(),
        (Dimension::Function, _) => fits_stats::summary::readable_name(text).to_string(),
        _ => text.to_owned(),
    }
}

fn crashes(tallies: &Tallies) -> String {
    let mut out = String::new();
    let crashes: u64 = tallies.signals.values().sum();
    let rows = tallies.signals.iter().map(|(signal, count)| {
        vec![
            Cell::Code(signal.clone()),
            Cell::Number(*count),
            Cell::Share(*count as f64 / crashes as f64),
        ]
    });
    let table = Table {
        caption: "What ended crashes",
        columns: &[("Signal", false), ("Crashes", true), ("Share", true)],
        rows: rows.collect(),
    };
    let _ = write!(out, "{table}");
    if !tallies.latencies.is_empty() {
        let known = grouped(tallies.latencies.len() as u64);
        let rows = percentiles(&tallies.latencies).into_iter();
        let rows =
            rows.map(|(share, value)| vec![Cell::Text(format!("{share} %")), Cell::Number(value)]);
        let table = Table {
            caption: "Instructions from the fault to the crash or detection",
            columns: &[("Percentile", false), ("Instructions", true)],
            rows: rows.collect(),
        };
        let _ = write!(
            out,
            "<p class=\"note\">The latency is known of {known}, those that ended within the instructions that are stepped after a fault.</p>{table}"
        );
    }
    let rows = SHOWN.iter().filter_map(|outcome| {
        let of = |how: &str| {
            let key = (*outcome, how.to_owned());
            tallies.activated.get(&key).copied().unwrap_or_default()
        };
        let counts = ["yes", "no", "unknown"].map(of);
        let cells = counts.map(Cell::Number);
        (counts.iter().sum::<u64>() > 0).then(|| {
            std::iter::once(Cell::Text(outcome.name().to_owned()))
                .chain(cells)
                .collect()
        })
    });
    let table = Table {
        caption: "Whether what was changed was read before it was overwritten",
        columns: &[
            ("Outcome", false),
            ("Yes", true),
            ("No", true),
            ("Unknown", true),
        ],
        rows: rows.collect(),
    };
    let _ = write!(out, "<p class=\"note\">Activation:</p>{table}");
    out
}

fn experiments(count: usize) -> String {
    let mut out = String::new();
    if count > MAX_LISTED {
        let _ = write!(
            out,
            "<p class=\"note\">The first {} of {}; all are in <code>experiments.csv</code>.</p>",
            grouped(MAX_LISTED as u64),
            grouped(count as u64)
        );
    }
    let options: String = Outcome::ALL
        .iter()
        .map(|outcome| format!("<option>{}</option>", outcome.name()))
        .collect();
    let _ = write!(
        out,
        "<p class=\"tools\"><label for=\"find\">Show experiments that contain</label> \
         <input id=\"find\" type=\"search\" autocomplete=\"off\"> \
         <label for=\"outcome\">with the outcome</label> \
         <select id=\"outcome\"><option value=\"\">any</option>{options}</select> \
         <span id=\"shown\" role=\"status\"></span></p>\n\
         <div class=\"scroll wide\" tabindex=\"0\" role=\"region\" aria-label=\"Experiments\"><table><caption>Experiments</caption>\
         <thead><tr><th scope=\"col\">Number</th><th scope=\"col\">Fault</th><th scope=\"col\">Outcome</th><th scope=\"col\">Function</th>\
         <th scope=\"col\">Instruction</th><th scope=\"col\">Why</th></tr></thead><tbody id=\"rows\"></tbody></table></div>\n\
         <p><button type=\"button\" id=\"more\" hidden>Show more</button></p>\n\
         <noscript><p>The table needs JavaScript; the same is in <code>experiments.csv</code>.</p></noscript>"
    );
    out
}

fn embedded(rows: &[Row]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .take(MAX_LISTED)
        .map(|row| {
            json!([
                row.number,
                row.fault,
                row.outcome.name(),
                row.site.function,
                row.site.text,
                row.known.as_ref().unwrap_or(&row.reason),
                row.replay,
                row.site.source,
                class(row.outcome),
            ])
        })
        .collect();
    script_json(&json!({ "experiments": rows }))
}
