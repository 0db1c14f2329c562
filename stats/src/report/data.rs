//! Reads what the page shows from a golden folder.

use std::collections::HashMap;

use csv::ByteRecord;

use crate::facts::Access;
use crate::folder::{Fields, FolderError, GoldenFolder, Rows};
use crate::functions::{Function, group};
use crate::listing::{ListedInstruction, instructions};
use crate::pictures::{BitCount, Pictures};
use crate::write::Summary;

/// At most so many instructions are shown: the page has to stay handy.
pub(super) const MAX_LISTED: usize = 20_000;
/// At most so many functions are shown.
pub(super) const MAX_FUNCTIONS: usize = 400;

/// Everything that the page shows.
pub(super) struct Data {
    pub(super) summary: Summary,
    pub(super) instructions: Vec<ListedInstruction>,
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
        let instructions = instructions(folder)?;
        let functions = group(instructions.iter().map(ListedInstruction::place));
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

/// The functions with the most executions, as many as fit the page; at least one.
fn how_many_to_list(functions: &[Function]) -> usize {
    let mut instructions = 0;
    let fits = functions.iter().take(MAX_FUNCTIONS).take_while(|function| {
        instructions += function.members.len();
        instructions <= MAX_LISTED
    });
    fits.count().max(1).min(functions.len())
}

fn load_registers(folder: &GoldenFolder) -> Result<Vec<RegisterRow>, FolderError> {
    let columns = ["register", "reads", "writes", "live_fraction"];
    folder.load("registers.csv", &columns, |row| {
        Ok(RegisterRow {
            name: row.text(0),
            reads: row.number(1)?,
            writes: row.number(2)?,
            live_fraction: row.text(3).parse().ok(),
        })
    })
}

fn load_blocks(folder: &GoldenFolder) -> Result<Vec<BlockRow>, FolderError> {
    folder.load("blocks.csv", &["pc", "instructions", "executions"], |row| {
        Ok(BlockRow {
            pc: row.number(0)?,
            instructions: row.number(1)?,
            executions: row.number(2)?,
        })
    })
}

fn load_mix(folder: &GoldenFolder) -> Result<Vec<(String, u64)>, FolderError> {
    folder.load("mix.csv", &["mnemonic", "executions"], |row| {
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
    folder.load("memory.csv", &columns, |row| {
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
    folder.load(
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
    let rows = folder.load("histograms.csv", &columns, |row| {
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
        let fields = Fields::new(&self.rows, &first);
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
            let fields = Fields::new(&self.rows, &self.row);
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
