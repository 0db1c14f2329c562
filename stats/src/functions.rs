//! Puts executed instructions together by function, with or without symbols.
//!
//! Many programs are delivered without symbols. There the targets of direct calls tell where functions
//! begin; they are named by their address (`sub_4f20`), which is no symbol and never written as one.

use std::collections::BTreeSet;

use iced_x86::{FlowControl, Instruction};

/// One instruction, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Its address.
    pub pc: u64,
    /// Its address in the module's file, if known.
    pub offset: Option<u64>,
    /// Path of its module, or empty.
    pub module: &'a str,
    /// Its symbol, or empty.
    pub symbol: &'a str,
    /// Decoded.
    pub instruction: &'a Instruction,
    /// How often it retired.
    pub executions: u64,
}

/// A function: some of the instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Path of its module, or empty.
    pub module: String,
    /// Its symbol, or `sub_…` if it has none.
    pub name: String,
    /// Whether the name is a symbol.
    pub has_symbol: bool,
    /// Executions of all its instructions.
    pub executions: u64,
    /// Which of the given instructions belong to it, ascending.
    pub members: Vec<usize>,
}

impl Function {
    /// The last part of the module's path, empty if there is no module.
    pub fn module_name(&self) -> &str {
        self.module.rsplit('/').next().unwrap_or_default()
    }
}

/// Groups instructions, which must be sorted by address. Functions with the most executions come first.
pub fn group<'a>(places: impl Iterator<Item = Place<'a>> + Clone) -> Vec<Function> {
    let called: BTreeSet<u64> = places
        .clone()
        .filter_map(|place| call_target(place.instruction))
        .collect();
    let mut functions: Vec<Function> = Vec::new();
    let mut by_name = std::collections::HashMap::new();
    let mut unnamed_start = 0;
    let mut before: Option<Place> = None;
    for (index, place) in places.enumerate() {
        let follows = before.is_some_and(|before| {
            before.module == place.module && before.symbol.is_empty() && place.symbol.is_empty()
        });
        if !follows || called.contains(&place.pc) {
            unnamed_start = place.offset.unwrap_or(place.pc);
        }
        let has_symbol = !place.symbol.is_empty();
        let name = match has_symbol {
            true => place.symbol.to_owned(),
            false => format!("sub_{unnamed_start:x}"),
        };
        let slot = *by_name
            .entry((place.module, name.clone()))
            .or_insert_with(|| {
                let module = place.module.to_owned();
                functions.push(Function {
                    module,
                    name,
                    has_symbol,
                    executions: 0,
                    members: vec![],
                });
                functions.len() - 1
            });
        functions[slot].executions += place.executions;
        functions[slot].members.push(index);
        before = Some(place);
    }
    functions.sort_by_key(|function| std::cmp::Reverse(function.executions));
    functions
}

fn call_target(instruction: &Instruction) -> Option<u64> {
    (instruction.flow_control() == FlowControl::Call && instruction.near_branch_target() != 0)
        .then(|| instruction.near_branch_target())
}

#[cfg(test)]
mod tests {
    use iced_x86::{Decoder, DecoderOptions};

    use super::*;

    #[test]
    fn call_targets_divide_code_without_symbols() {
        // call 0x1006; nop | 0x1006: nop; 0x1007: nop; with a symbol: nop
        let code: [(u64, &[u8], &str); 5] = [
            (0x1000, &[0xe8, 0x01, 0, 0, 0], ""),
            (0x1005, &[0x90], ""),
            (0x1006, &[0x90], ""),
            (0x1007, &[0x90], ""),
            (0x1008, &[0x90], "named"),
        ];
        let decoded = code
            .map(|(pc, bytes, _)| Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode());
        let places = code
            .iter()
            .zip(&decoded)
            .map(|((pc, _, symbol), instruction)| Place {
                pc: *pc,
                offset: Some(pc - 0x1000),
                module: "/bin/m",
                symbol,
                instruction,
                executions: if *pc >= 0x1006 { 10 } else { 1 },
            });
        let functions = group(places);
        let found: Vec<_> = functions
            .iter()
            .map(|f| (&*f.name, f.executions, f.members.clone()))
            .collect();
        assert_eq!(
            found,
            [
                ("sub_6", 20, vec![2, 3]),
                ("named", 10, vec![4]),
                ("sub_0", 2, vec![0, 1]),
            ]
        );
        assert!(functions[1].has_symbol && !functions[0].has_symbol);
        assert_eq!(functions[0].module_name(), "m");
    }
}
