//! Source lines, straight from the line programs of `.debug_line`.
//!
//! One pass over the programs gives all rows, with no need of the (much larger) other sections of debugging information. Files and
//! directories are made into text for rows that are asked for only.

use std::ops::Range;
use std::sync::Arc;

use gimli::{
    AttributeValue, DebugLine, DebugLineOffset, DebugLineStr, DebugStr, EndianSlice, Format,
    LineProgramHeader, LittleEndian,
};

use super::elf::ElfFile;

/// Roughly, in a line program.
const BYTES_PER_ROW: usize = 3;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// All lines of a file, or those for some addresses.
pub(super) struct LineTable {
    lines: Vec<u8>,
    strings: Vec<u8>,
    line_strings: Vec<u8>,
    rows: Vec<Row>,
    sequences: Vec<Sequence>,
}

/// From this address on, up to the next row's, the code is from this line.
#[derive(Clone, Copy)]
struct Row {
    address: u64,
    file: u32,
    line: u32,
}

/// A run of ascending rows, the last of which only ends it.
struct Sequence {
    /// Offset of its program.
    program: usize,
    rows: Range<usize>,
}

impl LineTable {
    /// Reads the lines of a file; with `wanted`, sorted addresses, only what these need.
    pub(super) fn load(elf: &ElfFile, wanted: Option<&[u64]>) -> Self {
        let section = |name| elf.debug_section(name).unwrap_or_default();
        let mut table = LineTable {
            lines: section(".debug_line"),
            strings: section(".debug_str"),
            line_strings: section(".debug_line_str"),
            rows: Vec::new(),
            sequences: Vec::new(),
        };
        let lines = std::mem::take(&mut table.lines);
        if wanted.is_none() {
            // About as many as there are; memory that stays untouched costs nothing, growing does.
            table.rows.reserve(lines.len() / BYTES_PER_ROW);
        }
        // A damaged section ends the search; what was found before stays.
        let _ = table.read(&lines, wanted);
        table.lines = lines;
        table
    }

    fn read(&mut self, section: &[u8], wanted: Option<&[u64]>) -> gimli::Result<()> {
        let lines = DebugLine::new(section, LittleEndian);
        let mut at = 0;
        while at < section.len() {
            let program = lines.program(DebugLineOffset(at), 8, None, None)?;
            let header = program.header();
            let length = match header.format() {
                Format::Dwarf32 => 4,
                Format::Dwarf64 => 12,
            };
            let next = at + length + header.unit_length();
            let mut first = self.rows.len();
            let mut rows = program.rows();
            while let Some((_, row)) = rows.next_row()? {
                let last = self.rows[first..].last();
                if last.is_some_and(|last| row.address() < last.address) {
                    self.end_sequence(at, &mut first, wanted);
                }
                self.rows.push(Row {
                    address: row.address(),
                    file: row.file_index() as u32,
                    line: row.line().map_or(0, |line| line.get() as u32),
                });
                if row.end_sequence() {
                    self.end_sequence(at, &mut first, wanted);
                }
            }
            self.end_sequence(at, &mut first, wanted);
            at = next;
        }
        Ok(())
    }

    /// The rows from `first` on are a sequence; the next one begins behind them.
    fn end_sequence(&mut self, program: usize, first: &mut usize, wanted: Option<&[u64]>) {
        let rows = &self.rows[*first..];
        let (Some(begin), Some(end)) = (rows.first(), rows.last()) else {
            return;
        };
        // Code that the linker left out has addresses from 0 on, which are those of other code.
        let discarded = begin.address == 0 || begin.address == end.address;
        let needed =
            wanted.is_none_or(|wanted| !within(wanted, begin.address, end.address).is_empty());
        if discarded || !needed {
            self.rows.truncate(*first);
        } else {
            self.sequences.push(Sequence {
                program,
                rows: *first..self.rows.len(),
            });
        }
        *first = self.rows.len();
    }

    /// `file:line` for each of the addresses, which must be sorted.
    pub(super) fn find(&self, addresses: &[u64]) -> Vec<Option<Arc<str>>> {
        let mut found = vec![None; addresses.len()];
        let lines = DebugLine::new(&self.lines, LittleEndian);
        let texts = Texts {
            strings: DebugStr::new(&self.strings, LittleEndian),
            line_strings: DebugLineStr::from(EndianSlice::new(&self.line_strings, LittleEndian)),
        };
        let (mut header, mut last) = (None, None);
        for sequence in &self.sequences {
            let rows = &self.rows[sequence.rows.clone()];
            let mut wanted = within(addresses, rows[0].address, rows[rows.len() - 1].address);
            if wanted.is_empty() {
                continue;
            }
            if header
                .as_ref()
                .is_none_or(|(program, _)| *program != sequence.program)
            {
                let offset = DebugLineOffset(sequence.program);
                let Ok(program) = lines.program(offset, 8, None, None) else {
                    break;
                };
                header = Some((sequence.program, program.header().clone()));
                last = None;
            }
            let Some((_, header)) = &header else {
                break;
            };
            while let Some(&address) = addresses[wanted.clone()].first() {
                let row = rows[rows.partition_point(|row| row.address <= address) - 1];
                found[wanted.start] = texts.describe(header, row, &mut last);
                wanted.start += 1;
            }
        }
        found
    }
}

/// Which of the sorted addresses are from `begin` up to `end`.
fn within(addresses: &[u64], begin: u64, end: u64) -> Range<usize> {
    let first = addresses.partition_point(|address| *address < begin);
    let count = addresses[first..].partition_point(|address| *address < end);
    first..first + count
}

/// The sections that texts are in.
struct Texts<'a> {
    strings: DebugStr<Reader<'a>>,
    line_strings: DebugLineStr<Reader<'a>>,
}

impl<'a> Texts<'a> {
    /// `file:line`; shared with the address before, which mostly has the same one.
    fn describe(
        &self,
        header: &LineProgramHeader<Reader<'a>>,
        row: Row,
        last: &mut Option<((u32, u32), Arc<str>)>,
    ) -> Option<Arc<str>> {
        let Row { file, line, .. } = row;
        if line == 0 {
            return None;
        }
        match last {
            Some((place, text)) if *place == (file, line) => Some(text.clone()),
            _ => {
                let text: Arc<str> =
                    format!("{}:{line}", self.path(header, u64::from(file))?).into();
                *last = Some(((file, line), text.clone()));
                Some(text)
            }
        }
    }

    fn path(&self, header: &LineProgramHeader<Reader<'a>>, file: u64) -> Option<String> {
        let file = header.file(file)?;
        let mut path = self.text(file.path_name())?;
        let directory = file
            .directory(header)
            .and_then(|directory| self.text(directory));
        // Directory 0 is that of the compilation; before version 5 it is not written here.
        let base = header.directory(0).filter(|_| header.version() >= 5);
        let base = base.filter(|_| file.directory_index() != 0);
        let base = base.and_then(|base| self.text(base));
        for parent in [directory, base].into_iter().flatten() {
            if !path.starts_with('/') && !parent.is_empty() {
                path = format!("{}/{path}", parent.trim_end_matches('/'));
            }
        }
        Some(path)
    }

    fn text(&self, value: AttributeValue<Reader<'a>>) -> Option<String> {
        let text = match value {
            AttributeValue::String(text) => text,
            AttributeValue::DebugStrRef(offset) => self.strings.get_str(offset).ok()?,
            AttributeValue::DebugLineStrRef(offset) => self.line_strings.get_str(offset).ok()?,
            _ => return None,
        };
        Some(text.to_string_lossy().into_owned())
    }
}
