//! Heat maps: what faults did by instruction, over the disassembly, and by line, over the source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use fits_stats::report::html::Escaped;
use fits_stats::summary::{grouped, readable_name};

use super::metrics::is_failure;
use super::page::bar;
use super::row::Row;
use super::tally::Tally;
use crate::experiment::outcome::Outcome;
use crate::report::Sources;

/// At most so many functions or files, those with the most experiments.
const MAX_LISTINGS: usize = 60;
/// Lines shown around one that faults were in.
const AROUND: usize = 2;

/// Instructions that faults were in, by function.
pub(super) fn disassembly(rows: &[Row]) -> String {
    let mut functions: BTreeMap<&str, Listing<u64>> = BTreeMap::new();
    for row in rows {
        if let Some(pc) = row.pc {
            functions
                .entry(&row.site.function)
                .or_default()
                .add(pc, &row.site.text, row);
        }
    }
    let mut out =
        "<p class=\"note\">The instructions at which faults were injected. The stronger the colour, the larger the share that is not masked.</p>\n"
            .to_owned();
    for (name, listing) in most(functions) {
        let name = match name {
            "" => "no function".to_owned(),
            name => readable_name(name).to_string(),
        };
        begin(&mut out, &name, &listing.total);
        out.push_str("<table><thead><tr><th scope=\"col\">Address</th><th scope=\"col\">Instruction</th><th scope=\"col\">Faults</th><th scope=\"col\">SDC</th><th scope=\"col\">Outcomes</th></tr></thead><tbody>");
        for (pc, (text, tally)) in &listing.lines {
            let _ = write!(
                out,
                "<tr><td><code>{pc:#x}</code></td><td class=\"heat\" style=\"--h:{}%\"><code>{}</code></td>{}</tr>",
                heat(tally),
                Escaped(text),
                counts(tally)
            );
        }
        out.push_str("</tbody></table></details>\n");
    }
    out
}

/// Source lines that faults were in, with their text where the file can be read; nothing without line numbers.
pub(super) fn source(rows: &[Row], sources: &Sources) -> String {
    let mut files: BTreeMap<&str, Listing<usize>> = BTreeMap::new();
    for row in rows {
        let place = row.site.source.rsplit_once(':');
        if let Some((file, line)) = place
            && let Ok(line) = line.parse()
        {
            files.entry(file).or_default().add(line, "", row);
        }
    }
    let mut out = String::new();
    for (file, listing) in most(files) {
        begin(&mut out, file, &listing.total);
        let text = sources.lines(file).unwrap_or_default();
        if text.is_empty() {
            out.push_str("<p class=\"note\">The file cannot be read here.</p>");
        }
        out.push_str("<table><thead><tr><th scope=\"col\">Line</th><th scope=\"col\">Source</th><th scope=\"col\">Faults</th><th scope=\"col\">SDC</th><th scope=\"col\">Outcomes</th></tr></thead><tbody>");
        let mut before = 0;
        for number in around(&listing, text.len()) {
            if number > before + 1 {
                out.push_str("<tr class=\"gap\"><td colspan=\"5\">…</td></tr>");
            }
            before = number;
            let line = text.get(number - 1).map_or("", String::as_str);
            let (heat, counts) = match listing.lines.get(&number) {
                Some((_, tally)) => (heat(tally), counts(tally)),
                None => (0, "<td></td><td></td><td></td>".to_owned()),
            };
            let _ = write!(
                out,
                "<tr><td class=\"num\">{number}</td><td class=\"heat\" style=\"--h:{heat}%\"><pre>{}</pre></td>{counts}</tr>",
                Escaped(line)
            );
        }
        out.push_str("</tbody></table></details>\n");
    }
    out
}

/// Some lines, each with what faults in it did.
struct Listing<K> {
    total: Tally,
    lines: BTreeMap<K, (String, Tally)>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self {
            total: Tally::default(),
            lines: BTreeMap::new(),
        }
    }
}

impl<K: Ord> Listing<K> {
    fn add(&mut self, key: K, text: &str, row: &Row) {
        self.total.add(row.outcome, row.weight);
        let line = self.lines.entry(key);
        let (_, tally) = line.or_insert_with(|| (text.to_owned(), Tally::default()));
        tally.add(row.outcome, row.weight);
    }
}

fn most<K>(listings: BTreeMap<&str, Listing<K>>) -> Vec<(&str, Listing<K>)> {
    let mut listings: Vec<_> = listings.into_iter().collect();
    listings.sort_by_key(|(_, listing)| std::cmp::Reverse(listing.total.all()));
    listings.truncate(MAX_LISTINGS);
    listings
}

fn begin(out: &mut String, name: &str, total: &Tally) {
    let _ = write!(
        out,
        "<details class=\"listing\"><summary>{}<code>{}</code><span>{} faults</span></summary>",
        bar(total, false),
        Escaped(name),
        grouped(total.all())
    );
}

/// Up to 70 %, so that text stays readable on it.
fn heat(tally: &Tally) -> u32 {
    let share = tally.share(is_failure);
    share.map_or(0, |share| (share.estimate * 70.0).round() as u32)
}

fn counts(tally: &Tally) -> String {
    format!(
        "<td class=\"num\">{}</td><td class=\"num\">{}</td><td>{}</td>",
        tally.all(),
        tally.count(Outcome::Sdc),
        bar(tally, false)
    )
}

/// Lines with faults, and some around them, ascending.
fn around(listing: &Listing<usize>, last: usize) -> Vec<usize> {
    let mut lines: Vec<usize> = Vec::new();
    for &line in listing.lines.keys() {
        let context = line.saturating_sub(AROUND).max(1)..=(line + AROUND).min(last);
        lines.extend(context.chain([line]).filter(|&line| line > 0));
    }
    lines.sort_unstable();
    lines.dedup();
    lines
}
