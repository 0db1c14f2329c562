//! What one experiment unfolds to.

use std::fmt::Write as _;

use fits_stats::report::html::Escaped;
use fits_stats::report::shell::{Facts, warning};
use fits_stats::summary::grouped;

use super::{Context, counts, outputs, paths, states};
use crate::experiment::record::{EndRecord, InjectionRecord, Record};
use crate::experiment::told;

pub(super) fn detail(context: &Context<'_>, record: &Record) -> String {
    let mut out = String::new();
    for sentence in &record.warnings {
        out.push_str(&warning("Warning", sentence));
    }
    for injection in &record.injections {
        let _ = write!(out, "<h3>Fault</h3>{}", fault(context, injection));
    }
    let _ = write!(
        out,
        "<h3>What became of it</h3>{}{}",
        became(context, record),
        replay(record)
    );
    out.push_str(&outputs::section(context, record));
    if let Some(trace) = &record.trace {
        out.push_str(&paths::section(context, record, trace));
        out.push_str(&states::section(&trace.divergence));
    }
    if let Some(statistics) = &record.statistics {
        out.push_str(&counts::section(context, statistics));
    }
    out
}

fn fault(context: &Context<'_>, injection: &InjectionRecord) -> String {
    let mut facts = Facts::default();
    let code = |text: &str| format!("<code>{}</code>", Escaped(text));
    facts.add_html("Given as", &code(&injection.fault));
    if injection.concrete != injection.fault {
        facts.add_html("Decided", &code(&injection.concrete));
    }
    let moment = format!(
        "thread {}, {} instructions retired",
        injection.thread,
        grouped(injection.index)
    );
    facts.add("Moment", &moment);
    let next = format!("{} {}", code(&injection.pc), code(&injection.instruction));
    facts.add_html("Next instruction", &next);
    if let Some(place) = site(context, injection) {
        facts.add_html("Place", &place);
    }
    match &injection.failed {
        Some(sentence) => facts.add("Not carried out", sentence),
        None if injection.mask.is_empty() => facts.add("Changed", &injection.place),
        None => {
            facts.add("Changed", &injection.place);
            facts.add_html("Before", &marked(&injection.before, &injection.mask));
            facts.add_html("After", &marked(&injection.after, &injection.mask));
            facts.add_html("Mask", &code(&injection.mask));
        }
    }
    if injection.times > 1 {
        facts.add("Times", &grouped(injection.times));
    }
    facts.to_html()
}

/// Function, `file:line`, and what stands there.
fn site(context: &Context<'_>, injection: &InjectionRecord) -> Option<String> {
    let site = &injection.site;
    let known = [&site.symbol, &site.source];
    let mut parts: Vec<String> = known
        .into_iter()
        .flatten()
        .map(|text| Escaped(text).to_string())
        .collect();
    if parts.is_empty() {
        parts.extend(site.module.iter().map(|text| Escaped(text).to_string()));
    }
    let line = site
        .source
        .as_ref()
        .and_then(|source| context.sources.line(source));
    parts.extend(line.map(|line| format!("<code class=\"line\">{}</code>", Escaped(&line))));
    (!parts.is_empty()).then(|| parts.join(" "))
}

/// A hexadecimal number whose digits are marked where the mask has bits.
fn marked(number: &str, mask: &str) -> String {
    let mut out = "<code>".to_owned();
    let mask: Vec<char> = mask.trim_start_matches("0x").chars().rev().collect();
    let digits = number.chars().count();
    for (place, digit) in number.chars().enumerate() {
        let from_right = digits - 1 - place;
        let changed = mask.get(from_right).is_some_and(|&digit| digit != '0');
        let mut buffer = [0; 4];
        let digit = Escaped(digit.encode_utf8(&mut buffer));
        let _ = match changed && place >= 2 {
            true => write!(out, "<mark>{digit}</mark>"),
            false => write!(out, "{digit}"),
        };
    }
    out.push_str("</code>");
    out
}

fn became(context: &Context<'_>, record: &Record) -> String {
    let mut facts = Facts::default();
    facts.add("Outcome", &format!("{}: {}", record.outcome, record.reason));
    if let Some(end) = &record.end {
        facts.add("End", &told(end));
        if let EndRecord::Signaled { site, .. } = end
            && let Some(line) = site
                .source
                .as_ref()
                .and_then(|source| context.sources.line(source))
        {
            let line = format!("<code class=\"line\">{}</code>", Escaped(&line));
            facts.add_html("There", &line);
        }
        facts.add("Without the fault", &told(&context.results.reference.end));
    }
    if let Some(after) = record.rejoined {
        let text = format!(
            "ended early: {} instructions after the fault its state was that of the run without it again",
            grouped(after)
        );
        facts.add("End", &text);
    }
    if record.end.is_some() || record.rejoined.is_some() {
        facts.add("Activated", activated(&record.activated));
    }
    if let Some(latency) = record.latency {
        let s = if latency == 1 { "" } else { "s" };
        let text = format!("{} instruction{s} to the end", grouped(latency));
        facts.add("Latency", &text);
    }
    if let Some(limit) = &record.limit {
        facts.add("Limit", &format!("ended for its {limit}"));
    }
    let time = format!(
        "{:.3} s of processor time, {:.3} s in all",
        record.cpu_seconds, record.wall_seconds
    );
    facts.add("Time", &time);
    facts.to_html()
}

fn activated(word: &str) -> &'static str {
    match word {
        "yes" => "yes: what was changed was read before it was overwritten",
        "no" => "no: what was changed was overwritten, or never read",
        _ => "unknown",
    }
}

fn replay(record: &Record) -> String {
    if record.replay.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"replay\"><code>{}</code><button type=\"button\" class=\"copy\" hidden>Copy</button></div>\n",
        Escaped(&record.replay)
    )
}

#[cfg(test)]
mod tests {
    use super::marked;

    #[test]
    fn digits_are_marked_from_the_right() {
        assert_eq!(
            marked("0x0012", "0x0010"),
            "<code>0x00<mark>1</mark>2</code>"
        );
        assert_eq!(marked("0x1", ""), "<code>0x1</code>");
    }
}
