//! The end of the streams at the statistics process.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
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
    ring: Arc<Ring>,
    taken: u64,
}

#[derive(Debug)]
struct Ring {
    memory: SharedMemory,
    layout: Layout,
}

/// A published chunk, to be handed back with [`Chunk::hand_back`].
#[derive(Debug)]
pub struct Chunk {
    ring: Arc<Ring>,
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

    /// The rows, and [`READABLE_BEHIND`] bytes more.
    pub fn rows(&self) -> &[u8] {
        let Ring { memory, layout } = &*self.ring;
        let offset = layout.chunk_offset(self.entry.slot, self.entry.chunk);
        let bytes = u64::from(self.entry.used) + READABLE_BEHIND as u64;
        memory.bytes(offset, bytes)
    }

    /// Gives the chunk back to the producer; true if the producer sleeps and must be woken.
    pub fn hand_back(self) -> bool {
        let control = Control::new(&self.ring.memory);
        control
            .busy(self.entry.slot, self.entry.chunk)
            .store(0, Release);
        std::sync::atomic::fence(SeqCst);
        control.set_producer_asleep(false)
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
        let ring = Arc::new(Ring { memory, layout });
        Ok(Consumer { ring, taken: 0 })
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
        if entry.slot >= self.ring.layout.slots || entry.used > self.ring.layout.chunk_bytes {
            let message = "the control area of the streams was overwritten";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.taken += 1;
        let ring = Arc::clone(&self.ring);
        Ok(Some(Chunk { ring, entry }))
    }

    /// Says that the consumer goes to sleep (then look once more before sleeping), or that it is awake.
    pub fn set_asleep(&self, asleep: bool) {
        self.control().set_consumer_asleep(asleep);
    }

    fn control(&self) -> Control<'_> {
        Control::new(&self.ring.memory)
    }
}
