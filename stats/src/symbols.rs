//! From an address to its module, offset, symbol and source line.
//!
//! A module's file is opened when the first of its addresses is asked for, and only the parts of
//! it that are needed are read, so that large modules cost what is asked of them.

mod debug;
mod elf;
mod table;

use std::sync::Arc;

use crate::model::Module;
use debug::Lines;
use elf::ElfFile;
use table::SymbolTable;

/// Where an address lies. What is not known is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Path of the module.
    pub module: Option<Arc<str>>,
    /// Virtual address in the module's file, as `objdump` and `addr2line` show it.
    pub offset: Option<u64>,
    /// Function, as the file names it (not demangled).
    pub symbol: Option<Arc<str>>,
    /// `file:line`.
    pub source: Option<Arc<str>>,
}

/// Finds locations in the modules of one run.
pub struct Symbolizer<'a> {
    modules: Vec<LazyModule<'a>>,
}

impl<'a> Symbolizer<'a> {
    /// Nothing is read yet.
    pub fn new(modules: &'a [Module]) -> Self {
        let mut modules: Vec<_> = modules.iter().map(LazyModule::new).collect();
        modules.sort_by_key(|lazy| std::cmp::Reverse(lazy.module.generation));
        Symbolizer { modules }
    }

    /// Where `pc` lies. `bytes` are what was executed there: they decide between modules that
    /// were mapped to the same place one after the other.
    pub fn locate(&mut self, pc: u64, bytes: &[u8]) -> Location {
        let covering: Vec<(usize, u64)> = (self.modules.iter().enumerate())
            .filter_map(|(index, lazy)| Some((index, lazy.module.file_offset(pc)?)))
            .collect();
        let Some(&(latest, latest_offset)) = covering.first() else {
            return Location::default();
        };
        if covering.len() > 1 && !bytes.is_empty() {
            for &(index, file_offset) in &covering {
                if self.modules[index].holds(file_offset, bytes) {
                    return self.modules[index].locate(file_offset);
                }
            }
        }
        self.modules[latest].locate(latest_offset)
    }
}

struct LazyModule<'a> {
    module: &'a Module,
    state: State,
    path: Arc<str>,
    symbol: Shared,
    source: Shared,
}

/// The last text that was handed out: neighbours mostly have the same one, so they share it.
#[derive(Default)]
struct Shared(Option<Arc<str>>);

impl Shared {
    fn get(&mut self, text: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *text => last.clone(),
            _ => self.0.insert(text.into()).clone(),
        }
    }
}

enum State {
    Unopened,
    /// Not a file, or not one that we understand.
    Opaque,
    Open(Box<OpenModule>),
}

struct OpenModule {
    elf: ElfFile,
    symbols: SymbolTable,
    lines: Lines,
}

impl OpenModule {
    fn open(path: &str) -> Option<Self> {
        let elf = ElfFile::open(path.as_ref())?;
        let debug_file = debug::find_separate_file(&elf);
        let symbols = SymbolTable::load(&elf, debug_file.as_ref());
        let lines = Lines::new(&elf, debug_file.as_ref());
        Some(OpenModule {
            elf,
            symbols,
            lines,
        })
    }
}

impl<'a> LazyModule<'a> {
    fn new(module: &'a Module) -> Self {
        LazyModule {
            module,
            state: State::Unopened,
            path: module.path.as_str().into(),
            symbol: Shared::default(),
            source: Shared::default(),
        }
    }

    fn open(&mut self) -> Option<&OpenModule> {
        if matches!(self.state, State::Unopened) {
            self.state = match OpenModule::open(&self.module.path) {
                Some(open) => State::Open(Box::new(open)),
                None => State::Opaque,
            };
        }
        match &self.state {
            State::Open(open) => Some(open),
            _ => None,
        }
    }

    fn holds(&mut self, file_offset: u64, bytes: &[u8]) -> bool {
        let content = self
            .open()
            .and_then(|open| open.elf.read(file_offset, bytes.len() as u64));
        content.as_deref() == Some(bytes)
    }

    fn locate(&mut self, file_offset: u64) -> Location {
        self.open();
        let mut location = Location {
            module: Some(self.path.clone()),
            ..Location::default()
        };
        let State::Open(open) = &self.state else {
            return location;
        };
        if let Some(offset) = open.elf.virtual_address(file_offset) {
            location.offset = Some(offset);
            location.symbol = open.symbols.find(offset).map(|name| self.symbol.get(name));
            location.source = open.lines.find(offset).map(|line| self.source.get(&line));
        }
        location
    }
}

#[cfg(test)]
mod tests;
