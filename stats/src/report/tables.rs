//! The sections that are tables: blocks, mix, registers, system calls.

use super::data::Data;
use super::html::{Cell, Table, ratio};

/// How many of the hottest blocks are shown.
const MAX_BLOCKS: usize = 50;

/// Instruction mix.
pub(super) fn mix(data: &Data) -> String {
    let total = data.summary.instructions;
    let mut mix: Vec<_> = data.mix.iter().collect();
    mix.sort_by_key(|(mnemonic, executions)| (std::cmp::Reverse(*executions), mnemonic.clone()));
    let rows = mix.into_iter().map(|(mnemonic, executions)| {
        vec![
            Cell::Code(mnemonic.clone()),
            Cell::Number(*executions),
            Cell::Share(ratio(*executions, total)),
        ]
    });
    let table = Table {
        caption: "Executions by mnemonic",
        columns: &[("Mnemonic", false), ("Executions", true), ("Share", true)],
        rows: rows.collect(),
    };
    table.to_string()
}

/// The blocks in which most instructions were executed.
pub(super) fn blocks(data: &Data) -> String {
    let total = data.summary.instructions;
    let mut blocks: Vec<_> = data.blocks.iter().collect();
    let weight = |block: &&super::data::BlockRow| block.instructions * block.executions;
    blocks.sort_by_key(|block| (std::cmp::Reverse(weight(block)), block.pc));
    let shown = blocks.iter().take(MAX_BLOCKS).map(|block| {
        vec![
            Cell::Code(format!("{:#x}", block.pc)),
            Cell::Text(function_at(data, block.pc)),
            Cell::Number(block.instructions),
            Cell::Number(block.executions),
            Cell::Share(ratio(weight(block), total)),
        ]
    });
    let table = Table {
        caption: "Basic blocks",
        columns: &[
            ("Address", false),
            ("Function", false),
            ("Instructions", true),
            ("Executions", true),
            ("Share of all instructions", true),
        ],
        rows: shown.collect(),
    };
    let note = match blocks.len() {
        all if all > MAX_BLOCKS => {
            let all = crate::summary::grouped(all as u64);
            format!(
                "<p class=\"note\">The {MAX_BLOCKS} heaviest of {all}; all are in blocks.csv.</p>"
            )
        }
        _ => String::new(),
    };
    format!("{note}{table}")
}

fn function_at(data: &Data, pc: u64) -> String {
    let Ok(index) = data.instructions.binary_search_by_key(&pc, |row| row.pc) else {
        return String::new();
    };
    let function = data
        .functions
        .iter()
        .find(|f| f.members.binary_search(&index).is_ok());
    function.map_or(String::new(), |f| {
        crate::summary::readable_name(&f.name).into_owned()
    })
}

/// Reads, writes and lifetimes.
pub(super) fn registers(data: &Data) -> String {
    let live = data
        .registers
        .iter()
        .any(|register| register.live_fraction.is_some());
    let rows = data.registers.iter().map(|register| {
        let mut row = vec![
            Cell::Code(register.name.clone()),
            Cell::Number(register.reads),
            Cell::Number(register.writes),
        ];
        if live {
            row.push(register.live_fraction.map_or(Cell::Empty, Cell::Share));
        }
        row
    });
    let columns = [
        ("Register", false),
        ("Reads", true),
        ("Writes", true),
        ("Live", true),
    ];
    let table = Table {
        caption: "Registers and flags",
        columns: if live { &columns } else { &columns[..3] },
        rows: rows.collect(),
    };
    let note = if live {
        "<p class=\"note\">Live is the share of all points of the run at which the register held a \
         value that was still to be read: a fault there could still do something.</p>"
    } else {
        "<p class=\"note\">Lifetimes are collected with <code>--stats full</code>.</p>"
    };
    format!("{note}{table}")
}

/// System calls.
pub(super) fn syscalls(data: &Data) -> String {
    let rows = data.syscalls.iter().map(|call| {
        vec![
            Cell::Code(call.name.clone()),
            Cell::Number(call.number),
            Cell::Number(call.calls),
            Cell::Number(call.errors),
        ]
    });
    let table = Table {
        caption: "System calls",
        columns: &[
            ("Name", false),
            ("Number", true),
            ("Calls", true),
            ("Errors", true),
        ],
        rows: rows.collect(),
    };
    table.to_string()
}
