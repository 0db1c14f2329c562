//! From addresses to their modules, offsets, symbols and source lines; and from names to addresses ([`Names`]).
//!
//! All addresses of a run are located at once: each module's file is then read once, by one of
//! several threads, and only the parts of it that are needed. Files can also be read ahead, while the program still runs.

mod debug;
mod elf;
mod lines;
mod mapping;
mod names;
mod table;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rustc_hash::FxHashMap;

use crate::model::Module;
use elf::ElfFile;
use lines::LineTable;
use mapping::Mappings;
pub use names::{Named, Names};
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

/// Where one address lies.
pub fn locate(modules: &[Module], pc: u64) -> Location {
    locate_all(modules, &[(pc, &[])]).pop().unwrap_or_default()
}

/// Where addresses lie, in the same order. The bytes are what was executed there: they decide
/// between modules that were mapped to the same place one after the other.
pub fn locate_all(modules: &[Module], places: &[(u64, &[u8])]) -> Vec<Location> {
    Symbols::default().locate_all(modules, places)
}

/// A section of a file that has a place in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its name: `.text`.
    pub name: String,
    /// Virtual addresses in the file, the end not included.
    pub addresses: std::ops::Range<u64>,
}

/// The sections of a file that have a place in memory; none for what is no 64-bit ELF file, or has no section headers.
#[must_use]
pub fn sections(path: &Path) -> Vec<Section> {
    let Some(elf) = ElfFile::open(path) else {
        return Vec::new();
    };
    elf.sections()
        .filter(|(_, header)| header.is_alloc())
        .map(|(name, header)| Section {
            name: name.to_owned(),
            addresses: header.sh_addr..header.sh_addr.saturating_add(header.sh_size),
        })
        .collect()
}

/// What is known about the files of modules.
#[derive(Default)]
pub struct Symbols {
    /// Files that are being read, by path.
    reading: FxHashMap<String, JoinHandle<Option<ModuleFile>>>,
}

impl Symbols {
    /// Begins to read a module's file, unless that has begun already.
    pub fn read_ahead(&mut self, path: &str) {
        if self.reading.contains_key(path) {
            return;
        }
        let file = path.to_owned();
        let reader = std::thread::Builder::new().name("symbols".to_owned());
        // Without a thread it will be read when it is needed.
        if let Ok(reader) = reader.spawn(move || ModuleFile::open(file.as_ref())) {
            self.reading.insert(path.to_owned(), reader);
        }
    }

    /// [`locate_all`], with what was read ahead.
    pub fn locate_all(&mut self, modules: &[Module], places: &[(u64, &[u8])]) -> Vec<Location> {
        let jobs = Mappings::new(modules).divide(places);
        let files = jobs.iter().map(|job| {
            let reader = self.reading.remove(&modules[job.module].path);
            Mutex::new(reader)
        });
        let files: Vec<_> = files.collect();
        let mut locations = vec![Location::default(); places.len()];
        for (job, found) in jobs.iter().zip(run_jobs(modules, &jobs, &files)) {
            for (address, location) in job.addresses.iter().zip(found) {
                locations[address.place] = location;
            }
        }
        locations
    }
}

/// The file of a module, with everything about its addresses.
struct ModuleFile {
    elf: ElfFile,
    debug_file: Option<ElfFile>,
    symbols: SymbolTable,
    /// All of its lines; those of files with very many are read when it is known which are needed.
    lines: Option<LineTable>,
}

/// The most bytes of line programs that are read ahead.
const READ_AHEAD: u64 = 4 << 20;

impl ModuleFile {
    fn open(path: &Path) -> Option<Self> {
        let elf = ElfFile::open(path)?;
        let debug_file = debug::find_separate_file(&elf);
        let symbols = SymbolTable::load(&elf, debug_file.as_ref());
        let with_lines = debug::with_lines(&elf, debug_file.as_ref());
        let few = with_lines.filter(|file| file.debug_size(".debug_line") <= READ_AHEAD);
        let lines = few.map(|file| LineTable::load(file, None));
        Some(ModuleFile {
            elf,
            debug_file,
            symbols,
            lines,
        })
    }

    /// `file:line` for each of the addresses, which must be sorted.
    fn sources(&self, addresses: &[u64]) -> Vec<Option<Arc<str>>> {
        if let Some(lines) = &self.lines {
            return lines.find(addresses);
        }
        debug::with_lines(&self.elf, self.debug_file.as_ref())
            .map(|file| LineTable::load(file, Some(addresses)).find(addresses))
            .unwrap_or_default()
    }
}

/// The addresses of one module.
struct Job {
    /// Index of the module.
    module: usize,
    addresses: Vec<Address>,
}

/// An address in the file of a module.
struct Address {
    /// Which of the places it is.
    place: usize,
    file_offset: u64,
}

/// A file that is being read, for whoever takes the job.
type Reading = Mutex<Option<JoinHandle<Option<ModuleFile>>>>;

/// Works off all jobs with as many threads as there are processors.
fn run_jobs(modules: &[Module], jobs: &[Job], files: &[Reading]) -> Vec<Vec<Location>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let (Some(job), Some(file)) = (jobs.get(number), files.get(number)) else {
                break;
            };
            let reader = file.lock().unwrap_or_else(PoisonError::into_inner).take();
            let module = &modules[job.module];
            done.push((job.module, locate_in(module, reader, &job.addresses)));
        }
        done
    };
    let mut done = match threads {
        0 | 1 => work(),
        _ => std::thread::scope(|scope| {
            let workers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
            let mut done = work();
            for worker in workers {
                done.extend(worker.join().expect("locating addresses does not panic"));
            }
            done
        }),
    };
    // Jobs are in the order of their modules.
    done.sort_by_key(|(module, _)| *module);
    done.into_iter().map(|(_, locations)| locations).collect()
}

fn locate_in(
    module: &Module,
    reader: Option<JoinHandle<Option<ModuleFile>>>,
    addresses: &[Address],
) -> Vec<Location> {
    let path: Arc<str> = module.path.as_str().into();
    let blank = Location {
        module: Some(path),
        ..Location::default()
    };
    let mut locations = vec![blank; addresses.len()];
    let file = match reader {
        Some(reader) => reader.join().ok().flatten(),
        None => ModuleFile::open(module.path.as_ref()),
    };
    if let Some(file) = file {
        fill_in(&file, addresses, &mut locations);
    }
    locations
}

/// Adds what the file of the module knows.
fn fill_in(file: &ModuleFile, addresses: &[Address], locations: &mut [Location]) {
    let mut symbol = Shared::default();
    let mut wanted = Vec::with_capacity(addresses.len());
    for (index, (address, location)) in addresses.iter().zip(&mut *locations).enumerate() {
        location.offset = file.elf.virtual_address(address.file_offset);
        if let Some(offset) = location.offset {
            location.symbol = file.symbols.find(offset).map(|name| symbol.get(name));
            wanted.push((offset, index));
        }
    }
    wanted.sort_unstable();
    let offsets: Vec<u64> = wanted.iter().map(|(offset, _)| *offset).collect();
    for ((_, index), source) in wanted.into_iter().zip(file.sources(&offsets)) {
        locations[index].source = source;
    }
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

#[cfg(test)]
mod tests;
