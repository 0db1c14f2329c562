//! The instructions of a golden run, read from its folder.

use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::folder::{FolderError, GoldenFolder};
use crate::functions::Place;

/// Columns of `instructions.csv`.
const COLUMNS: [&str; 9] = [
    "pc",
    "module",
    "offset",
    "symbol",
    "source",
    "bytes",
    "mnemonic",
    "text",
    "executions",
];

/// A row of `instructions.csv`.
#[derive(Clone, Debug)]
pub struct ListedInstruction {
    /// Its address.
    pub pc: u64,
    /// Path of its module, or empty.
    pub module: String,
    /// Its address in the module's file, if known.
    pub offset: Option<u64>,
    /// Its symbol, or empty.
    pub symbol: String,
    /// `file:line`, or empty.
    pub source: String,
    /// Its bytes in hexadecimal.
    pub bytes: String,
    /// Disassembled.
    pub text: String,
    /// How often it retired, in all threads together.
    pub executions: u64,
    /// Decoded.
    pub instruction: Instruction,
}

/// All of them, by address. Where code changed, an address has several.
pub fn instructions(folder: &GoldenFolder) -> Result<Vec<ListedInstruction>, FolderError> {
    let mut instructions = folder.load("instructions.csv", &COLUMNS, |row| {
        let (pc, bytes) = (row.number(0)?, row.text(5));
        let instruction = decode(pc, &bytes).ok_or_else(|| row.malformed("column bytes"))?;
        Ok(ListedInstruction {
            pc,
            module: row.text(1),
            offset: row.optional_number(2)?,
            symbol: row.text(3),
            source: row.text(4),
            bytes,
            text: row.text(7),
            executions: row.number(8)?,
            instruction,
        })
    })?;
    instructions.sort_by_key(|row| row.pc);
    Ok(instructions)
}

impl ListedInstruction {
    /// What functions are found by.
    pub fn place(&self) -> Place<'_> {
        Place {
            pc: self.pc,
            offset: self.offset,
            module: &self.module,
            symbol: &self.symbol,
            instruction: &self.instruction,
            executions: self.executions,
        }
    }
}

fn decode(pc: u64, bytes: &str) -> Option<Instruction> {
    let code: Option<Vec<u8>> = (0..bytes.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(bytes.get(at..at + 2)?, 16).ok())
        .collect();
    Some(Decoder::with_ip(64, &code?, pc, DecoderOptions::NONE).decode())
}
