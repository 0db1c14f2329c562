//! The mapping of the memory file: checked access to memory that other processes change as well.
//!
//! The rules: words of the control area are only touched as atomics; chunk bytes are read only between
//! their publication and their return, and written only outside that time. A target gone wild may break the
//! second rule: then what is counted is wrong, so whoever reads a chunk must check each value it uses after
//! it has read it, and may not read it twice.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::unistd::ftruncate;

/// A shared mapping of the whole memory file.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    map: MmapRaw,
}

impl SharedMemory {
    /// A new memory file of `bytes`, all zero and without storage until written. It is closed by `exec`.
    pub fn create(bytes: u64) -> io::Result<Self> {
        let file = memfd_create(c"fits-streams", MFdFlags::MFD_CLOEXEC)?;
        ftruncate(&file, bytes as i64)?;
        Self::open(file)
    }

    /// Maps an existing memory file.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let map = MmapOptions::new().map_raw(&file)?;
        Ok(SharedMemory { file, map })
    }

    /// Bytes mapped.
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The 32-bit word at `offset`, a multiple of 4.
    ///
    /// # Panics
    /// When the word is not within the mapping; offsets come from [`super::Layout`], never from outside.
    pub fn word(&self, offset: u64) -> &AtomicU32 {
        let at = self.checked(offset, 4, 4);
        // SAFETY: `checked` proves that the word is aligned and within the mapping, which lives as long as
        // `self`; all processes access it only as an atomic.
        unsafe { AtomicU32::from_ptr(at.cast()) }
    }

    /// The 64-bit word at `offset`, a multiple of 8.
    ///
    /// # Panics
    /// As [`SharedMemory::word`].
    pub fn word64(&self, offset: u64) -> &AtomicU64 {
        let at = self.checked(offset, 8, 8);
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(at.cast()) }
    }

    /// `bytes` bytes from `offset` on; see the rules at the top.
    ///
    /// # Panics
    /// As [`SharedMemory::word`].
    pub fn bytes(&self, offset: u64, bytes: u64) -> &[u8] {
        let at = self.checked(offset, bytes, 1);
        // SAFETY: `checked` proves that the bytes are within the mapping, which lives as long as `self`. By
        // the rules at the top the producer does not write a chunk that is published.
        unsafe { std::slice::from_raw_parts(at, bytes as usize) }
    }

    /// Writes `bytes` at `offset`; see the rules at the top.
    ///
    /// # Panics
    /// As [`SharedMemory::word`].
    pub fn write(&self, offset: u64, bytes: &[u8]) {
        let at = self.checked(offset, bytes.len() as u64, 1);
        // SAFETY: `checked` proves that the destination is within the mapping; the source is a slice of this
        // process and so can't overlap with it: no slice of the mapping is given out while a chunk is written.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), at, bytes.len()) }
    }

    fn checked(&self, offset: u64, bytes: u64, align: u64) -> *mut u8 {
        let end = offset.checked_add(bytes).expect("offset + bytes overflows");
        assert!(
            end <= self.len(),
            "bytes {offset}..{end} are outside of the streams"
        );
        assert!(
            offset.is_multiple_of(align),
            "offset {offset} is not aligned to {align}"
        );
        self.map.as_mut_ptr().wrapping_add(offset as usize)
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
