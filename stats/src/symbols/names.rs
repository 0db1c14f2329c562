//! The other way round: from the name of a symbol, code or data, to its address.

use std::collections::HashMap;
use std::path::Path;

use goblin::elf::sym::{STB_LOCAL, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE, STT_OBJECT, Sym};

use super::debug;
use super::elf::ElfFile;

/// Section indices from here on are no sections (absolute symbols and the like).
const RESERVED_SECTIONS: usize = 0xff00;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Virtual address in the file.
    pub address: u64,
    /// Bytes, 0 if it is not known.
    pub size: u64,
}

/// The names that a file defines: those of its symbol tables and of its separate debug file.
pub struct Names {
    elf: ElfFile,
    /// Local ones are hidden by global ones.
    symbols: HashMap<String, (bool, Named)>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names")
            .field("path", &self.elf.path)
            .field("symbols", &self.symbols.len())
            .finish()
    }
}

impl Names {
    /// Reads them; none for what is no 64-bit ELF file.
    pub fn load(path: &Path) -> Option<Self> {
        let mut names = Names {
            elf: ElfFile::open(path)?,
            symbols: HashMap::new(),
        };
        let debug_file = debug::find_separate_file(&names.elf);
        let mut found = Vec::new();
        let mut collect = |symbol: Sym, name: &str| {
            if names_something(&symbol) && !name.is_empty() {
                // `.symtab` names versions: memcpy@@GLIBC_2.14.
                let name = name.split('@').next().unwrap_or(name);
                found.push((name.to_owned(), symbol));
            }
        };
        names.elf.for_each_symbol(".symtab", &mut collect);
        names.elf.for_each_symbol(".dynsym", &mut collect);
        if let Some(file) = &debug_file {
            file.for_each_symbol(".symtab", &mut collect);
        }
        for (name, symbol) in found {
            names.add(name, &symbol);
        }
        Some(names)
    }

    fn add(&mut self, name: String, symbol: &Sym) {
        let local = symbol.st_bind() == STB_LOCAL;
        let named = Named {
            address: symbol.st_value,
            size: symbol.st_size,
        };
        let better = |&(other_local, other): &(bool, Named)| {
            (local, named.address) < (other_local, other.address)
        };
        if self.symbols.get(&name).is_none_or(better) {
            self.symbols.insert(name, (local, named));
        }
    }

    /// The symbol of that name. Of several local ones, the one with the lowest address.
    pub fn find(&self, name: &str) -> Option<Named> {
        self.symbols.get(name).map(|(_, named)| *named)
    }

    /// All names, in no order.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str)
    }

    /// Virtual address of the first instruction, if the file has one.
    pub fn entry(&self) -> Option<u64> {
        let header = self.elf.read(0, 64)?;
        let entry = u64::from_le_bytes(header.get(24..32)?.try_into().ok()?);
        (entry != 0).then_some(entry)
    }

    /// What to add to a virtual address, when the byte of the file at `file_offset` is mapped at `address`.
    pub fn base(&self, address: u64, file_offset: u64) -> Option<u64> {
        let own = self.elf.virtual_address(file_offset)?;
        Some(address.wrapping_sub(own))
    }
}

fn names_something(symbol: &Sym) -> bool {
    let kind = matches!(
        symbol.st_type(),
        STT_FUNC | STT_GNU_IFUNC | STT_OBJECT | STT_NOTYPE
    );
    kind && symbol.st_shndx != 0 && symbol.st_shndx < RESERVED_SECTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_functions_and_data_are_found() {
        let own = std::env::current_exe().expect("a test has a path");
        let names = Names::load(&own).expect("an ELF file");
        let main = names.find("main").expect("main");
        assert!(main.address > 0 && main.size > 0);
        assert!(names.entry().is_some());
        assert_eq!(names.find("no such name"), None);
        assert!(names.all().count() > 100);
        assert!(Names::load(Path::new("/proc/self/maps")).is_none());
    }
}
