//! Executable memory for stubs: one memory file, mapped writable in one place and executable in another, so that no page is both.

use memmap2::{Mmap, MmapMut, MmapOptions};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;

const BYTES: usize = 16 << 20;

/// The memory and how much of it is used.
#[derive(Debug)]
pub(super) struct Arena {
    writable: MmapMut,
    executable: Mmap,
    used: usize,
}

impl Arena {
    pub(super) fn new() -> std::io::Result<Self> {
        let file = File::from(memfd_create("stubs", MFdFlags::MFD_CLOEXEC)?);
        file.set_len(BYTES as u64)?;
        let (writable, executable) = super::call::map(&file)?;
        Ok(Arena {
            writable,
            executable,
            used: 0,
        })
    }

    /// Adds code: its offset; none where the arena is full.
    pub(super) fn add(&mut self, code: &[u8]) -> Option<u32> {
        let start = self.used.next_multiple_of(16);
        let end = start + code.len();
        self.writable.get_mut(start..end)?.copy_from_slice(code);
        self.used = end;
        Some(start as u32)
    }

    pub(super) fn clear(&mut self) {
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

/// Options for both mappings.
pub(super) fn options() -> MmapOptions {
    let mut options = MmapOptions::new();
    options.len(BYTES);
    options
}
