//! Calls stubs: the only place where generated code is entered.

use super::arena::Arena;
use crate::cpu::state::Context;
use memmap2::{Mmap, MmapMut, MmapOptions};
use rustc_hash::FxHashMap;
use std::fs::File;

const BYTES: usize = 16 << 20;

/// Maps a file of ours writable and executable.
pub(super) fn map(file: &File, bytes: usize) -> std::io::Result<(MmapMut, Mmap)> {
    let mut options = MmapOptions::new();
    options.len(bytes);
    // SAFETY: the file is an anonymous memory file that nobody else has, and that is never truncated.
    unsafe { Ok((options.map_mut(file)?, options.map_exec(file)?)) }
}

/// All stubs, by their code: two instructions of the same form and registers share one.
#[derive(Debug)]
pub(crate) struct Stubs {
    arena: Arena,
    known: FxHashMap<Vec<u8>, u32>,
}

impl Stubs {
    /// An empty set.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Stubs {
            arena: Arena::new("stubs", BYTES)?,
            known: FxHashMap::default(),
        })
    }

    /// The number of a stub with that code, which [`super::stub::plan`] made; none where there is no room left.
    pub(crate) fn add(&mut self, code: Vec<u8>) -> Option<u32> {
        if let Some(&offset) = self.known.get(&code) {
            return Some(offset);
        }
        let offset = self.arena.add(&code)?;
        self.known.insert(code, offset);
        Some(offset)
    }

    /// Forgets all stubs; their numbers must not be used any more.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.known.clear();
    }

    /// The entry of a stub.
    pub(crate) fn entry(&self, offset: u32) -> Option<Entry> {
        self.arena.code(offset).map(Entry)
    }
}

/// The entry of a stub in executable memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry(*const u8);

impl Entry {
    /// As a number, to be kept in a decoded instruction.
    pub(crate) fn bits(self) -> u64 {
        self.0 as u64
    }
}

/// Runs a stub on the registers.
pub(crate) fn run(entry: u64, context: &mut Context) {
    // SAFETY: `entry` is the start of code that `stub::plan` made and that stays mapped as long as the processor lives; the code keeps to
    // the calling convention, and touches nothing but the context behind its argument.
    unsafe {
        let stub: extern "sysv64" fn(*mut Context) = std::mem::transmute(entry as *const u8);
        stub(context);
    }
}
