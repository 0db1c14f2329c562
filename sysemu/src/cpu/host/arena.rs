//! Executable memory for stubs and translations: one memory file, mapped writable in one place and executable in another, so that no page is both.

use memmap2::{Mmap, MmapMut};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;

/// The memory and how much of it is used.
#[derive(Debug)]
pub(crate) struct Arena {
    writable: MmapMut,
    executable: Mmap,
    used: usize,
}

impl Arena {
    /// An empty one of that many bytes.
    pub(crate) fn new(name: &str, bytes: usize) -> std::io::Result<Self> {
        let file = File::from(memfd_create(name, MFdFlags::MFD_CLOEXEC)?);
        file.set_len(bytes as u64)?;
        let (writable, executable) = super::call::map(&file, bytes)?;
        Ok(Arena {
            writable,
            executable,
            used: 0,
        })
    }

    /// The offset that code added now gets.
    pub(crate) fn next(&self) -> u32 {
        self.used.next_multiple_of(16) as u32
    }

    /// The address of an offset in executable memory.
    pub(crate) fn address(&self, offset: u32) -> u64 {
        self.executable.as_ptr() as u64 + u64::from(offset)
    }

    /// Changes code that was added.
    pub(crate) fn patch(&mut self, offset: u32, bytes: &[u8]) {
        let start = offset as usize;
        self.writable[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Adds code: its offset; none where the arena is full.
    pub(crate) fn add(&mut self, code: &[u8]) -> Option<u32> {
        let start = self.used.next_multiple_of(16);
        let end = start + code.len();
        self.writable.get_mut(start..end)?.copy_from_slice(code);
        self.used = end;
        Some(start as u32)
    }

    pub(crate) fn clear(&mut self) {
        self.used = 0;
    }

    /// Where code at `offset` begins, if there is some.
    pub(super) fn code(&self, offset: u32) -> Option<*const u8> {
        self.executable[..self.used]
            .get(offset as usize..)
            .filter(|rest| !rest.is_empty())
            .map(<[u8]>::as_ptr)
    }
}
