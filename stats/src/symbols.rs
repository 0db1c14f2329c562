//! From addresses to their modules, offsets, symbols and source lines; and from names to addresses ([`Names`]).
//!
//! All addresses of a run are located at once: each module's file is then read once, by one of
//! several threads, and only the parts of it that are needed.

mod debug;
mod elf;
mod lines;
mod mapping;
mod names;
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::Module;
use elf::ElfFile;
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
    let jobs = Mappings::new(modules).divide(places);
    let mut locations = vec![Location::default(); places.len()];
    for (job, found) in jobs.iter().zip(run_jobs(modules, &jobs)) {
        for (address, location) in job.addresses.iter().zip(found) {
            locations[address.place] = location;
        }
    }
    locations
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

/// Works off all jobs with as many threads as there are processors.
fn run_jobs(modules: &[Module], jobs: &[Job]) -> Vec<Vec<Location>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len());
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push((job.module, locate_in(&modules[job.module], &job.addresses)));
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

fn locate_in(module: &Module, addresses: &[Address]) -> Vec<Location> {
    let path: Arc<str> = module.path.as_str().into();
    let blank = Location {
        module: Some(path),
        ..Location::default()
    };
    let mut locations = vec![blank; addresses.len()];
    if let Some(elf) = ElfFile::open(module.path.as_ref()) {
        fill_in(&elf, addresses, &mut locations);
    }
    locations
}

/// Adds what the file of the module knows.
fn fill_in(elf: &ElfFile, addresses: &[Address], locations: &mut [Location]) {
    let debug_file = debug::find_separate_file(elf);
    let symbols = SymbolTable::load(elf, debug_file.as_ref());
    let mut symbol = Shared::default();
    let mut wanted = Vec::with_capacity(addresses.len());
    for (index, (address, location)) in addresses.iter().zip(&mut *locations).enumerate() {
        location.offset = elf.virtual_address(address.file_offset);
        if let Some(offset) = location.offset {
            location.symbol = symbols.find(offset).map(|name| symbol.get(name));
            wanted.push((offset, index));
        }
    }
    wanted.sort_unstable();
    let offsets: Vec<u64> = wanted.iter().map(|(offset, _)| *offset).collect();
    let sources = debug::with_lines(elf, debug_file.as_ref())
        .map(|file| lines::find(file, &offsets))
        .unwrap_or_default();
    for ((_, index), source) in wanted.into_iter().zip(sources) {
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
