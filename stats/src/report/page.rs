//! The frame of the page: head, navigation, summary, and the sections in their order.

use std::fmt::Write as _;

use super::data::Data;
use super::html::Escaped;
use super::{code, figures, memory, tables};
use crate::summary::{end_sentence, grouped};
use crate::write::{ExitSummary, Summary};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn page(data: &Data) -> String {
    let title = format!("Golden run of {}", data.summary.program);
    let sections = [
        ("code", "Code", code::section(data)),
        ("bits", "Register bits", bits_section(data)),
        (
            "registers",
            "Registers and lifetimes",
            tables::registers(data),
        ),
        ("histograms", "Distributions", figures::section(data)),
        ("memory", "Memory", memory::section(data)),
        ("blocks", "Basic blocks", tables::blocks(data)),
        ("mix", "Instruction mix", tables::mix(data)),
        ("syscalls", "System calls", tables::syscalls(data)),
    ];
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#summary\">Skip to the content</a>\n{}",
        Escaped(&title),
        navigation(&sections),
    );
    let _ = write!(out, "<main>\n{}", header(&data.summary));
    let _ = write!(out, "{}", summary_section(data));
    for (id, title, body) in &sections {
        let _ = write!(
            out,
            "<section id=\"{id}\" aria-labelledby=\"{id}-title\">\
             <h2 id=\"{id}-title\">{title}</h2>\n{body}\n</section>\n"
        );
    }
    let _ = write!(
        out,
        "</main>\n<footer><p>Written by fits {}.</p></footer>\n\
         <script type=\"application/json\" id=\"data\">{}</script>\n<script>\n{SCRIPT}</script>\n\
         </body>\n</html>\n",
        Escaped(&data.summary.version),
        code::embedded(data),
    );
    out
}

fn navigation(sections: &[(&str, &str, String)]) -> String {
    let mut out = "<nav aria-label=\"Sections\"><p class=\"brand\">fits</p><ul>\
                   <li><a href=\"#summary\">Summary</a></li>"
        .to_owned();
    for (id, title, _) in sections {
        let _ = write!(out, "<li><a href=\"#{id}\">{title}</a></li>");
    }
    out.push_str("</ul><button type=\"button\" id=\"theme\">Change to dark</button></nav>\n");
    out
}

fn header(summary: &Summary) -> String {
    let program = &summary.program;
    let name = program.rsplit('/').next().unwrap_or(program);
    let mut command = vec![program.as_str()];
    command.extend(summary.arguments.iter().skip(1).map(String::as_str));
    let good = matches!(summary.exit, ExitSummary::Exited { .. }) && summary.complete;
    let class = if good { "end" } else { "end bad" };
    format!(
        "<header><p class=\"kicker\">Golden run</p><h1>{}</h1>\n\
         <p class=\"command\"><code>{}</code></p>\n<p class=\"{class}\">{}</p></header>\n",
        Escaped(name),
        Escaped(&command.join(" ")),
        Escaped(&capitalised(&end_sentence(&summary.exit))),
    )
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn summary_section(data: &Data) -> String {
    let summary = &data.summary;
    let mut out = "<section id=\"summary\" tabindex=\"-1\" aria-label=\"Summary\">\n".to_owned();
    if let Some(reason) = &summary.incomplete {
        let _ = writeln!(
            out,
            "<p class=\"warning\"><strong>Incomplete:</strong> {}</p>",
            Escaped(reason)
        );
    }
    for warning in &summary.warnings {
        let _ = writeln!(
            out,
            "<p class=\"warning\"><strong>Warning:</strong> {}</p>",
            Escaped(warning)
        );
    }
    let figures = [
        ("instruction", " retired", summary.instructions),
        ("static instruction", "", data.instructions.len() as u64),
        ("function", "", data.functions.len() as u64),
        ("basic block", "", data.blocks.len() as u64),
        (
            "system call",
            "",
            data.syscalls.iter().map(|call| call.calls).sum(),
        ),
        ("thread", "", summary.threads.len() as u64),
    ];
    out.push_str("<dl class=\"figures\">");
    for (what, how, number) in figures {
        let (s, number) = (if number == 1 { "" } else { "s" }, grouped(number));
        let _ = write!(out, "<div><dt>{what}{s}{how}</dt><dd>{number}</dd></div>");
    }
    let _ = write!(out, "</dl>\n{}", facts(summary));
    out.push_str("</section>\n");
    out
}

fn facts(summary: &Summary) -> String {
    let mut out = "<dl class=\"facts\">".to_owned();
    let mut fact = |title: &str, text: &str| {
        let _ = write!(out, "<div><dt>{title}</dt><dd>{}</dd></div>", Escaped(text));
    };
    fact(
        "Backend and level",
        &format!("{}, {}", summary.backend.name(), summary.level.name()),
    );
    fact(
        "Start",
        if summary.controlled {
            "controlled"
        } else {
            "raw environment"
        },
    );
    fact("Time", &time(summary));
    for thread in summary.threads.iter().filter(|_| summary.threads.len() > 1) {
        let title = match thread.process {
            0 => format!("Thread {}", thread.thread),
            process => format!("Process {process}, thread {}", thread.thread),
        };
        fact(
            &title,
            &format!("{} instructions", grouped(thread.instructions)),
        );
    }
    fact("Working directory", &summary.working_directory);
    fact("SHA-256 of the program", &summary.program_sha256);
    for output in &summary.outputs {
        let text = format!("{} bytes, SHA-256 {}", grouped(output.bytes), output.sha256);
        fact(&format!("Output {}", Escaped(&output.name)), &text);
    }
    out.push_str("</dl>\n");
    out
}

fn time(summary: &Summary) -> String {
    let mut text = format!("{:.3} s", summary.times.elapsed);
    if let (Some(native), Some(slowdown)) = (summary.times.native, summary.slowdown) {
        let _ = write!(
            text,
            ", natively {native:.3} s ({slowdown:.1} times as long)"
        );
    }
    text
}

fn bits_section(data: &Data) -> String {
    if data.pictures.registers.is_empty() {
        return "<p class=\"note\">Operand bits are collected with <code>--stats full</code>.</p>"
            .to_owned();
    }
    "<p class=\"note\">How often each bit of a register was 1, over all executed instructions that name \
     the register, or a part of it, as an operand. Move over a bit, or go through a picture with the arrow \
     keys, for the numbers.</p>\n\
     <p class=\"legend\"><span class=\"key zero\"></span> always 0 \
     <span class=\"key ramp\"></span> rarely to nearly always 1 \
     <span class=\"key one\"></span> always 1 <span class=\"key never\"></span> never seen</p>\n\
     <p id=\"readout\" role=\"status\">No bit chosen.</p>\n<div id=\"pictures\"></div>\n\
     <noscript><p>The pictures need JavaScript.</p></noscript>"
        .to_owned()
}
