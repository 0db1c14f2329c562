//! The executed instructions in order, decoded and located: what the files and the terminal
//! summary are written from.

use std::collections::BTreeMap;

use iced_x86::{
    Decoder, DecoderOptions, Formatter as _, FormatterTextKind, Instruction, IntelFormatter,
    Mnemonic,
};
use rustc_hash::FxHashMap;

use crate::functions::Place;
use crate::model::{InstructionKey, Statistics};
use crate::symbols::{Location, Symbols};

/// One executed static instruction.
#[derive(Clone, Debug)]
pub struct ListedInstruction {
    /// Address and bytes: the key into [`Statistics::instructions`].
    pub key: InstructionKey,
    /// How often it retired.
    pub executions: u64,
    /// Decoded; invalid if the bytes are no instruction.
    pub instruction: Instruction,
    /// Where it comes from.
    pub location: Location,
}

impl ListedInstruction {
    /// The instruction in Intel syntax.
    pub fn text(&self) -> String {
        let mut text = String::new();
        Disassembler::new().write(&self.instruction, &mut text);
        text
    }

    /// The mnemonic in lower case, `(bad)` for what can't be decoded.
    pub fn mnemonic(&self) -> String {
        mnemonic(&self.instruction)
    }
}

/// All executed instructions, by address.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// Sorted by address, then by bytes.
    pub rows: Vec<ListedInstruction>,
}

impl Listing {
    /// Decodes and locates every instruction that was executed.
    pub fn new(statistics: &Statistics) -> Self {
        Self::located(statistics, &mut Symbols::default())
    }

    /// [`Listing::new`], with files of modules that were read ahead.
    pub fn located(statistics: &Statistics, symbols: &mut Symbols) -> Self {
        let executed = statistics
            .instructions
            .iter()
            .filter(|(_, entry)| entry.executions > 0);
        let mut keys: Vec<_> = executed
            .map(|(key, entry)| (*key, entry.executions))
            .collect();
        keys.sort_unstable();
        let places: Vec<_> = keys
            .iter()
            .map(|(key, _)| (key.pc, key.bytes.as_slice()))
            .collect();
        let locations = symbols.locate_all(&statistics.modules, &places);
        let rows = keys
            .iter()
            .zip(locations)
            .map(|((key, executions), location)| ListedInstruction {
                key: *key,
                executions: *executions,
                instruction: decode(key),
                location,
            });
        Listing {
            rows: rows.collect(),
        }
    }

    /// Executions of each mnemonic.
    pub fn mix(&self) -> BTreeMap<String, u64> {
        let mut executions: FxHashMap<Mnemonic, (&Instruction, u64)> = FxHashMap::default();
        for row in &self.rows {
            let entry = executions.entry(row.instruction.mnemonic());
            entry.or_insert((&row.instruction, 0)).1 += row.executions;
        }
        executions
            .into_values()
            .map(|(instruction, executions)| (mnemonic(instruction), executions))
            .collect()
    }

    /// The instructions for [`crate::functions::group`].
    pub fn places(&self) -> impl Iterator<Item = Place<'_>> + Clone {
        self.rows.iter().map(|row| Place {
            pc: row.key.pc,
            offset: row.location.offset,
            module: row.location.module.as_deref().unwrap_or_default(),
            symbol: row.location.symbol.as_deref().unwrap_or_default(),
            instruction: &row.instruction,
            executions: row.executions,
        })
    }
}

fn decode(key: &InstructionKey) -> Instruction {
    Decoder::with_ip(64, key.bytes.as_slice(), key.pc, DecoderOptions::NONE).decode()
}

/// The mnemonic of an instruction as the files write it.
pub(crate) fn mnemonic(instruction: &Instruction) -> String {
    if instruction.is_invalid() {
        return "(bad)".to_owned();
    }
    format!("{:?}", instruction.mnemonic()).to_ascii_lowercase()
}

/// Writes instructions as text in Intel syntax.
pub(crate) struct Disassembler(IntelFormatter);

impl Disassembler {
    /// Numbers in hexadecimal with `0x`, as in the other columns.
    pub(crate) fn new() -> Self {
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_small_hex_numbers_in_decimal(false);
        options.set_space_after_operand_separator(true);
        options.set_branch_leading_zeros(false);
        options.set_show_branch_size(false);
        options.set_rip_relative_addresses(false);
        Disassembler(formatter)
    }

    /// Replaces `text` by the text of the instruction.
    pub(crate) fn write(&mut self, instruction: &Instruction, text: &mut String) {
        text.clear();
        if instruction.is_invalid() {
            text.push_str("(bad)");
            return;
        }
        self.0.format(instruction, &mut Plain(text));
    }
}

/// One instruction in Intel syntax, as in the column `text`.
pub fn instruction_text(instruction: &Instruction) -> String {
    let mut text = String::new();
    Disassembler::new().write(instruction, &mut text);
    text
}

struct Plain<'a>(&'a mut String);

impl iced_x86::FormatterOutput for Plain<'_> {
    fn write(&mut self, text: &str, _kind: FormatterTextKind) {
        self.0.push_str(text);
    }
}
