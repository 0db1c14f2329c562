//! Results for people.

use std::fmt::{self, Write as _};

use fits_stats::summary::{grouped, readable_name};

use super::outcome::Outcome;
use super::record::{EndRecord, InjectionRecord, Record, Results, Site};
use super::session::difference;
use super::statistics::{Both, Statistics};

/// How many differing outputs are named.
const SHOWN: usize = 3;

impl Record {
    /// One block of lines.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> fmt::Result {
        writeln!(
            out,
            "experiment {}: {}, {}",
            self.number, self.outcome, self.reason
        )?;
        if self.injections.is_empty() {
            for fault in &self.faults {
                field(out, "fault", fault)?;
            }
        }
        for injection in &self.injections {
            write_injection(out, injection)?;
        }
        if let Some(end) = &self.end {
            field(out, "end", &told(end))?;
        }
        if let Some(limit) = &self.limit {
            field(out, "limit", &format!("ended for its {limit}"))?;
        }
        for difference_of in self.differences.iter().take(SHOWN) {
            field(out, "output", &difference(difference_of))?;
        }
        if self.differences.len() > SHOWN {
            let more = self.differences.len() - SHOWN;
            field(out, "", &format!("and {more} more"))?;
        }
        if self.end.is_some() || self.rejoined.is_some() {
            let latency = match self.latency {
                Some(1) => "; the end came 1 instruction after the fault".to_owned(),
                Some(count) => format!("; the end came {count} instructions after the fault"),
                None => String::new(),
            };
            field(out, "activated", &format!("{}{latency}", self.activated))?;
        }
        if let Some(trace) = &self.trace {
            for line in trace.to_text().lines() {
                writeln!(out, "  {line}")?;
            }
        }
        if let Some(statistics) = &self.statistics {
            write_statistics(out, statistics)?;
        }
        for warning in &self.warnings {
            field(out, "warning", warning)?;
        }
        field(out, "replay", &self.replay)
    }
}

fn write_statistics(out: &mut String, statistics: &Statistics) -> fmt::Result {
    let Both { golden, faulty } = statistics.retired;
    let text = format!(
        "{} instructions to the end, {} without the fault",
        grouped(faulty),
        grouped(golden)
    );
    field(out, "executed", &text)?;
    let text = format!(
        "{} instructions that are not executed otherwise, {} not any more, {} more or less often",
        grouped(statistics.only_faulty),
        grouped(statistics.only_golden),
        grouped(statistics.differing)
    );
    field(out, "", &text)?;
    for function in statistics.functions.iter().take(SHOWN) {
        let text = format!(
            "{}: {}, {} without the fault",
            readable_name(&function.name),
            grouped(function.executions.faulty),
            grouped(function.executions.golden)
        );
        field(out, "", &text)?;
    }
    match &statistics.incomplete {
        Some(sentence) => field(out, "warning", sentence),
        None => Ok(()),
    }
}

fn field(out: &mut String, name: &str, value: &str) -> fmt::Result {
    writeln!(out, "  {name:<10} {value}")
}

fn write_injection(out: &mut String, injection: &InjectionRecord) -> fmt::Result {
    field(out, "fault", &injection.fault)?;
    field(
        out,
        "moment",
        &format!(
            "thread {}, {} instructions retired, before {}{}: {}",
            injection.thread,
            injection.index,
            injection.pc,
            place(&injection.site),
            injection.instruction
        ),
    )?;
    let times = match injection.times {
        0 | 1 => String::new(),
        times => format!(", {times} times"),
    };
    match &injection.failed {
        Some(sentence) => field(out, "failed", sentence),
        None if injection.mask.is_empty() => {
            field(out, "changed", &format!("{}{times}", injection.place))
        }
        None => field(
            out,
            "changed",
            &format!(
                "{}: {} -> {} (mask {}), read back{times}",
                injection.place, injection.before, injection.after, injection.mask
            ),
        ),
    }
}

/// ` (main, prog.c:12)`, as far as known.
fn place(site: &Site) -> String {
    let known: Vec<&str> = [&site.symbol, &site.source]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    match known[..] {
        [] => site
            .module
            .as_ref()
            .map(|module| format!(" ({module})"))
            .unwrap_or_default(),
        _ => format!(" ({})", known.join(", ")),
    }
}

/// How a program ended, in words.
pub(crate) fn told(end: &EndRecord) -> String {
    match end {
        EndRecord::Exited { status } => format!("exit status {status}"),
        EndRecord::Limit { limit } if limit == "cpu" => "ended for its processor time".to_owned(),
        EndRecord::Limit { .. } => "ended for its wall-clock time".to_owned(),
        EndRecord::Signaled {
            signal,
            name,
            code,
            address,
            pc,
            site,
            ..
        } => {
            let mut text = format!("signal {signal} ({name})");
            if let Some(code) = code {
                text.push_str(&format!(", si_code {code}"));
            }
            if let Some(address) = address {
                text.push_str(&format!(", address {address}"));
            }
            if let Some(pc) = pc {
                text.push_str(&format!(", at {pc}{}", place(site)));
            }
            text
        }
    }
}

impl Results {
    /// The table of outcomes, for lists.
    #[must_use]
    pub fn counts_to_text(&self) -> String {
        let counted: u64 = self
            .counts
            .iter()
            .filter(|(outcome, _)| outcome.is_counted())
            .map(|(_, count)| count)
            .sum();
        let mut out = format!("{} experiments\n", self.experiments.len());
        for outcome in Outcome::ALL {
            let count = self.counts.get(&outcome).copied().unwrap_or_default();
            let share = match counted {
                0 => String::new(),
                _ if !outcome.is_counted() => String::new(),
                _ => format!("{:6.1} %", 100.0 * count as f64 / counted as f64),
            };
            let _ = writeln!(out, "  {outcome:<12} {count:>6}  {share}");
        }
        out
    }
}
