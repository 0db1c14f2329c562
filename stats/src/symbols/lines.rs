//! Source lines, straight from the line programs of `.debug_line`.
//!
//! The addresses are known before, so one pass over the programs finds all of their lines, with no need
//! of the (much larger) other sections of debugging information.

use std::sync::Arc;

use gimli::{
    AttributeValue, DebugLine, DebugLineOffset, DebugLineStr, DebugStr, EndianSlice, Format,
    LineProgramHeader, LineRow, LittleEndian,
};

use super::elf::ElfFile;

type Reader<'a> = EndianSlice<'a, LittleEndian>;

/// `file:line` for each of the addresses, which must be sorted.
pub(super) fn find(elf: &ElfFile, addresses: &[u64]) -> Vec<Option<Arc<str>>> {
    let section = |name| elf.debug_section(name).unwrap_or_default();
    let lines = section(".debug_line");
    let (strings, line_strings) = (section(".debug_str"), section(".debug_line_str"));
    let mut finder = Finder {
        strings: DebugStr::new(&strings, LittleEndian),
        line_strings: DebugLineStr::from(EndianSlice::new(&line_strings, LittleEndian)),
        addresses,
        found: vec![None; addresses.len()],
    };
    // A damaged section ends the search; what was found before stays.
    let _ = finder.run(&lines);
    finder.found
}

struct Finder<'a> {
    strings: DebugStr<Reader<'a>>,
    line_strings: DebugLineStr<Reader<'a>>,
    addresses: &'a [u64],
    found: Vec<Option<Arc<str>>>,
}

impl<'a> Finder<'a> {
    fn run(&mut self, section: &'a [u8]) -> gimli::Result<()> {
        let lines = DebugLine::new(section, LittleEndian);
        let mut at = 0;
        while at < section.len() {
            let program = lines.program(DebugLineOffset(at), 8, None, None)?;
            let header = program.header();
            let length = match header.format() {
                Format::Dwarf32 => 4,
                Format::Dwarf64 => 12,
            };
            at += length + header.unit_length();
            let mut sequence = Sequence::default();
            let mut last = None;
            let mut rows = program.rows();
            while let Some((header, row)) = rows.next_row()? {
                for index in sequence.advance(row, self.addresses) {
                    let (file, line) = sequence.before;
                    self.found[index] = self.describe(header, file, line, &mut last);
                }
                sequence.take(row);
            }
        }
        Ok(())
    }

    /// `file:line`; shared with the address before, which mostly has the same one.
    fn describe(
        &self,
        header: &LineProgramHeader<Reader<'a>>,
        file: u64,
        line: u64,
        last: &mut Option<((u64, u64), Arc<str>)>,
    ) -> Option<Arc<str>> {
        if line == 0 {
            return None;
        }
        match last {
            Some((place, text)) if *place == (file, line) => Some(text.clone()),
            _ => {
                let text: Arc<str> = format!("{}:{line}", self.path(header, file)?).into();
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

/// The current run of ascending rows, and where in the wanted addresses it is.
#[derive(Default)]
struct Sequence {
    /// The next wanted address.
    next: usize,
    /// Address of the last row, if the sequence has begun.
    address: Option<u64>,
    /// File and line of the last row.
    before: (u64, u64),
    /// Code that the linker left out has addresses from 0 on, which are those of other code.
    discarded: bool,
}

impl Sequence {
    /// The wanted addresses from the last row up to this one.
    fn advance(&mut self, row: &LineRow, addresses: &[u64]) -> std::ops::Range<usize> {
        if self.address.is_none_or(|address| row.address() < address) {
            self.discarded = row.address() == 0;
            self.next = addresses.partition_point(|address| *address < row.address());
            return 0..0;
        }
        let first = self.next;
        let wanted = |next: &usize| {
            addresses
                .get(*next)
                .is_some_and(|next| *next < row.address())
        };
        while wanted(&self.next) {
            self.next += 1;
        }
        if self.discarded {
            0..0
        } else {
            first..self.next
        }
    }

    fn take(&mut self, row: &LineRow) {
        self.address = (!row.end_sequence()).then(|| row.address());
        self.before = (row.file_index(), row.line().map_or(0, u64::from));
    }
}
