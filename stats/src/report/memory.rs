//! The memory map: which regions were used, and which of their pages how much.

use std::fmt::Write as _;

use super::data::{Data, PageRow};
use super::html::Escaped;
use crate::model::PAGE_SIZE;
use crate::summary::grouped;

/// A strip has at most so many cells; pages of larger regions share them.
const MAX_CELLS: u64 = 192;
const CELL: u64 = 10;
/// A gap of so many untouched pages divides a region's strip.
const MAX_GAP: u64 = 4096;

/// All regions by address.
pub(super) fn section(data: &Data) -> String {
    if data.pages.is_empty() {
        return "<p class=\"note\">Memory accesses are collected with <code>--stats full</code>.</p>"
            .to_owned();
    }
    let hottest = data.pages.iter().map(accesses).max().unwrap_or_default();
    let mut pages: Vec<&PageRow> = data.pages.iter().collect();
    pages.sort_by_key(|page| page.page);
    let together =
        |a: &&PageRow, b: &&PageRow| a.region == b.region && b.page - a.page <= MAX_GAP * PAGE_SIZE;
    let mut out = "<p class=\"note\">One cell is a page of 4 KiB, or several where a region is \
                   large; the darker, the more accesses (logarithmic). Pages that the program did not \
                   touch are blank.</p>\n<div class=\"regions\">\n"
        .to_owned();
    for region in pages.chunk_by(together) {
        out.push_str(&strip(region, hottest));
    }
    out.push_str("</div>\n");
    out
}

fn accesses(page: &PageRow) -> u64 {
    page.reads + page.writes
}

fn strip(pages: &[&PageRow], hottest: u64) -> String {
    let (first, last) = (pages[0].page, pages[pages.len() - 1].page);
    let span = (last - first) / PAGE_SIZE + 1;
    let per_cell = span.div_ceil(MAX_CELLS);
    let sum = |value: fn(&PageRow) -> u64| -> u64 { pages.iter().map(|page| value(page)).sum() };
    let mut out = format!(
        "<section class=\"region\"><h3>{}</h3><p>{:#x} to {:#x}: {} pages touched, {} reads ({}), {} writes ({})</p>",
        Escaped(region_title(&pages[0].region)),
        first,
        last + PAGE_SIZE,
        grouped(pages.len() as u64),
        grouped(sum(|page| page.reads)),
        bytes(sum(|page| page.bytes_read)),
        grouped(sum(|page| page.writes)),
        bytes(sum(|page| page.bytes_written)),
    );
    let cells = span.div_ceil(per_cell);
    let rows = cells.div_ceil(64);
    let columns = cells.min(64);
    let _ = write!(
        out,
        "<svg class=\"strip\" width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"accesses by page\">",
        columns * CELL,
        rows * CELL,
    );
    for cell in pages.chunk_by(|a, b| cell_of(a, first, per_cell) == cell_of(b, first, per_cell)) {
        let index = cell_of(cell[0], first, per_cell);
        let (reads, writes) = cell
            .iter()
            .fold((0, 0), |sum, p| (sum.0 + p.reads, sum.1 + p.writes));
        let heat = heat(reads + writes, hottest);
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{}\" style=\"--h:{heat:.0}%\"><title>{:#x}: {} reads, {} writes</title></rect>",
            index % 64 * CELL,
            index / 64 * CELL,
            cell[0].page,
            grouped(reads),
            grouped(writes),
        );
    }
    out.push_str("</svg></section>\n");
    out
}

fn cell_of(page: &PageRow, first: u64, per_cell: u64) -> u64 {
    (page.page - first) / PAGE_SIZE / per_cell
}

/// From 8 to 100 on a logarithmic scale, so that a single access can be seen.
fn heat(accesses: u64, hottest: u64) -> f64 {
    let scale = (hottest as f64 + 1.0).ln();
    if scale == 0.0 {
        8.0
    } else {
        8.0 + 92.0 * ((accesses as f64 + 1.0).ln() / scale).min(1.0)
    }
}

fn region_title(name: &str) -> &str {
    if name.is_empty() { "not named" } else { name }
}

/// A number of bytes in its largest fitting unit.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut size = count as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_in_fitting_units() {
        assert_eq!(bytes(1023), "1023 bytes");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }

    #[test]
    fn heat_is_visible_for_one_access_and_full_for_the_most() {
        assert!(heat(1, 1_000_000) > 8.0);
        assert_eq!(heat(1_000_000, 1_000_000), 100.0);
    }
}
