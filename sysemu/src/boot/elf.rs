//! ELF kernels: what they occupy, and their entries.

use std::io::Cursor;

use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use vm_memory::GuestAddress;

use super::linux::HIGH_START;
use crate::memory::Ram;

/// A kernel in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Loaded {
    /// The 64-bit entry.
    pub(super) entry: u64,
    /// The 32-bit entry that the PVH note names.
    pub(super) pvh: Option<u64>,
    /// The end of what it occupies.
    pub(super) end: u64,
}

/// Whether a file is one.
pub(super) fn is(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF")
}

/// The end of the last segment in memory.
///
/// # Errors
/// A reason why it is no kernel.
pub(super) fn end(image: &[u8]) -> Result<u64, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("it is a damaged ELF file: {error}");
    let header = goblin::elf::Elf::parse_header(image).map_err(|error| damaged(&error))?;
    if header.e_machine != goblin::elf::header::EM_X86_64 {
        return Err("it is an ELF file, but neither an x86-64 kernel nor a multiboot one".into());
    }
    let mut elf = goblin::elf::Elf::lazy_parse(header).map_err(|error| damaged(&error))?;
    let context = goblin::container::Ctx::new(
        goblin::container::Container::Big,
        goblin::container::Endian::Little,
    );
    elf.program_headers = goblin::elf::ProgramHeader::parse(
        image,
        header.e_phoff as usize,
        header.e_phnum.into(),
        context,
    )
    .map_err(|error| damaged(&error))?;
    let mut end = 0;
    for segment in &elf.program_headers {
        if segment.p_type != goblin::elf::program_header::PT_LOAD {
            continue;
        }
        let file_end = segment.p_offset.checked_add(segment.p_filesz);
        if file_end.is_none_or(|end| end > image.len() as u64) {
            let have = image.len();
            return Err(format!(
                "it is truncated: a segment lies beyond its {have} bytes"
            ));
        }
        let memory_end = segment.p_paddr.checked_add(segment.p_memsz);
        end = end.max(memory_end.ok_or("a segment wraps around")?);
    }
    if end == 0 {
        return Err("it is an ELF file without anything to load".into());
    }
    Ok(end)
}

/// Loads a 64-bit kernel, which fits ([`end`]).
///
/// # Errors
/// A reason why it is no kernel.
pub(super) fn load(ram: &Ram, image: &[u8]) -> Result<Loaded, String> {
    let end = end(image)?;
    let mut file = Cursor::new(image);
    let start = Some(GuestAddress(HIGH_START));
    let loaded = Elf::load(ram.guest_memory(), None, &mut file, start)
        .map_err(|error| format!("it is no ELF kernel: {error}"))?;
    let pvh = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Some(entry.0),
        _ => None,
    };
    Ok(Loaded {
        entry: loaded.kernel_load.0,
        pvh,
        end: end.next_multiple_of(4096),
    })
}
