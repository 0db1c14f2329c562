//! Function names of a module: its symbol tables, and names for the stubs of its linkage table.

use std::collections::HashMap;
use std::ops::Range;

use goblin::elf::RelocSection;
use goblin::elf::sym::{STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, Sym};
use iced_x86::{Decoder, DecoderOptions, FlowControl};

use super::elf::{ElfFile, LAYOUT};

/// How many symbols before the nearest one may contain an address (functions hardly ever nest).
const MAX_NESTING: usize = 8;

/// Functions by address.
#[derive(Default)]
pub(super) struct SymbolTable {
    entries: Vec<Entry>,
    names: String,
}

struct Entry {
    start: u64,
    end: u64,
    name: Range<usize>,
    /// Lower is better, among names for the same address.
    rank: (bool, usize),
    sized: bool,
}

impl SymbolTable {
    /// Reads `.symtab` and `.dynsym` of the module, and `.symtab` of its separate debug file.
    pub(super) fn load(elf: &ElfFile, debug_file: Option<&ElfFile>) -> Self {
        let mut table = SymbolTable::default();
        table.add_symbols(elf, ".symtab");
        table.add_symbols(elf, ".dynsym");
        if let Some(debug_file) = debug_file {
            table.add_symbols(debug_file, ".symtab");
        }
        table.add_linkage_stubs(elf);
        table.finish();
        table
    }

    /// The function that contains a virtual address of the file.
    pub(super) fn find(&self, address: u64) -> Option<&str> {
        let behind = self.entries.partition_point(|entry| entry.start <= address);
        let nearest = &self.entries[behind.saturating_sub(MAX_NESTING)..behind];
        let entry = nearest.iter().rev().find(|entry| address < entry.end)?;
        Some(&self.names[entry.name.clone()])
    }

    fn add_symbols(&mut self, elf: &ElfFile, section: &str) {
        elf.for_each_symbol(section, |symbol, name| {
            if let Some(end) = code_end(elf, &symbol, name) {
                // `.symtab` names versions: memcpy@@GLIBC_2.14.
                let name = name.split('@').next().unwrap_or(name);
                self.push(
                    symbol.st_value,
                    end,
                    name,
                    rank(&symbol, name),
                    symbol.st_size > 0,
                );
            }
        });
    }

    fn push(&mut self, start: u64, end: u64, name: &str, rank: (bool, usize), sized: bool) {
        let from = self.names.len();
        self.names.push_str(name);
        self.entries.push(Entry {
            start,
            end,
            name: from..self.names.len(),
            rank,
            sized,
        });
    }

    /// Names the stubs that jump through the global offset table: `puts@plt`.
    fn add_linkage_stubs(&mut self, elf: &ElfFile) {
        let slots = linkage_slots(elf);
        for (name, section) in elf.sections().filter(|(name, _)| name.starts_with(".plt")) {
            let Some(code) = elf.contents(section) else {
                continue;
            };
            let stub = if name == ".plt.got" && code.len() % 16 != 0 {
                8
            } else {
                16
            };
            for (index, bytes) in code.chunks(stub).enumerate() {
                let start = section.sh_addr + (index * stub) as u64;
                if let Some(target) = jump_slot(start, bytes).and_then(|slot| slots.get(&slot)) {
                    let end = start + bytes.len() as u64;
                    self.push(start, end, &format!("{target}@plt"), (true, 0), true);
                }
            }
        }
    }

    /// Sorts, keeps the best name of each address and ends symbols without a size at the next one.
    fn finish(&mut self) {
        let names = &self.names;
        self.entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.start, !entry.sized, entry.rank);
            key(a)
                .cmp(&key(b))
                .then_with(|| names[a.name.clone()].cmp(&names[b.name.clone()]))
        });
        self.entries.dedup_by_key(|entry| entry.start);
        let mut covered = 0;
        self.entries.retain(|entry| {
            let keep = entry.sized || entry.start >= covered;
            covered = if entry.sized {
                covered.max(entry.end)
            } else {
                covered
            };
            keep
        });
        for index in 1..self.entries.len() {
            let next = self.entries[index].start;
            let entry = &mut self.entries[index - 1];
            if !entry.sized {
                entry.end = entry.end.min(next);
            }
        }
    }
}

/// End of the code that a symbol names, or `None` if it does not name code.
fn code_end(elf: &ElfFile, symbol: &Sym, name: &str) -> Option<u64> {
    let function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC);
    let label = symbol.st_type() == STT_NOTYPE && !name.starts_with(".L");
    if !(function || label) || name.is_empty() || !elf.is_code(symbol.st_shndx) {
        return None;
    }
    Some(match symbol.st_size {
        0 => elf.section_end(symbol.st_shndx),
        size => symbol.st_value.saturating_add(size),
    })
}

/// Prefers exported names over local ones, then those with fewer leading underscores: `getpid`
/// before `__getpid`.
fn rank(symbol: &Sym, name: &str) -> (bool, usize) {
    (
        symbol.st_bind() == STB_LOCAL,
        name.len() - name.trim_start_matches('_').len(),
    )
}

/// Names by the address of the table slot that a relocation fills.
fn linkage_slots(elf: &ElfFile) -> HashMap<u64, String> {
    let mut names = Vec::new();
    elf.for_each_symbol(".dynsym", |_, name| names.push(name.to_owned()));
    let mut slots = HashMap::new();
    for section in [".rela.plt", ".rela.dyn"] {
        let Some(content) = elf.section_contents(section) else {
            continue;
        };
        let Ok(relocations) = RelocSection::parse(&content, 0, content.len(), true, LAYOUT) else {
            continue;
        };
        for relocation in relocations.iter() {
            if let Some(name) = names.get(relocation.r_sym).filter(|name| !name.is_empty()) {
                slots.insert(relocation.r_offset, name.clone());
            }
        }
    }
    slots
}

/// The slot that a stub jumps through.
fn jump_slot(start: u64, bytes: &[u8]) -> Option<u64> {
    Decoder::with_ip(64, bytes, start, DecoderOptions::NONE)
        .iter()
        .find(|instruction| instruction.flow_control() == FlowControl::IndirectBranch)
        .filter(|instruction| instruction.is_ip_rel_memory_operand())
        .map(|instruction| instruction.ip_rel_memory_address())
}
