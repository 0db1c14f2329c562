//! The 64-bit boot protocol of Linux (Documentation/arch/x86/boot.rst): `boot_params`, page tables, the initial RAM disk.

use std::io::Cursor;

use linux_loader::loader::KernelLoader;
use linux_loader::loader::bzimage::BzImage as Loader;
use vm_memory::GuestAddress;

use super::acpi;
use super::bzimage::{HEADER, SIGNATURE};
use super::error::BootError;
use super::start::{DESCRIPTORS_64, Start};
use crate::memory::Ram;

pub(super) const GDT: u64 = 0x500;
const PAGE_TABLES: u64 = 0x9000;
/// Also where other protocols have their information.
pub(super) const ZERO_PAGE: u64 = 0x7000;
pub(super) const COMMAND_LINE: u64 = 0x2_0000;
pub(super) const COMMAND_LINE_MAX: usize = 2047;
/// Where a bzImage is put.
pub(super) const KERNEL: u64 = 0x100_0000;
/// The end of memory below the firmware.
pub(super) const LOW_END: u64 = 0x9_fc00;
/// Where memory goes on above it.
pub(super) const HIGH_START: u64 = 0x10_0000;

/// A line of the memory map; kind 1 is memory, 2 reserved, as the BIOS numbers them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) bytes: u64,
    pub(super) kind: u32,
}

/// What the BIOS would answer to E820.
pub(super) fn memory_map(memory: u64) -> [Range; 3] {
    [
        (0, LOW_END, 1),
        (LOW_END, HIGH_START, 2),
        (HIGH_START, memory, 1),
    ]
    .map(|(start, end, kind)| Range {
        start,
        bytes: end - start,
        kind,
    })
}

/// Puts the initial RAM disk as high as it may lie, above the kernel, which ends at `end`: address and bytes; none where it is empty.
pub(super) fn place_initrd(
    ram: &mut Ram,
    initrd: &[u8],
    end: u64,
    limit: u64,
) -> Result<Option<(u64, u64)>, BootError> {
    if initrd.is_empty() {
        return Ok(None);
    }
    let bytes = initrd.len() as u64;
    let have = ram.bytes();
    let need = end + bytes.next_multiple_of(4096);
    let ceiling = have.min(limit.saturating_add(1));
    if need > ceiling {
        return Err(BootError::TooLittle {
            what: "kernel and initrd need",
            need,
            have: ceiling,
        });
    }
    let address = (ceiling - bytes) & !0xfff;
    ram.slice_mut(address, initrd.len()).copy_from_slice(initrd);
    Ok(Some((address, bytes)))
}

/// Puts the protected-mode part of a bzImage at [`KERNEL`].
pub(super) fn load_bzimage(ram: &Ram, image: &[u8]) -> Result<(), String> {
    let mut file = Cursor::new(image);
    let at = Some(GuestAddress(KERNEL));
    Loader::load(
        ram.guest_memory(),
        at,
        &mut file,
        Some(GuestAddress(HIGH_START)),
    )
    .map(|_| ())
    .map_err(|error| error.to_string())
}

/// Writes what the kernel finds, and begins at its 64-bit entry.
pub(super) fn start(
    ram: &mut Ram,
    entry: u64,
    header: &[u8],
    initrd: Option<(u64, u64)>,
    map: &[Range],
) -> Start {
    let page = zero_page(header, initrd, map);
    ram.slice_mut(ZERO_PAGE, page.len()).copy_from_slice(&page);
    write_page_tables(ram);
    for (index, descriptor) in DESCRIPTORS_64.into_iter().enumerate() {
        ram.write(GDT + 8 * index as u64, descriptor);
    }
    let mut start = Start::long(entry, GDT, PAGE_TABLES);
    start.registers[6] = ZERO_PAGE;
    start
}

/// `struct boot_params`.
fn zero_page(header: &[u8], initrd: Option<(u64, u64)>, map: &[Range]) -> Vec<u8> {
    let mut page = vec![0; 4096];
    let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x70, &acpi::AREA.to_le_bytes());
    if header.is_empty() {
        put(0x1fe, &0xaa55_u16.to_le_bytes());
        put(0x202, &SIGNATURE);
        put(0x206, &0x20f_u16.to_le_bytes());
    } else {
        put(HEADER, header);
    }
    let (address, bytes) = initrd.unwrap_or_default();
    // An unregistered loader, which loads high.
    put(0x210, &[0xff, 1]);
    put(0x218, &(address as u32).to_le_bytes());
    put(0x21c, &(bytes as u32).to_le_bytes());
    put(0x228, &(COMMAND_LINE as u32).to_le_bytes());
    put(0x1e8, &[map.len() as u8]);
    for (index, range) in map.iter().enumerate() {
        let at = 0x2d0 + 20 * index;
        put(at, &range.start.to_le_bytes());
        put(at + 8, &range.bytes.to_le_bytes());
        put(at + 16, &range.kind.to_le_bytes());
    }
    page
}

/// The first 4 GiB, identity-mapped by 2 MiB pages.
fn write_page_tables(ram: &mut Ram) {
    const RIGHTS: u64 = 3;
    const LARGE: u64 = 0x80;
    let pointers = PAGE_TABLES + 0x1000;
    let directories = PAGE_TABLES + 0x2000;
    ram.write(PAGE_TABLES, pointers | RIGHTS);
    for n in 0..4 {
        ram.write(pointers + 8 * n, (directories + 4096 * n) | RIGHTS);
    }
    for n in 0..2048 {
        ram.write(directories + 8 * n, (n << 21) | RIGHTS | LARGE);
    }
}
