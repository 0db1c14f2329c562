//! Reads the parts of an ELF file that are asked for, and no others.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use goblin::container::{Container, Ctx, Endian};
use goblin::elf::header::{ELFCLASS64, ELFDATA2LSB};
use goblin::elf::program_header::PT_LOAD;
use goblin::elf::section_header::{SHF_EXECINSTR, SHT_NOBITS};
use goblin::elf::{Elf, ProgramHeader, SectionHeader, Symtab};
use goblin::strtab::Strtab;
use object::read::{CompressedData, CompressionFormat};

/// How symbols, headers and relocations are laid out in all files that we read.
pub(super) const LAYOUT: Ctx = Ctx {
    container: Container::Big,
    le: Endian::Little,
};

const SHF_COMPRESSED: u32 = 0x800;
const ELFCOMPRESS_ZLIB: u32 = 1;
const ELFCOMPRESS_ZSTD: u32 = 2;
/// Size of the header before the content of a compressed section.
const COMPRESSION_HEADER: usize = 24;
/// Damaged files may claim any size.
const MAX_UNCOMPRESSED: u64 = 4 << 30;

/// A 64-bit little-endian ELF file: its headers, and the file itself to read more from.
pub(super) struct ElfFile {
    /// Where it was opened.
    pub(super) path: PathBuf,
    file: File,
    size: u64,
    segments: Vec<ProgramHeader>,
    sections: Vec<SectionHeader>,
    section_names: Vec<u8>,
}

