//! Which pages of a private mapping of a file are no longer those of the file, as the kernel says in `/proc/self/pagemap`
//! (Documentation/admin-guide/mm/pagemap.rst).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::PAGE;

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// The page is the file's.
const OF_FILE: u64 = 1 << 61;

/// Runs of pages that were written since they were mapped: offset and length in bytes.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn written_pages(start: usize, bytes: u64) -> io::Result<Vec<(u64, u64)>> {
    let map = File::open("/proc/self/pagemap")?;
    let mut entries = vec![0; (bytes / PAGE * 8) as usize];
    map.read_exact_at(&mut entries, start as u64 / PAGE * 8)?;
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for (page, entry) in (0..).zip(entries.as_chunks::<8>().0) {
        let entry = u64::from_le_bytes(*entry);
        if entry & (PRESENT | SWAPPED) == 0 || entry & OF_FILE != 0 {
            continue;
        }
        match runs.last_mut() {
            Some((at, length)) if *at + *length == page * PAGE => *length += PAGE,
            _ => runs.push((page * PAGE, PAGE)),
        }
    }
    Ok(runs)
}
