//! The supervisor's end of the streams.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use super::control::{Control, Entry};
use super::layout::{CHUNKS, Cursor, Layout};
use super::shm::SharedMemory;
use crate::protocol::ThreadNumber;

/// The one who publishes chunks.
#[derive(Debug)]
pub struct Producer {
    memory: SharedMemory,
    layout: Layout,
    owners: Vec<Option<Owner>>,
}

/// The thread that has a slot.
#[derive(Clone, Copy, Debug)]
struct Owner {
    thread: ThreadNumber,
    /// Its fs base, and what it was at the beginning of the chunk.
    fs_base: u64,
    fs_base_at_start: u64,
}

impl Producer {
    /// Makes the memory file.
    pub fn create(layout: Layout) -> io::Result<Self> {
        if !layout.is_valid() {
            let message = format!("{layout:?} is not a possible layout of the streams");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let memory = SharedMemory::create(layout.total_bytes())?;
        Control::new(&memory).set_layout(layout);
        Ok(Producer {
            memory,
            layout,
            owners: vec![None; layout.slots as usize],
        })
    }

    /// Where everything lies in the file.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Gives a slot to a thread.
    ///
    /// # Panics
    /// When there is no such slot, or it is open.
    pub fn open(&mut self, slot: u32, thread: ThreadNumber) {
        let owner = &mut self.owners[slot as usize];
        assert!(owner.is_none(), "slot {slot} of the streams is in use");
        *owner = Some(Owner {
            thread,
            fs_base: 0,
            fs_base_at_start: 0,
        });
    }

    /// Takes a slot from its thread. Its filled chunks must have been published.
    pub fn close(&mut self, slot: u32) {
        self.owners[slot as usize] = None;
    }

    /// The thread that has the slot.
    pub fn thread(&self, slot: u32) -> Option<ThreadNumber> {
        self.owners[slot as usize].map(|owner| owner.thread)
    }

    /// An event says that the slot's thread has another fs base from here on.
    pub fn set_fs_base(&mut self, slot: u32, base: u64) {
        if let Some(owner) = &mut self.owners[slot as usize] {
            owner.fs_base = base;
        }
    }

    /// A place where the slot's thread can go on writing, if one of its chunks is free. `after` is the chunk
    /// that was filled last.
    pub fn free_chunk(&self, slot: u32, after: u32) -> Option<Cursor> {
        let free = |chunk: &u32| self.control().busy(slot, *chunk).load(Acquire) == 0;
        let mut others = (after + 1..after + 1 + CHUNKS).map(|chunk| chunk % CHUNKS);
        let chunk = others.find(free)?;
        Some(Cursor { slot, chunk, at: 0 })
    }

    /// Hands the chunk of `filled` to the consumer; true if the consumer sleeps and must be woken.
    ///
    /// # Panics
    /// When the slot is not open, or the cursor is not in a chunk.
    pub fn publish(&mut self, filled: Cursor) -> bool {
        let Cursor { slot, chunk, at } = filled;
        assert!(
            chunk < CHUNKS && at <= self.layout.chunk_bytes,
            "{filled:?} is not in a chunk"
        );
        let owner = self.owners[slot as usize].as_mut();
        let owner = owner.expect("a stream is published by the thread that has it");
        let fs_base = std::mem::replace(&mut owner.fs_base_at_start, owner.fs_base);
        let thread = owner.thread;
        let control = self.control();
        control.busy(slot, chunk).store(1, Relaxed);
        let number = control.published().load(Relaxed);
        let entry = Entry {
            slot,
            chunk,
            used: at,
            thread,
            fs_base,
        };
        control.set_entry(number, entry);
        control.published().store(number + 1, SeqCst);
        control.set_consumer_asleep(false)
    }

    /// Instructions that the consumer has counted so far.
    pub fn instructions(&self) -> u64 {
        self.control().instructions().load(Relaxed)
    }

    /// Says that the producer waits for a free chunk (then look once more before sleeping), or no longer.
    pub fn set_asleep(&self, asleep: bool) {
        self.control().set_producer_asleep(asleep);
    }

    /// Writes a row, which must fit into the chunk.
    ///
    /// # Panics
    /// When it does not fit.
    pub fn write(&mut self, cursor: Cursor, row: &[u8]) -> Cursor {
        assert!(
            self.fits(cursor, row.len()),
            "a row of {} bytes at {cursor:?}",
            row.len()
        );
        self.memory.write(self.layout.offset(cursor), row);
        let at = cursor.at + row.len() as u32;
        Cursor { at, ..cursor }
    }

    /// Whether a row of so many bytes fits behind the cursor.
    pub fn fits(&self, cursor: Cursor, bytes: usize) -> bool {
        cursor.at as usize + bytes <= self.layout.chunk_bytes as usize
    }

    /// Bytes of a stream that were written and not yet published: up to the cursor.
    pub fn written(&self, cursor: Cursor) -> &[u8] {
        let start = Cursor { at: 0, ..cursor };
        self.memory
            .bytes(self.layout.offset(start), u64::from(cursor.at))
    }

    fn control(&self) -> Control<'_> {
        Control::new(&self.memory)
    }
}

impl AsFd for Producer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.memory.as_fd()
    }
}
