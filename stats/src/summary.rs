//! The summary of a golden run for the terminal.

mod heat;
mod text;

use std::fmt::{self, Write as _};

use crate::functions;
use crate::model::{Level, RegisterStatistics, RunInfo, Statistics};
use crate::pictures::Pictures;
use crate::write::{ExitSummary, Listing, Summary};
pub use text::{grouped, readable_name, share, shortened};

/// How many lines the lists have.
const TOP: usize = 10;
/// How wide a line may be.
const WIDTH: usize = 100;

/// Writes the whole summary as text.
pub fn render(statistics: &Statistics, listing: &Listing, info: &RunInfo) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = render_to(&mut out, statistics, listing, info);
    out
}

fn render_to(
    out: &mut String,
    statistics: &Statistics,
    listing: &Listing,
    info: &RunInfo,
) -> fmt::Result {
    let summary = Summary::new(statistics, info);
    header(out, statistics, listing, &summary)?;
    let total = statistics.total_instructions();
    hottest_functions(out, listing, total)?;
    top_instructions(out, listing, total)?;
    mix(out, listing, total)?;
    registers(out, statistics, total)?;
    if statistics.level == Level::Full {
        heat::write(out, &busy_pictures(statistics, listing, total))?;
    }
    for warning in &info.warnings {
        writeln!(out, "\nwarning: {warning}")?;
    }
    Ok(())
}

/// Bit pictures of the busiest registers.
fn busy_pictures(statistics: &Statistics, listing: &Listing, total: u64) -> Pictures {
    let mut pictures = pictures(statistics, listing);
    pictures.registers.retain(|register, _| {
        statistics
            .registers
            .get(register)
            .is_some_and(|used| is_busy(used, total))
    });
    pictures
}

/// Bit pictures of a run that is in memory.
fn pictures(statistics: &Statistics, listing: &Listing) -> Pictures {
    let mut pictures = Pictures::default();
    for row in &listing.rows {
        for operand in &statistics.instructions[&row.key].operands {
            pictures.add(
                &row.instruction,
                operand.operand,
                operand.access,
                operand.bits(),
            );
        }
    }
    pictures
}

fn header(
    out: &mut String,
    statistics: &Statistics,
    listing: &Listing,
    summary: &Summary,
) -> fmt::Result {
    let command = match summary.arguments.split_first() {
        Some((_, rest)) if !rest.is_empty() => format!("{} {}", summary.program, rest.join(" ")),
        _ => summary.program.clone(),
    };
    writeln!(out, "program     {}", shortened(&command, WIDTH - 12))?;
    writeln!(out, "end         {}", end_sentence(&summary.exit))?;
    if let Some(reason) = &summary.incomplete {
        writeln!(out, "incomplete  {reason}")?;
    }
    writeln!(out, "time        {}", times(summary))?;
    writeln!(out, "retired     {}", retired(summary))?;
    writeln!(
        out,
        "executed    {} static instructions in {} blocks, {} different system calls",
        grouped(listing.rows.len() as u64),
        grouped(statistics.blocks.len() as u64),
        statistics.syscalls.len(),
    )
}

/// A line without blanks at its end.
fn line(out: &mut String, text: &str) -> fmt::Result {
    writeln!(out, "{}", text.trim_end())
}

/// How the program ended, as a sentence without a full stop.
pub fn end_sentence(exit: &ExitSummary) -> String {
    match exit {
        ExitSummary::Unknown => "not known".to_owned(),
        ExitSummary::Exited { status } => format!("exit status {status}"),
        ExitSummary::Signaled {
            name,
            pc,
            fault_address,
            symbol,
            source,
            ..
        } => {
            let mut sentence = format!("ended by {name}");
            let parts = [
                (" at ", pc),
                (" in ", symbol),
                (" (", source),
                (", access to ", fault_address),
            ];
            for (before, part) in parts {
                if let Some(part) = part {
                    sentence.push_str(before);
                    sentence.push_str(part);
                    sentence.push_str(if before == " (" { ")" } else { "" });
                }
            }
            sentence
        }
    }
}

fn times(summary: &Summary) -> String {
    let mut times = format!("{:.3} s", summary.times.elapsed);
    if let (Some(native), Some(slowdown)) = (summary.times.native, summary.slowdown) {
        let _ = write!(
            times,
            ", natively {native:.3} s: {slowdown:.1} times as long"
        );
    }
    let (backend, level) = (summary.backend.name(), summary.level.name());
    let _ = write!(times, " (backend {backend}, level {level})");
    times
}

