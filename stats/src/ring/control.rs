//! The control area at the beginning of the memory file.
//!
//! ```text
//! 0     magic and version     8   slots     12  chunk bytes
//! 64    published: number of chunks ever published (the supervisor writes)
//! 128   consumer asleep       192 producer asleep
//! 256   instructions counted so far
//! 4096  for each chunk, in order of slots: 1 while it is published and not yet handed back
//! 32768 the queue of published chunks: slot × CHUNKS + chunk, used bytes, thread (u32 each), 0, fs base (u64), 0
//! ```
//! The queue has room for all chunks, and no chunk is in it twice, so it can't overflow.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU32, AtomicU64};

use super::layout::{CHUNKS, CONTROL, Layout, MAX_SLOTS};
use super::shm::SharedMemory;

const MAGIC: u64 = u64::from_le_bytes(*b"fitsrng\x03");
const PUBLISHED: u64 = 64;
const CONSUMER_ASLEEP: u64 = 128;
const PRODUCER_ASLEEP: u64 = 192;
const INSTRUCTIONS: u64 = 256;
const BUSY: u64 = 4096;
const QUEUE: u64 = 32768;
const ENTRY: u64 = 32;
const QUEUE_ENTRIES: u64 = (MAX_SLOTS * CHUNKS) as u64;

const _: () = assert!(BUSY + 4 * QUEUE_ENTRIES <= QUEUE);
const _: () = assert!(QUEUE + ENTRY * QUEUE_ENTRIES <= CONTROL);

/// A published chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) chunk: u32,
    pub(super) used: u32,
    pub(super) thread: u32,
    pub(super) fs_base: u64,
}

/// Access to the control area.
#[derive(Clone, Copy)]
pub(super) struct Control<'a> {
    memory: &'a SharedMemory,
}

impl<'a> Control<'a> {
    pub(super) fn new(memory: &'a SharedMemory) -> Self {
        Control { memory }
    }

    pub(super) fn set_layout(self, layout: Layout) {
        self.memory.word(8).store(layout.slots, Relaxed);
        self.memory.word(12).store(layout.chunk_bytes, Relaxed);
        self.memory.word64(0).store(MAGIC, Release);
    }

    /// The layout, if this is a ring of our version.
    pub(super) fn layout(self) -> Option<Layout> {
        if self.memory.len() < CONTROL || self.memory.word64(0).load(Acquire) != MAGIC {
            return None;
        }
        let layout = Layout {
            slots: self.memory.word(8).load(Relaxed),
            chunk_bytes: self.memory.word(12).load(Relaxed),
        };
        (layout.is_valid() && layout.total_bytes() <= self.memory.len()).then_some(layout)
    }

    pub(super) fn published(self) -> &'a AtomicU64 {
        self.memory.word64(PUBLISHED)
    }

    pub(super) fn instructions(self) -> &'a AtomicU64 {
        self.memory.word64(INSTRUCTIONS)
    }

    /// Says that the consumer goes to sleep, or takes that word back; whether it was said before.
    pub(super) fn set_consumer_asleep(self, asleep: bool) -> bool {
        swap(self.memory.word(CONSUMER_ASLEEP), asleep)
    }

    /// The same of the producer.
    pub(super) fn set_producer_asleep(self, asleep: bool) -> bool {
        swap(self.memory.word(PRODUCER_ASLEEP), asleep)
    }

    pub(super) fn busy(self, slot: u32, chunk: u32) -> &'a AtomicU32 {
        self.memory
            .word(BUSY + 4 * u64::from(slot * CHUNKS + chunk))
    }

    pub(super) fn set_entry(self, number: u64, entry: Entry) {
        let at = QUEUE + ENTRY * (number % QUEUE_ENTRIES);
        let words = [entry.slot * CHUNKS + entry.chunk, entry.used, entry.thread];
        for (word, offset) in words.into_iter().zip([0, 4, 8]) {
            self.memory.word(at + offset).store(word, Relaxed);
        }
        self.memory.word64(at + 16).store(entry.fs_base, Relaxed);
    }

    pub(super) fn entry(self, number: u64) -> Entry {
        let at = QUEUE + ENTRY * (number % QUEUE_ENTRIES);
        let word = |offset| self.memory.word(at + offset).load(Relaxed);
        Entry {
            slot: word(0) / CHUNKS,
            chunk: word(0) % CHUNKS,
            used: word(4),
            thread: word(8),
            fs_base: self.memory.word64(at + 16).load(Relaxed),
        }
    }
}

fn swap(word: &AtomicU32, value: bool) -> bool {
    word.swap(u32::from(value), SeqCst) != 0
}
