//! Where things lie in the child: fixed addresses that the kernel would not pick.

use fits_dbt::layout;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Guest code: [`CODE_BYTES`], readable and executable; what surrounds it is unmapped.
pub const CODE: u64 = 0x3000_1000_0000;
/// Size of the guest code.
pub const CODE_BYTES: u64 = 2 * PAGE;

/// Two writable data pages; the read-only page follows at once, then nothing.
pub const DATA: u64 = 0x3000_2000_0000;
/// Size of the writable data.
pub const DATA_BYTES: u64 = 2 * PAGE;
/// The read-only page.
pub const CONSTANTS: u64 = DATA + DATA_BYTES;
/// The stack: one page.
pub const STACK: u64 = 0x3000_2001_0000;
/// A page that 32-bit addresses reach.
pub const LOW: u64 = 0x1000_0000;

/// A stretch of data.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Its address in the child.
    pub address: u64,
    /// Its size.
    pub bytes: u64,
    /// Where it lies in the shared memory.
    pub offset: u64,
    /// The child may write it.
    pub writable: bool,
}

const fn region(address: u64, bytes: u64, offset: u64, writable: bool) -> Region {
    Region {
        address,
        bytes,
        offset,
        writable,
    }
}

/// All data of the guest.
pub const REGIONS: [Region; 4] = [
    region(DATA, DATA_BYTES, 0, true),
    region(CONSTANTS, PAGE, DATA_BYTES, false),
    region(STACK, PAGE, DATA_BYTES + PAGE, true),
    region(LOW, PAGE, DATA_BYTES + 2 * PAGE, true),
];

/// Bytes of all data.
pub const MEMORY_BYTES: usize = (DATA_BYTES + 3 * PAGE) as usize;

/// Translated code, near the guest's code and data; no bit string instruction with an index at the edge of 32 bits hits it.
pub const NEAR: u64 = 0x3000_4a00_0000;
/// The same pages again, where no displacement reaches the guest's data.
pub const FAR: u64 = 0x3100_0000_0000;
/// Size of the zone of translated code.
pub const ZONE_BYTES: u64 = 1 << 20;

/// The thread area (a context, lookup tables, counters).
pub const AREA: u64 = layout::THREAD_AREAS;
/// Units that have counters.
pub const UNITS: u32 = 8192;
/// The part of the area below the stream.
pub const AREA_BYTES: u64 = layout::COUNTERS as u64 + 8 * UNITS as u64;
/// The one chunk of the thread's stream.
pub const STREAM: u64 = AREA + layout::STREAM as u64;
/// Its size.
pub const STREAM_BYTES: u64 = 32 * PAGE;

/// Where in [`REGIONS`]' shared memory the byte at `address` lies, and how many bytes follow it in its region.
#[must_use]
pub fn find(address: u64) -> Option<(usize, usize)> {
    REGIONS.iter().find_map(|region| {
        let inside = address.wrapping_sub(region.address);
        (inside < region.bytes).then(|| {
            (
                (region.offset + inside) as usize,
                (region.bytes - inside) as usize,
            )
        })
    })
}

/// `length` bytes of guest data at `address` in a copy of the memory; none unless all of it is data.
#[must_use]
pub fn read(memory: &[u8], address: u64, length: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length);
    let mut at = address;
    while bytes.len() < length {
        let (offset, rest) = find(at)?;
        let piece = rest.min(length - bytes.len());
        bytes.extend_from_slice(&memory[offset..offset + piece]);
        at = at.wrapping_add(piece as u64);
    }
    Some(bytes)
}
