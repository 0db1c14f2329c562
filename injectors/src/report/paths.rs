//! The instructions around the fault and around the place where the paths part: golden and faulty side by side, with source lines.

use std::fmt::Write as _;

use fits_stats::report::html::Escaped;
use fits_stats::summary::{grouped, readable_name};

use super::Context;
use crate::experiment::record::Record;
use crate::trace::divergence::Parting;
use crate::trace::render::{Line, Lines, Trace};

/// A parting that is no further away is shown together with the fault.
const NEAR: u64 = 10;

pub(super) fn section(context: &Context<'_>, record: &Record, trace: &Trace) -> String {
    let parting = trace.divergence.first.as_ref();
    let near = parting.is_some_and(|parting| parting.distance <= NEAR);
    let mut out = String::new();
    if let Some(around) = &trace.around {
        let apart = apart(around);
        let _ = write!(
            out,
            "<h3>Around the fault</h3>{}",
            pair(context, around, "the fault comes here", apart)
        );
    }
    let _ = write!(
        out,
        "<h3>The path</h3><p>{}</p>",
        sentence(trace.divergence.compared, parting)
    );
    if let (Some(lines), true) = (&trace.lines, !near || trace.around.is_none()) {
        out.push_str(&pair(context, lines, "the paths part here", Some(0)));
    }
    if record.end.is_some() {
        out.push_str(&ends(trace));
    }
    out
}

/// Where two sequences of instructions are no longer the same.
fn apart(lines: &Lines) -> Option<usize> {
    let longest = lines.golden.len().max(lines.faulty.len());
    let pc = |lines: &[Line], at: usize| lines.get(at).map(|line| line.pc);
    (0..longest).find(|&at| pc(&lines.golden, at) != pc(&lines.faulty, at))
}

fn sentence(compared: u64, parting: Option<&Parting>) -> String {
    let Some(parting) = parting else {
        return format!(
            "The same in the {} instructions after the fault that were compared.",
            grouped(compared)
        );
    };
    let mut text = format!(
        "The paths part at instruction {}, {} after the moment. ",
        grouped(parting.index),
        grouped(parting.distance)
    );
    let _ = match &parting.rejoined {
        Some(rejoined) => write!(
            text,
            "They meet again at <code>{:#x}</code>, {} instructions later (golden: {}).",
            rejoined.pc,
            grouped(rejoined.faulty),
            grouped(rejoined.golden)
        ),
        None => write!(text, "They do not meet again within what was compared."),
    };
    text
}

fn ends(trace: &Trace) -> String {
    let mut out = String::new();
    let ends = [
        ("without", trace.divergence.golden_ended),
        ("with", trace.divergence.faulty_ended),
    ];
    for (which, ended) in ends {
        if let Some(after) = ended {
            let _ = write!(
                out,
                "<p class=\"note\">The thread {which} the fault ended {} instructions after the moment.</p>",
                grouped(after)
            );
        }
    }
    out
}

/// Two panels. From `apart` on, counted from the mark, the instructions are not the same.
fn pair(context: &Context<'_>, lines: &Lines, mark: &str, apart: Option<usize>) -> String {
    let mut out = "<div class=\"pair\">".to_owned();
    for (title, own) in [("Golden", &lines.golden), ("Faulty", &lines.faulty)] {
        let _ = write!(
            out,
            "<section class=\"panel\" aria-label=\"{title}\"><h4>{title}</h4>\
             <div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\">"
        );
        let mut place = None;
        list(context, &mut out, &lines.common, "", &mut place);
        if !mark.is_empty() {
            let _ = write!(out, "<p class=\"mark\">{}</p>", Escaped(mark));
        }
        let same = apart.unwrap_or(own.len()).min(own.len());
        list(context, &mut out, &own[..same], "", &mut place);
        list(
            context,
            &mut out,
            &own[same..],
            " class=\"own\"",
            &mut place,
        );
        if own.is_empty() {
            out.push_str("<p class=\"note\">The thread has ended.</p>");
        }
        out.push_str("</div></section>");
    }
    out.push_str("</div>\n");
    out
}

/// Instructions, with a heading wherever another function or another line of the source begins; lines that can't be shown begin nothing.
fn list(
    context: &Context<'_>,
    out: &mut String,
    lines: &[Line],
    class: &str,
    place: &mut Option<String>,
) {
    let mut open = false;
    for line in lines {
        let heading = heading(context, line);
        if place.as_ref() != Some(&heading) {
            out.push_str(if open { "</ol>" } else { "" });
            let _ = write!(out, "<p class=\"source\">{heading}</p>");
            *place = Some(heading);
            open = false;
        }
        if !open {
            out.push_str("<ol>");
            open = true;
        }
        let _ = write!(
            out,
            "<li{class}><code class=\"pc\">{:x}</code><code>{}</code></li>",
            line.pc,
            Escaped(&line.text)
        );
    }
    out.push_str(if open { "</ol>" } else { "" });
}

fn heading(context: &Context<'_>, line: &Line) -> String {
    let mut out = match &line.symbol {
        Some(symbol) => format!("<span>{}</span> ", Escaped(&readable_name(symbol))),
        None if line.source.is_none() => return "<span>no symbol</span>".to_owned(),
        None => String::new(),
    };
    let Some(source) = &line.source else {
        return out;
    };
    let text = context.sources.line(source);
    let shown = match &text {
        Some(_) => source.as_str(),
        None => source
            .rsplit_once(':')
            .map_or(source.as_str(), |(file, _)| file),
    };
    let file = shown.rsplit('/').next().unwrap_or(shown);
    let _ = write!(
        out,
        "<span title=\"{}\">{}</span> ",
        Escaped(shown),
        Escaped(file)
    );
    if let Some(text) = text {
        let _ = write!(out, "<code class=\"line\">{}</code>", Escaped(&text));
    }
    out
}
