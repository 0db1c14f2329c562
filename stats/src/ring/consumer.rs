//! The end of the streams at the statistics process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering::{Acquire, Release, SeqCst};

use super::control::{Control, Entry};
use super::layout::Layout;
use super::shm::SharedMemory;
use crate::protocol::ThreadNumber;

/// Bytes behind a chunk's rows that may be read (and mean nothing): vector loads need not stop exactly.
pub const READABLE_BEHIND: usize = 128;

const _: () = assert!(READABLE_BEHIND as u64 <= super::HOLE);

/// The one who takes published chunks.
#[derive(Debug)]
pub struct Consumer {
    memory: SharedMemory,
    layout: Layout,
    taken: u64,
}

/// A published chunk, to be handed back with [`Consumer::hand_back`].
#[derive(Debug)]
pub struct Chunk {
    entry: Entry,
}

impl Chunk {
    /// The thread whose rows these are.
    pub fn thread(&self) -> ThreadNumber {
        self.entry.thread
    }

    /// The thread's fs base at the beginning of the chunk.
    pub fn fs_base(&self) -> u64 {
        self.entry.fs_base
    }

    /// Bytes of rows.
    pub fn used(&self) -> usize {
        self.entry.used as usize
    }
}

impl Consumer {
    /// Maps the memory file that the supervisor made.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let memory = SharedMemory::open(file)?;
        let layout = Control::new(&memory).layout().ok_or_else(|| {
            let message = "the memory of the streams is not that of this version of fits";
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        Ok(Consumer {
            memory,
            layout,
            taken: 0,
        })
    }

    /// Number of chunks published until now.
    pub fn published(&self) -> u64 {
        self.control().published().load(SeqCst)
    }

    /// Number of chunks taken until now.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Tells the producer how many instructions are counted so far.
    pub fn set_instructions(&self, instructions: u64) {
        let word = self.control().instructions();
        word.store(instructions, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether there is something to take.
    pub fn has_chunk(&self) -> bool {
        self.published() > self.taken
    }

    /// The next published chunk in order of publication.
    ///
    /// # Errors
    /// When the control area makes no sense, so something has overwritten it.
    pub fn take(&mut self) -> io::Result<Option<Chunk>> {
        if self.control().published().load(Acquire) == self.taken {
            return Ok(None);
        }
        let entry = self.control().entry(self.taken);
        if entry.slot >= self.layout.slots || entry.used > self.layout.chunk_bytes {
            let message = "the control area of the streams was overwritten";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.taken += 1;
        Ok(Some(Chunk { entry }))
    }

    /// The rows of a chunk, and [`READABLE_BEHIND`] bytes more.
    pub fn rows(&self, chunk: &Chunk) -> &[u8] {
        let offset = self
            .layout
            .chunk_offset(chunk.entry.slot, chunk.entry.chunk);
        let bytes = u64::from(chunk.entry.used) + READABLE_BEHIND as u64;
        self.memory.bytes(offset, bytes)
    }

    /// Gives a chunk back to the producer; true if the producer sleeps and must be woken.
    pub fn hand_back(&self, chunk: Chunk) -> bool {
        let control = self.control();
        control
            .busy(chunk.entry.slot, chunk.entry.chunk)
            .store(0, Release);
        std::sync::atomic::fence(SeqCst);
        control.set_producer_asleep(false)
    }

    /// Says that the consumer goes to sleep (then look once more before sleeping), or that it is awake.
    pub fn set_asleep(&self, asleep: bool) {
        self.control().set_consumer_asleep(asleep);
    }

    fn control(&self) -> Control<'_> {
        Control::new(&self.memory)
    }
}
