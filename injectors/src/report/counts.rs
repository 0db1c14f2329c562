//! What the program executed from the fault on, golden against faulty: totals, functions, instructions with their source lines, registers.

use std::fmt::Write as _;

use fits_stats::report::html::{Cell, Escaped, Table};
use fits_stats::report::shell::warning;
use fits_stats::summary::{grouped, readable_name};

use super::Context;
use crate::experiment::statistics::{Both, InstructionCount, Statistics};

pub(super) fn section(context: &Context<'_>, statistics: &Statistics) -> String {
    let mut out = "<h3>What was executed from the fault on</h3>".to_owned();
    if let Some(sentence) = &statistics.incomplete {
        out.push_str(&warning("Warning", sentence));
    }
    let Both { golden, faulty } = statistics.retired;
    let _ = write!(
        out,
        "<p>{} instructions, {} without the fault. {} static instructions are executed that are not otherwise, {} are not any more, \
         {} more or less often.</p>",
        grouped(faulty),
        grouped(golden),
        grouped(statistics.only_faulty),
        grouped(statistics.only_golden),
        grouped(statistics.differing)
    );
    if let Some((golden, faulty)) = &statistics.folders {
        let _ = write!(
            out,
            "<p class=\"note\">All of it: <code>fits compare {} {}</code></p>",
            Escaped(golden),
            Escaped(faulty)
        );
    }
    if golden == faulty && statistics.instructions.is_empty() {
        return out;
    }
    out.push_str("<div class=\"tables\">");
    out.push_str(&functions(statistics));
    out.push_str(&registers(statistics));
    out.push_str("</div>");
    out.push_str(&instructions(context, statistics));
    out
}

fn both(one: Both) -> [Cell; 3] {
    let more = i128::from(one.faulty) - i128::from(one.golden);
    let sign = if more < 0 { "−" } else { "+" };
    let apart = one.apart();
    [
        Cell::Number(one.golden),
        Cell::Number(one.faulty),
        Cell::HtmlNumber {
            sort: apart,
            html: format!("{sign}{}", grouped(apart)),
        },
    ]
}

fn functions(statistics: &Statistics) -> String {
    let rows = statistics.functions.iter().map(|function| {
        let name = readable_name(&function.name);
        let mut row = vec![Cell::Html {
            sort: function.executions.apart(),
            html: format!(
                "{} <small>{}</small>",
                Escaped(&name),
                Escaped(&function.module)
            ),
        }];
        row.extend(both(function.executions));
        row
    });
    let table = Table {
        caption: "Functions, by executed instructions",
        columns: &[
            ("Function", false),
            ("Golden", true),
            ("Faulty", true),
            ("Difference", true),
        ],
        rows: rows.collect(),
    };
    table.to_string()
}

fn registers(statistics: &Statistics) -> String {
    let rows = statistics.registers.iter().map(|register| {
        vec![
            Cell::Code(register.register.clone()),
            Cell::Number(register.reads.golden),
            Cell::Number(register.reads.faulty),
            Cell::Number(register.writes.golden),
            Cell::Number(register.writes.faulty),
        ]
    });
    let table = Table {
        caption: "Registers, by instructions that read and write them",
        columns: &[
            ("Register", false),
            ("Read, golden", true),
            ("Faulty", true),
            ("Written, golden", true),
            ("Faulty", true),
        ],
        rows: rows.collect(),
    };
    table.to_string()
}

fn instructions(context: &Context<'_>, statistics: &Statistics) -> String {
    let rows = statistics.instructions.iter().map(|one| {
        let mut row = vec![
            Cell::Code(format!("{:#x}", one.pc)),
            Cell::Code(one.text.clone()),
            Cell::Html {
                sort: one.pc,
                html: place(context, one),
            },
        ];
        row.extend(both(one.executions));
        row
    });
    let table = Table {
        caption: "Instructions: those that only the faulty run executes, those that only the golden run does, those that both do",
        columns: &[
            ("Address", false),
            ("Instruction", false),
            ("Place", false),
            ("Golden", true),
            ("Faulty", true),
            ("Difference", true),
        ],
        rows: rows.collect(),
    };
    table.to_string()
}

fn place(context: &Context<'_>, one: &InstructionCount) -> String {
    let mut out = Escaped(&readable_name(&one.symbol)).to_string();
    if one.source.is_empty() {
        return out;
    }
    let file = one.source.rsplit('/').next().unwrap_or(&one.source);
    let _ = write!(
        out,
        " <small title=\"{}\">{}</small>",
        Escaped(&one.source),
        Escaped(file)
    );
    if let Some(line) = context.sources.line(&one.source) {
        let _ = write!(out, " <code class=\"line\">{}</code>", Escaped(&line));
    }
    out
}
