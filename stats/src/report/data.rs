//! Reads what the page shows from a golden folder.

use std::collections::HashMap;

use csv::ByteRecord;
use iced_x86::{Decoder, DecoderOptions, Instruction};

use crate::facts::Access;
use crate::folder::{FolderError, GoldenFolder, Rows};
use crate::functions::{Function, Place, group};
use crate::pictures::{BitCount, Pictures};
use crate::write::Summary;

/// At most so many instructions are shown: the page has to stay handy.
pub(super) const MAX_LISTED: usize = 20_000;
/// At most so many functions are shown.
pub(super) const MAX_FUNCTIONS: usize = 400;

/// Everything that the page shows.
pub(super) struct Data {
    pub(super) summary: Summary,
    pub(super) instructions: Vec<InstructionRow>,
    /// All functions, the ones with the most executions first.
    pub(super) functions: Vec<Function>,
    /// How many of the functions are listed on the page.
    pub(super) listed: usize,
    /// Bits of the operands of listed instructions, by index into `instructions`.
    pub(super) operands: HashMap<usize, Vec<OperandBits>>,
    pub(super) pictures: Pictures,
    pub(super) registers: Vec<RegisterRow>,
    pub(super) blocks: Vec<BlockRow>,
    pub(super) mix: Vec<(String, u64)>,
    pub(super) pages: Vec<PageRow>,
    pub(super) syscalls: Vec<SyscallRow>,
    pub(super) histograms: Vec<HistogramRows>,
}

pub(super) struct InstructionRow {
    pub(super) pc: u64,
    pub(super) module: String,
    pub(super) offset: Option<u64>,
    pub(super) symbol: String,
    pub(super) source: String,
    pub(super) bytes: String,
    pub(super) text: String,
    pub(super) executions: u64,
    instruction: Instruction,
}

pub(super) struct OperandBits {
    pub(super) label: String,
    pub(super) access: Access,
    /// Lowest bit first.
    pub(super) bits: Vec<BitCount>,
}

pub(super) struct RegisterRow {
    pub(super) name: String,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) live_fraction: Option<f64>,
}

pub(super) struct BlockRow {
    pub(super) pc: u64,
    pub(super) instructions: u64,
    pub(super) executions: u64,
}

pub(super) struct PageRow {
    pub(super) page: u64,
    pub(super) region: String,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) bytes_read: u64,
    pub(super) bytes_written: u64,
}

pub(super) struct SyscallRow {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) calls: u64,
    pub(super) errors: u64,
}

/// One distribution: values with their counts, ascending.
pub(super) struct HistogramRows {
    pub(super) name: String,
    pub(super) values: Vec<(u64, u64)>,
}

impl Data {
    /// Reads all files of the folder.
    pub(super) fn load(folder: &GoldenFolder) -> Result<Self, FolderError> {
        let instructions = load_instructions(folder)?;
        let functions = group(instructions.iter().map(InstructionRow::place));
        let listed = how_many_to_list(&functions);
        let mut data = Data {
            summary: folder.summary().clone(),
            registers: load_registers(folder)?,
            blocks: load_blocks(folder)?,
            mix: load_mix(folder)?,
            pages: load_pages(folder)?,
            syscalls: load_syscalls(folder)?,
            histograms: load_histograms(folder)?,
            instructions,
            functions,
            listed,
            operands: HashMap::new(),
            pictures: Pictures::default(),
        };
        if folder.has("operand_bits.csv") {
            data.load_operand_bits(folder)?;
        }
        Ok(data)
    }

