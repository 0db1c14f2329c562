//! The PVH entry (Xen's `hvm_start_info`): 32-bit protected mode without paging, EBX pointing at a description of what was loaded.

use super::acpi;
use super::linux::{COMMAND_LINE, GDT, Range, ZERO_PAGE};
use super::start::{DESCRIPTORS_32, Start};
use crate::memory::Ram;

/// "xEn3" with the highest bit set.
const MAGIC: u32 = 0x336e_c578;
/// Behind the start information.
const MODULES: u64 = ZERO_PAGE + 0x100;
const MEMORY_MAP: u64 = ZERO_PAGE + 0x200;

/// Describes initrd, command line and memory, and begins at `entry`.
pub(super) fn start(ram: &mut Ram, entry: u64, initrd: Option<(u64, u64)>, map: &[Range]) -> Start {
    let mut info = Vec::new();
    for word in [MAGIC, 1, 0, u32::from(initrd.is_some())] {
        info.extend_from_slice(&word.to_le_bytes());
    }
    for address in [MODULES, COMMAND_LINE, acpi::AREA, MEMORY_MAP] {
        info.extend_from_slice(&address.to_le_bytes());
    }
    info.extend_from_slice(&(map.len() as u64).to_le_bytes());
    ram.slice_mut(ZERO_PAGE, info.len()).copy_from_slice(&info);
    if let Some((address, bytes)) = initrd {
        for (index, word) in [address, bytes, 0, 0].into_iter().enumerate() {
            ram.write(MODULES + 8 * index as u64, word);
        }
    }
    for (index, range) in map.iter().enumerate() {
        let at = MEMORY_MAP + 24 * index as u64;
        ram.write(at, range.start);
        ram.write(at + 8, range.bytes);
        ram.write(at + 16, u64::from(range.kind));
    }
    for (index, descriptor) in DESCRIPTORS_32.into_iter().enumerate() {
        ram.write(GDT + 8 * index as u64, descriptor);
    }
    let mut start = Start::protected(entry, GDT);
    start.registers[3] = ZERO_PAGE;
    start
}
