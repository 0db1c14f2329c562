//! The annotated disassembly, and the bit pictures: the data that the script draws them from.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::data::{Data, OperandBits};
use super::html::{Escaped, percent_text, ratio, script_json};
use crate::facts::Access;
use crate::functions::Function;
use crate::listing::ListedInstruction;
use crate::pictures::BitCount;
use crate::summary::{grouped, readable_name};

/// The list of functions; each one's instructions appear when it is opened.
pub(super) fn section(data: &Data) -> String {
    let total = data.summary.instructions;
    let hottest = data
        .functions
        .first()
        .map_or(0, |function| function.executions);
    let mut out = coverage_note(data);
    out.push_str(
        "<p class=\"tools\"><label for=\"filter\">Show functions whose name contains</label> \
         <input id=\"filter\" type=\"search\" autocomplete=\"off\"> \
         <span id=\"filtered\" role=\"status\"></span></p>\n<div id=\"functions\">\n",
    );
    for (index, function) in data.functions[..data.listed].iter().enumerate() {
        let share = ratio(function.executions, total);
        let name = readable_name(&function.name);
        let class = if function.has_symbol {
            ""
        } else {
            " class=\"unnamed\""
        };
        let _ = writeln!(
            out,
            "<details class=\"function\" data-index=\"{index}\"><summary>\
             <span class=\"meter\" style=\"--p:{:.2}%\"></span>\
             <span class=\"share\">{}</span>\
             <span class=\"name\"><code{class}>{}</code> <small>{}</small></span>\
             <span class=\"counts\">{} executions of {} instructions</span>\
             </summary></details>",
            ratio(function.executions, hottest) * 100.0,
            percent_text(share),
            Escaped(&name),
            Escaped(function.module_name()),
            grouped(function.executions),
            grouped(function.members.len() as u64),
        );
    }
    out.push_str("</div>\n<p><button type=\"button\" id=\"all\" hidden></button></p>\n<noscript><p>The listings need JavaScript.</p></noscript>\n");
    out
}

/// How much of the run the listed functions are.
fn coverage_note(data: &Data) -> String {
    let mut note = "<p class=\"note\">".to_owned();
    if data.listed < data.functions.len() {
        let executions = |functions: &[Function]| functions.iter().map(|f| f.executions).sum();
        let listed: u64 = executions(&data.functions[..data.listed]);
        let _ = write!(
            note,
            "The {} functions with the most executions, {} of all executed instructions. \
             The other {} functions are in instructions.csv. ",
            grouped(data.listed as u64),
            percent_text(ratio(listed, data.summary.instructions)),
            grouped((data.functions.len() - data.listed) as u64),
        );
    }
    if data.functions[..data.listed]
        .iter()
        .any(|function| !function.has_symbol)
    {
        note.push_str(
            "Code without symbols is divided where calls lead to and named by address: \
             <code class=\"unnamed\">sub_…</code> ",
        );
    }
    note.push_str("Open a function to see its instructions, and an instruction to see its operands' bits.</p>\n");
    note
}

/// What the script needs to draw listings and bit pictures.
pub(super) fn embedded(data: &Data) -> String {
    let functions: Vec<Value> = data.functions[..data.listed]
        .iter()
        .map(|function| function_json(data, function))
        .collect();
    let registers: Vec<Value> = data
        .pictures
        .registers
        .iter()
        .map(|(register, picture)| {
            json!({
                "name": register.name(),
                "read": bits_json(&picture.read),
                "written": bits_json(&picture.written),
            })
        })
        .collect();
    let hottest = data
        .instructions
        .iter()
        .map(|row| row.executions)
        .max()
        .unwrap_or_default();
    script_json(&json!({ "hottest": hottest, "functions": functions, "registers": registers }))
}

/// Addresses relative to the first, and sources as indices, keep the page small.
fn function_json(data: &Data, function: &Function) -> Value {
    let mut sources: Vec<&str> = Vec::new();
    let mut rows = Vec::new();
    for &member in &function.members {
        let row = &data.instructions[member];
        let source = short_source(row);
        if sources.last() != Some(&source) {
            sources.push(source);
        }
        let operands = data
            .operands
            .get(&member)
            .map(|operands| operands_json(operands));
        rows.push(json!([
            format!("{:x}", row.pc),
            row.bytes,
            row.text,
            sources.len() - 1,
            row.executions,
            operands,
        ]));
    }
    let first = &data.instructions[function.members[0]];
    json!({
        "module": function.module,
        "offset": first.offset.map(|offset| format!("{offset:#x}")),
        "sources": sources,
        "rows": rows,
    })
}

/// The last two parts of the path and the line.
fn short_source(row: &ListedInstruction) -> &str {
    let cut = row.source.rmatch_indices('/').nth(1);
    cut.map_or(&row.source, |(at, _)| &row.source[at + 1..])
}

fn operands_json(operands: &[OperandBits]) -> Value {
    operands
        .iter()
        .map(|operand| {
            let access = if operand.access == Access::Read {
                "read"
            } else {
                "written"
            };
            let values = operand.bits.first().map_or(0, |bit| bit.ones + bit.zeros);
            json!([operand.label, access, values, levels(&operand.bits)])
        })
        .collect()
}

/// One character a bit, highest first: `0` and `1` for bits that never changed, `a` to `z` for the
/// share of ones between, `.` for bits that were never seen.
fn levels(bits: &[BitCount]) -> String {
    bits.iter()
        .rev()
        .map(|bit| match bit.share() {
            None => '.',
            Some(_) if bit.ones == 0 => '0',
            Some(_) if bit.zeros == 0 => '1',
            Some(share) => char::from(b'a' + (share * 26.0).min(25.0) as u8),
        })
        .collect()
}

/// Ones and zeros of every bit, lowest first.
fn bits_json(bits: &[BitCount]) -> Value {
    bits.iter()
        .map(|bit| json!([bit.ones, bit.zeros]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_keep_constant_bits_apart() {
        let bits = [(0, 0), (0, 9), (9, 0), (1, 999_999), (999_999, 1), (1, 1)];
        let bits = bits.map(|(ones, zeros)| BitCount { ones, zeros });
        assert_eq!(levels(&bits), "nza10.");
    }
}