    /// Sums the bits of registers, and keeps those of the operands of listed instructions.
    fn load_operand_bits(&mut self, folder: &GoldenFolder) -> Result<(), FolderError> {
        let mut is_listed = vec![false; self.instructions.len()];
        for function in &self.functions[..self.listed] {
            function
                .members
                .iter()
                .for_each(|member| is_listed[*member] = true);
        }
        // Where code changed, the operands of all instructions of an address share their rows: they
        // are shown with the first one.
        let mut by_pc: HashMap<u64, usize> = HashMap::new();
        for (index, row) in self.instructions.iter().enumerate() {
            by_pc.entry(row.pc).or_insert(index);
        }
        let mut reader = OperandReader::open(folder)?;
        while let Some((pc, operand)) = reader.next()? {
            let Some(&index) = by_pc.get(&pc) else {
                continue;
            };
            let row = &self.instructions[index];
            let number = operand
                .label
                .bytes()
                .next()
                .map_or(0, |digit| digit.wrapping_sub(b'0'));
            let bits = operand.bits.iter().copied();
            self.pictures
                .add(&row.instruction, number, operand.access, bits);
            if is_listed[index] {
                self.operands.entry(index).or_default().push(operand);
            }
        }
        Ok(())
    }
}

impl InstructionRow {
    fn place(&self) -> Place<'_> {
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

/// The functions with the most executions, as many as fit the page; at least one.
fn how_many_to_list(functions: &[Function]) -> usize {
    let mut instructions = 0;
    let fits = functions.iter().take(MAX_FUNCTIONS).take_while(|function| {
        instructions += function.members.len();
        instructions <= MAX_LISTED
    });
    fits.count().max(1).min(functions.len())
}

/// The fields of a row by column.
struct Fields<'a> {
    rows: &'a Rows,
    row: &'a ByteRecord,
}

impl Fields<'_> {
    fn text(&self, column: usize) -> String {
        String::from_utf8_lossy(&self.row[column]).into_owned()
    }

    fn number(&self, column: usize) -> Result<u64, FolderError> {
        number(&self.row[column])
            .ok_or_else(|| self.rows.malformed(&format!("column {}", column + 1)))
    }

    fn optional_number(&self, column: usize) -> Result<Option<u64>, FolderError> {
        if self.row[column].is_empty() {
            Ok(None)
        } else {
            self.number(column).map(Some)
        }
    }
}

/// Decimal, or hexadecimal with `0x`.
fn number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Reads a whole file; none if its level does not fill it.
fn load<T>(
    folder: &GoldenFolder,
    name: &str,
    columns: &[&str],
    parse: impl Fn(&Fields) -> Result<T, FolderError>,
) -> Result<Vec<T>, FolderError> {
    let mut all = Vec::new();
    if folder.has(name) {
        let mut rows = folder.rows(name, columns)?;
        let mut row = ByteRecord::new();
        while rows.next(&mut row)? {
            all.push(parse(&Fields {
                rows: &rows,
                row: &row,
            })?);
        }
    }
    Ok(all)
}

