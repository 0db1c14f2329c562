//! The memory map: which regions were used, and which of their pages how much.

use std::fmt::Write as _;

use super::data::{Data, PageRow};
use super::html::{Cell, Escaped, Table};
use crate::model::PAGE_SIZE;
use crate::summary::grouped;

/// A strip has at most so many cells; pages of larger regions share them.
const MAX_CELLS: u64 = 192;
/// Cells in a line of a strip.
const COLUMNS: u64 = 48;
/// Size of a cell on the page.
const CELL: u64 = 8;
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
    let regions = pages.chunk_by(together).map(|pages| row(pages, hottest));
    let table = Table {
        caption: "Regions by address",
        columns: &[
            ("Region", false),
            ("Pages", true),
            ("Reads", true),
            ("Writes", true),
            ("Accesses by page", false),
        ],
        rows: regions.collect(),
    };
    format!(
        "<p class=\"note\">A cell is a page of 4 KiB, or several where a region is large; the stronger \
         its colour, the more accesses (logarithmic). Pages that the program did not touch are \
         blank.</p>\n{table}"
    )
}

fn accesses(page: &PageRow) -> u64 {
    page.reads + page.writes
}

fn row(pages: &[&PageRow], hottest: u64) -> Vec<Cell> {
    let (first, last) = (pages[0].page, pages[pages.len() - 1].page);
    let sum = |value: fn(&PageRow) -> u64| -> u64 { pages.iter().map(|page| value(page)).sum() };
    let name = format!(
        "{}<br><small>{first:#x} to {:#x}</small>",
        Escaped(region_title(&pages[0].region)),
        last + PAGE_SIZE
    );
    vec![
        Cell::Html {
            sort: first,
            html: name,
        },
        Cell::Number(pages.len() as u64),
        amount(sum(|page| page.reads), sum(|page| page.bytes_read)),
        amount(sum(|page| page.writes), sum(|page| page.bytes_written)),
        Cell::Html {
            sort: first,
            html: strip(pages, hottest),
        },
    ]
}

/// A number of accesses and of their bytes.
fn amount(count: u64, size: u64) -> Cell {
    let html = match count {
        0 => "0".to_owned(),
        _ => format!("{}<br><small>{}</small>", grouped(count), bytes(size)),
    };
    Cell::HtmlNumber { sort: count, html }
}

fn strip(pages: &[&PageRow], hottest: u64) -> String {
    let (first, last) = (pages[0].page, pages[pages.len() - 1].page);
    let span = (last - first) / PAGE_SIZE + 1;
    let per_cell = span.div_ceil(MAX_CELLS);
    let cells = span.div_ceil(per_cell);
    let (columns, rows) = (cells.min(COLUMNS), cells.div_ceil(COLUMNS));
    let mut out = format!(
        "<svg class=\"strip\" width=\"{}\" height=\"{}\" role=\"img\" aria-label=\"accesses by page\">",
        columns * CELL,
        rows * CELL,
    );
    for cell in pages.chunk_by(|a, b| cell_of(a, first, per_cell) == cell_of(b, first, per_cell)) {
        let index = cell_of(cell[0], first, per_cell);
        let reads = cell.iter().map(|page| page.reads).sum();
        let writes = cell.iter().map(|page| page.writes).sum();
        let _ = write!(
            out,
            "<rect x=\"{}\" y=\"{}\" style=\"--h:{:.0}%\"><title>{:#x}: {} reads, {} writes</title></rect>",
            index % COLUMNS * CELL,
            index / COLUMNS * CELL,
            heat(reads + writes, hottest),
            cell[0].page,
            grouped(reads),
            grouped(writes),
        );
    }
    out.push_str("</svg>");
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
