//! Registers and memory that differ, at each distance from the fault.

use std::fmt::Write as _;

use fits_stats::report::html::Escaped;
use fits_stats::summary::grouped;

use crate::trace::Divergence;
use crate::trace::divergence::{Bytes, Difference, Values};

/// Values that are shown without unfolding.
const SHOWN: usize = 4;

/// Longer values are shown by name only.
const NARROW: usize = 18;

pub(super) fn section(divergence: &Divergence) -> String {
    if divergence.states.is_empty() {
        return String::new();
    }
    let caption = "Registers and memory that differ: golden → faulty";
    let mut out = format!(
        "<h3>The state</h3><div class=\"wide\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
         <table class=\"states\"><caption>{caption}</caption><thead><tr>\
         <th scope=\"col\" class=\"num\">Instructions after the fault</th><th scope=\"col\">Registers</th>\
         <th scope=\"col\" class=\"num\">Bytes of vector and x87 registers</th>\
         <th scope=\"col\">Bytes of memory</th></tr></thead><tbody>\n"
    );
    for state in &divergence.states {
        let _ = writeln!(
            out,
            "<tr><th scope=\"row\" class=\"num\">{}</th><td>{}</td><td class=\"num\">{}</td><td>{}</td></tr>",
            grouped(state.distance),
            registers(state),
            grouped(state.vector_bytes),
            memory(state)
        );
    }
    out.push_str("</tbody></table></div>\n");
    out
}

fn registers(state: &Difference) -> String {
    if state.values.is_empty() {
        return match state.registers.as_slice() {
            [] => "none".to_owned(),
            names => Escaped(&names.join(" ")).to_string(),
        };
    }
    folded(&state.values, "registers", register)
}

fn register(values: &Values, whole: bool) -> String {
    let Values {
        register,
        golden,
        faulty,
    } = values;
    let wide = golden.len().max(faulty.len()) > NARROW;
    if wide && !whole {
        return format!("<span class=\"value\"><b>{}</b></span>", Escaped(register));
    }
    format!(
        "<span class=\"value\"><b>{}</b> <code>{}</code> → <code>{}</code></span>",
        Escaped(register),
        Escaped(golden),
        Escaped(faulty)
    )
}

fn memory(state: &Difference) -> String {
    let Some(count) = state.memory_bytes else {
        return "not compared: too much memory".to_owned();
    };
    if count == 0 {
        return "none".to_owned();
    }
    let named = folded(&state.bytes, "bytes", byte);
    let more = match count.saturating_sub(state.bytes.len() as u64) {
        0 => String::new(),
        more => format!(" <small>and {} more</small>", grouped(more)),
    };
    format!("<b>{}</b> {named}{more}", grouped(count))
}

fn byte(one: &Bytes, _whole: bool) -> String {
    let value = |byte: Option<u8>| byte.map_or("–".to_owned(), |byte| format!("{byte:02x}"));
    format!(
        "<span class=\"value\"><code>{:#x}</code> <code>{}</code> → <code>{}</code></span>",
        one.address,
        value(one.golden),
        value(one.faulty)
    )
}

/// The first few, and all of them to unfold if there are more, or if some are not shown whole.
fn folded<T>(all: &[T], what: &str, show: fn(&T, bool) -> String) -> String {
    let each = |shown: &[T], whole: bool| -> String {
        let each = shown.iter().map(|one| show(one, whole));
        each.collect::<Vec<_>>().join(" ")
    };
    let first = each(&all[..all.len().min(SHOWN)], false);
    let whole = each(all, true);
    if first == whole {
        return first;
    }
    format!(
        "{first} <details class=\"all\"><summary>all {} {what}</summary>{whole}</details>",
        all.len()
    )
}