fn retired(summary: &Summary) -> String {
    let total = grouped(summary.instructions);
    match summary.threads.len() {
        0 | 1 => format!("{total} instructions"),
        threads => {
            let busiest = summary
                .threads
                .iter()
                .map(|thread| thread.instructions)
                .max();
            let busiest = grouped(busiest.unwrap_or_default());
            format!("{total} instructions in {threads} threads (the busiest: {busiest})")
        }
    }
}

fn hottest_functions(out: &mut String, listing: &Listing, total: u64) -> fmt::Result {
    let functions = functions::group(listing.places());
    let count = grouped(functions.len() as u64);
    writeln!(out, "\nhottest functions ({count} in all)")?;
    for function in functions.iter().take(TOP) {
        let name = format!(
            "{}  {}",
            readable_name(&function.name),
            function.module_name()
        );
        let share = share(function.executions, total);
        let executions = grouped(function.executions);
        let name = shortened(&name, WIDTH - 30);
        line(out, &format!("  {share:>6}  {executions:>18}  {name}"))?;
    }
    Ok(())
}

fn top_instructions(out: &mut String, listing: &Listing, total: u64) -> fmt::Result {
    writeln!(out, "\ntop instructions")?;
    let mut rows: Vec<_> = listing.rows.iter().collect();
    rows.sort_by_key(|row| (std::cmp::Reverse(row.executions), row.key));
    for row in rows.into_iter().take(TOP) {
        let location = &row.location;
        let source = location
            .source
            .as_deref()
            .and_then(|path| path.rsplit('/').next());
        let place = source.or(location.symbol.as_deref());
        line(
            out,
            &format!(
                "  {:>6}  {:>18}  {:#14x}  {:32}  {}",
                share(row.executions, total),
                grouped(row.executions),
                row.key.pc,
                shortened(&row.text(), 32),
                shortened(place.unwrap_or_default(), WIDTH - 80)
            ),
        )?;
    }
    Ok(())
}

fn mix(out: &mut String, listing: &Listing, total: u64) -> fmt::Result {
    let mut mix: Vec<_> = listing.mix().into_iter().collect();
    mix.sort_by_key(|(_, executions)| std::cmp::Reverse(*executions));
    writeln!(out, "\ninstruction mix ({} mnemonics)", mix.len())?;
    let cells: Vec<_> = mix
        .iter()
        .take(TOP)
        .map(|(mnemonic, executions)| format!("{mnemonic} {}", share(*executions, total).trim()))
        .collect();
    for row in cells.chunks(5) {
        let cells: String = row.iter().map(|cell| format!("  {cell:<16}")).collect();
        line(out, &cells)?;
    }
    Ok(())
}

/// The busiest registers; programs have dozens that they hardly use.
fn registers(out: &mut String, statistics: &Statistics, total: u64) -> fmt::Result {
    let full = statistics.level == Level::Full;
    let used: Vec<_> = statistics
        .registers
        .iter()
        .filter(|(_, used)| used.reads + used.writes > 0)
        .collect();
    let shown: Vec<_> = used
        .iter()
        .filter(|(_, used)| is_busy(used, total))
        .collect();
    writeln!(out)?;
    let live = if full { "live" } else { "" };
    line(
        out,
        &format!(
            "{:8} {:>18}  {:>18}  {live:>7}",
            "register", "reads", "writes"
        ),
    )?;
    for (register, used) in &shown {
        let live = if full {
            share(used.live_points, total)
        } else {
            String::new()
        };
        let (reads, writes) = (grouped(used.reads), grouped(used.writes));
        line(
            out,
            &format!(
                "  {:6} {reads:>18}  {writes:>18}  {live:>7}",
                register.name()
            ),
        )?;
    }
    match used.len() - shown.len() {
        0 => Ok(()),
        1 => writeln!(out, "  and one that less than 1 % of the instructions use"),
        more => writeln!(
            out,
            "  and {more} that less than 1 % of the instructions use"
        ),
    }
}

fn is_busy(used: &RegisterStatistics, total: u64) -> bool {
    used.reads.max(used.writes) >= total / 100
}

#[cfg(test)]
mod tests;
