//! A golden run's page: its summary, and the sections in their order.

use std::fmt::Write as _;

use super::data::Data;
use super::shell::{Facts, Page, Section, warning};
use super::{code, figures, memory, tables};
use crate::summary::{end_sentence, grouped};
use crate::write::{ExitSummary, Summary};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn page(data: &Data) -> String {
    let section = |id, title, body| Section { id, title, body };
    let sections = [
        section("code", "Code", code::section(data)),
        section("bits", "Register bits", bits_section(data)),
        section(
            "registers",
            "Registers and lifetimes",
            tables::registers(data),
        ),
        section("histograms", "Distributions", figures::section(data)),
        section("memory", "Memory", memory::section(data)),
        section("blocks", "Basic blocks", tables::blocks(data)),
        section("mix", "Instruction mix", tables::mix(data)),
        section("syscalls", "System calls", tables::syscalls(data)),
    ];
    let summary = &data.summary;
    let program = &summary.program;
    let mut command = vec![program.as_str()];
    command.extend(summary.arguments.iter().skip(1).map(String::as_str));
    let good = matches!(summary.exit, ExitSummary::Exited { .. }) && summary.complete;
    let page = Page {
        title: &format!("Golden run of {program}"),
        kicker: "Golden run",
        heading: program.rsplit('/').next().unwrap_or(program),
        command: &command.join(" "),
        end: (&capitalised(&end_sentence(&summary.exit)), good),
        summary_html: &summary_section(data),
        sections: &sections,
        data: Some(&code::embedded(data)),
        style: STYLE,
        script: SCRIPT,
        version: &summary.version,
    };
    page.to_html()
}

fn capitalised(sentence: &str) -> String {
    let mut characters = sentence.chars();
    let first = characters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(characters).collect()
}

fn summary_section(data: &Data) -> String {
    let summary = &data.summary;
    let mut out = String::new();
    if let Some(reason) = &summary.incomplete {
        out.push_str(&warning("Incomplete", reason));
    }
    for sentence in &summary.warnings {
        out.push_str(&warning("Warning", sentence));
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
    out
}

fn facts(summary: &Summary) -> String {
    let mut facts = Facts::default();
    let mut fact = |title: &str, text: &str| facts.add(title, text);
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
        fact(&format!("Output {}", output.name), &text);
    }
    facts.to_html()
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
