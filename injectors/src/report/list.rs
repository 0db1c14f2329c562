//! The experiments, one line each, which can be filtered, sorted and unfolded.

use std::fmt::Write as _;

use fits_stats::report::html::Escaped;
use fits_stats::summary::grouped;

use super::{Context, detail, summary};
use crate::experiment::outcome::Outcome;
use crate::experiment::record::{Record, Site};

/// Columns: title, name of what they are sorted by.
const COLUMNS: [(&str, &str); 5] = [
    ("No.", "number"),
    ("Outcome", "outcome"),
    ("Fault", "fault"),
    ("Place", "place"),
    ("What became of it", "reason"),
];

pub(super) fn section(context: &Context<'_>) -> String {
    let results = context.results;
    let mut out = String::new();
    if results.experiments.len() > 1 {
        out.push_str(&tools(context));
    }
    out.push_str("<div class=\"experiments\"><div class=\"head\">");
    for (title, name) in COLUMNS {
        let _ = write!(
            out,
            "<button type=\"button\" data-by=\"{name}\">{title}</button>"
        );
    }
    out.push_str("</div>\n<div id=\"list\">\n");
    let alone = results.experiments.len() == 1;
    for record in &results.experiments {
        out.push_str(&experiment(context, record, alone));
    }
    out.push_str("</div></div>\n");
    out
}

fn tools(context: &Context<'_>) -> String {
    let mut out = "<p class=\"tools\"><label>Find <input id=\"find\" type=\"search\" placeholder=\"fault, function, reason\"></label> \
                   <span role=\"group\" aria-label=\"Outcomes that are shown\">"
        .to_owned();
    for outcome in Outcome::ALL {
        let count = context.results.counts.get(&outcome).copied();
        let Some(count @ 1..) = count else { continue };
        let class = summary::class(outcome);
        let _ = write!(
            out,
            "<button type=\"button\" class=\"toggle\" aria-pressed=\"true\" data-outcome=\"{class}\">\
             <span class=\"outcome {class}\">{outcome}</span> {}</button> ",
            grouped(count)
        );
    }
    out.push_str("</span> <span id=\"shown\" role=\"status\"></span></p>\n");
    out
}

fn experiment(context: &Context<'_>, record: &Record, alone: bool) -> String {
    let number = record.number;
    let class = summary::class(record.outcome);
    let faults: Vec<String> = record
        .faults
        .iter()
        .map(|fault| format!("<code>{}</code>", Escaped(fault)))
        .collect();
    format!(
        "<details class=\"experiment\" id=\"e{number}\" data-outcome=\"{class}\"{}><summary>\
         <span data-key=\"number\">{number}</span>\
         <span data-key=\"outcome\"><span class=\"outcome {class}\">{}</span></span>\
         <span data-key=\"fault\">{}</span><span data-key=\"place\">{}</span>\
         <span data-key=\"reason\">{}</span></summary>\n<div class=\"detail\">{}</div></details>\n",
        if alone { " open" } else { "" },
        record.outcome,
        faults.join(" "),
        place(record),
        Escaped(&record.reason),
        detail::detail(context, record),
    )
}

fn place(record: &Record) -> String {
    let Some(first) = record.injections.first() else {
        return String::new();
    };
    let Site {
        module,
        symbol,
        source,
    } = &first.site;
    let tail = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    match (symbol, source, module) {
        (Some(symbol), Some(source), _) => format!(
            "{} <small>{}</small>",
            Escaped(symbol),
            Escaped(&tail(source))
        ),
        (Some(symbol), None, Some(module)) => format!(
            "{} <small>{}</small>",
            Escaped(symbol),
            Escaped(&tail(module))
        ),
        (Some(symbol), ..) => Escaped(symbol).to_string(),
        (None, _, Some(module)) => format!("<small>{}</small>", Escaped(&tail(module))),
        (None, ..) => format!("<code>{}</code>", Escaped(&first.pc)),
    }
}