fn load_instructions(folder: &GoldenFolder) -> Result<Vec<InstructionRow>, FolderError> {
    let columns = [
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
    let mut instructions = load(folder, "instructions.csv", &columns, |row| {
        let (pc, bytes) = (row.number(0)?, row.text(5));
        let instruction = decode(pc, &bytes).ok_or_else(|| row.rows.malformed("column bytes"))?;
        Ok(InstructionRow {
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

fn decode(pc: u64, bytes: &str) -> Option<Instruction> {
    let code: Option<Vec<u8>> = (0..bytes.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(bytes.get(at..at + 2)?, 16).ok())
        .collect();
    Some(Decoder::with_ip(64, &code?, pc, DecoderOptions::NONE).decode())
}

fn load_registers(folder: &GoldenFolder) -> Result<Vec<RegisterRow>, FolderError> {
    let columns = ["register", "reads", "writes", "live_fraction"];
    load(folder, "registers.csv", &columns, |row| {
        Ok(RegisterRow {
            name: row.text(0),
            reads: row.number(1)?,
            writes: row.number(2)?,
            live_fraction: row.text(3).parse().ok(),
        })
    })
}

fn load_blocks(folder: &GoldenFolder) -> Result<Vec<BlockRow>, FolderError> {
    load(
        folder,
        "blocks.csv",
        &["pc", "instructions", "executions"],
        |row| {
            Ok(BlockRow {
                pc: row.number(0)?,
                instructions: row.number(1)?,
                executions: row.number(2)?,
            })
        },
    )
}

fn load_mix(folder: &GoldenFolder) -> Result<Vec<(String, u64)>, FolderError> {
    load(folder, "mix.csv", &["mnemonic", "executions"], |row| {
        Ok((row.text(0), row.number(1)?))
    })
}

fn load_pages(folder: &GoldenFolder) -> Result<Vec<PageRow>, FolderError> {
    let columns = [
        "page",
        "region",
        "reads",
        "writes",
        "bytes_read",
        "bytes_written",
    ];
    load(folder, "memory.csv", &columns, |row| {
        Ok(PageRow {
            page: row.number(0)?,
            region: row.text(1),
            reads: row.number(2)?,
            writes: row.number(3)?,
            bytes_read: row.number(4)?,
            bytes_written: row.number(5)?,
        })
    })
}

fn load_syscalls(folder: &GoldenFolder) -> Result<Vec<SyscallRow>, FolderError> {
    load(
        folder,
        "syscalls.csv",
        &["number", "name", "calls", "errors"],
        |row| {
            Ok(SyscallRow {
                number: row.number(0)?,
                name: row.text(1),
                calls: row.number(2)?,
                errors: row.number(3)?,
            })
        },
    )
}

fn load_histograms(folder: &GoldenFolder) -> Result<Vec<HistogramRows>, FolderError> {
    let columns = ["histogram", "percentile", "value", "count"];
    let rows = load(folder, "histograms.csv", &columns, |row| {
        Ok((row.text(0), row.number(2)?, row.number(3)?))
    })?;
    let same = rows.chunk_by(|a, b| a.0 == b.0);
    Ok(same
        .map(|rows| HistogramRows {
            name: rows[0].0.clone(),
            values: rows
                .iter()
                .map(|(_, value, count)| (*value, *count))
                .collect(),
        })
        .collect())
}

/// Reads `operand_bits.csv` operand by operand.
struct OperandReader {
    rows: Rows,
    row: ByteRecord,
    more: bool,
}

impl OperandReader {
    fn open(folder: &GoldenFolder) -> Result<Self, FolderError> {
        let columns = ["pc", "operand", "access", "width", "bit", "ones", "zeros"];
        let mut rows = folder.rows("operand_bits.csv", &columns)?;
        let mut row = ByteRecord::new();
        let more = rows.next(&mut row)?;
        Ok(OperandReader { rows, row, more })
    }

    /// The next operand with its address.
    fn next(&mut self) -> Result<Option<(u64, OperandBits)>, FolderError> {
        if !self.more {
            return Ok(None);
        }
        let first = self.row.clone();
        let fields = Fields {
            rows: &self.rows,
            row: &first,
        };
        let pc = fields.number(0)?;
        let mut operand = OperandBits {
            label: fields.text(1),
            access: if &first[2] == b"read" {
                Access::Read
            } else {
                Access::Written
            },
            bits: Vec::new(),
        };
        while self.more && (0..4).all(|column| self.row[column] == first[column]) {
            let fields = Fields {
                rows: &self.rows,
                row: &self.row,
            };
            let bit = fields.number(4)? as usize;
            if bit >= 8 * crate::facts::MAX_OPERAND {
                return Err(self.rows.malformed("column bit"));
            }
            if operand.bits.len() <= bit {
                operand.bits.resize(bit + 1, BitCount::default());
            }
            operand.bits[bit] = BitCount {
                ones: fields.number(5)?,
                zeros: fields.number(6)?,
            };
            self.more = self.rows.next(&mut self.row)?;
        }
        Ok(Some((pc, operand)))
    }
}