impl ElfFile {
    /// Opens and reads the headers; `None` for anything that is not such a file.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let metadata = file.metadata().ok().filter(|metadata| metadata.is_file())?;
        let mut elf = ElfFile {
            path: path.to_owned(),
            file,
            size: metadata.len(),
            segments: Vec::new(),
            sections: Vec::new(),
            section_names: Vec::new(),
        };
        elf.read_headers()?;
        Some(elf)
    }

    fn read_headers(&mut self) -> Option<()> {
        let header = Elf::parse_header(&self.read(0, 64)?).ok()?;
        if header.e_ident[4] != ELFCLASS64 || header.e_ident[5] != ELFDATA2LSB {
            return None;
        }
        let count = usize::from(header.e_phnum);
        let table = self.read(header.e_phoff, count as u64 * 56)?;
        self.segments = ProgramHeader::parse(&table, 0, count, LAYOUT).ok()?;
        let count = usize::from(header.e_shnum);
        if count > 0 {
            let table = self.read(header.e_shoff, count as u64 * 64)?;
            self.sections = SectionHeader::parse_from(&table, 0, count, LAYOUT).ok()?;
        }
        if let Some(names) = self.sections.get(usize::from(header.e_shstrndx)) {
            self.section_names = self.contents(names).unwrap_or_default();
        }
        Some(())
    }

    /// A range of the file, or `None` if it is not all there.
    pub(super) fn read(&self, offset: u64, size: u64) -> Option<Vec<u8>> {
        if offset.checked_add(size)? > self.size {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// The content of a section.
    pub(super) fn contents(&self, section: &SectionHeader) -> Option<Vec<u8>> {
        if section.sh_type == SHT_NOBITS {
            return None;
        }
        self.read(section.sh_offset, section.sh_size)
    }

    /// All sections with their names.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &SectionHeader)> {
        self.sections
            .iter()
            .map(|section| (self.section_name(section), section))
    }

    fn section_name(&self, section: &SectionHeader) -> &str {
        let name = self
            .section_names
            .get(section.sh_name..)
            .unwrap_or_default();
        let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    /// A section by its name.
    pub(super) fn section(&self, name: &str) -> Option<&SectionHeader> {
        self.sections()
            .find(|(found, _)| *found == name)
            .map(|(_, section)| section)
    }

    /// A section by its name, if it has content.
    pub(super) fn section_contents(&self, name: &str) -> Option<Vec<u8>> {
        self.section(name)
            .and_then(|section| self.contents(section))
    }

    /// The size of a section of debugging information, which may be compressed.
    pub(super) fn debug_size(&self, name: &str) -> u64 {
        self.section(name).map_or(0, |section| section.sh_size)
    }

    /// The content of a section of debugging information, decompressed.
    pub(super) fn debug_section(&self, name: &str) -> Option<Vec<u8>> {
        let section = self.section(name)?;
        let content = self.contents(section)?;
        if section.sh_flags & u64::from(SHF_COMPRESSED) == 0 {
            return Some(content);
        }
        let (header, data) = content.split_at_checked(COMPRESSION_HEADER)?;
        let format = match u32::from_le_bytes(header[..4].try_into().ok()?) {
            ELFCOMPRESS_ZLIB => CompressionFormat::Zlib,
            ELFCOMPRESS_ZSTD => CompressionFormat::Zstandard,
            _ => return None,
        };
        let uncompressed_size = u64::from_le_bytes(header[8..16].try_into().ok()?);
        if uncompressed_size > MAX_UNCOMPRESSED {
            return None;
        }
        let compressed = CompressedData {
            format,
            data,
            uncompressed_size,
        };
        compressed
            .decompress()
            .ok()
            .map(|content| content.into_owned())
    }

    /// Whether a symbol of this section index can name code.
    pub(super) fn is_code(&self, section_index: usize) -> bool {
        let section = self.sections.get(section_index);
        section.is_some_and(|section| section.sh_flags & u64::from(SHF_EXECINSTR) != 0)
    }

    /// End address of the section that holds a symbol, for symbols without a size.
    pub(super) fn section_end(&self, section_index: usize) -> u64 {
        self.sections
            .get(section_index)
            .map_or(0, |section| section.sh_addr.saturating_add(section.sh_size))
    }

    /// The virtual address that a byte of the file is loaded to.
    pub(super) fn virtual_address(&self, file_offset: u64) -> Option<u64> {
        let mut loaded = self
            .segments
            .iter()
            .filter(|segment| segment.p_type == PT_LOAD);
        // A mapping begins and ends at page boundaries, so it can reach a little beyond its segment.
        let page = |address: u64| address & !0xfff;
        let exact = |segment: &&ProgramHeader| {
            (segment.p_offset..segment.p_offset.saturating_add(segment.p_filesz))
                .contains(&file_offset)
        };
        let code_first = |segment: &&ProgramHeader| !segment.is_executable();
        let mut candidates: Vec<_> = loaded.by_ref().collect();
        candidates.sort_by_key(code_first);
        let segment = candidates
            .iter()
            .find(|segment| exact(segment))
            .or_else(|| {
                candidates.iter().find(|segment| {
                    let end = segment
                        .p_offset
                        .saturating_add(segment.p_filesz)
                        .saturating_add(0xfff);
                    (page(segment.p_offset)..page(end)).contains(&file_offset)
                })
            })?;
        Some(
            file_offset
                .wrapping_sub(segment.p_offset)
                .wrapping_add(segment.p_vaddr),
        )
    }

    /// Calls `each` with every symbol of `.symtab` or `.dynsym` and its name.
    pub(super) fn for_each_symbol(
        &self,
        table: &str,
        mut each: impl FnMut(goblin::elf::Sym, &str),
    ) -> Option<()> {
        let section = self.section(table)?;
        let strings = self.sections.get(section.sh_link as usize)?;
        let strings = self.contents(strings)?;
        let strings = Strtab::from_slice_unparsed(&strings, 0, strings.len(), 0);
        let content = self.contents(section)?;
        let symbols = Symtab::parse(&content, 0, content.len() / 24, LAYOUT).ok()?;
        for symbol in symbols.iter() {
            each(
                symbol,
                strings.get_unsafe(symbol.st_name).unwrap_or_default(),
            );
        }
        Some(())
    }

    /// The build id in lower-case hexadecimal.
    pub(super) fn build_id(&self) -> Option<String> {
        let note = self.section_contents(".note.gnu.build-id")?;
        let field = |at: usize| Some(u32::from_le_bytes(note.get(at..at + 4)?.try_into().ok()?));
        let (name, description) = (field(0)? as usize, field(4)? as usize);
        let start = 12 + name.next_multiple_of(4);
        let id = note.get(start..start.checked_add(description)?)?;
        Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
