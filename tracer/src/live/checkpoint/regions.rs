//! What is mapped, told by where it comes from, and which of its pages the process has made its own.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::Mapping;

pub(super) const PAGE: u64 = 4096;

/// Bits of `/proc/PID/pagemap`: in memory, swapped out, of a file or shared.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

/// Where the content of a region comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Source {
    /// Zeros.
    Anonymous,
    /// Zeros, growing downwards.
    Stack,
    /// A file: its path, and the address that its first byte would have.
    File(String, u64),
    /// The kernel: `[vdso]` and the like.
    Kernel(String),
}

/// Memory with one source and one protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) end: u64,
    /// `PROT_…`.
    pub(super) protection: i32,
    pub(super) shared: bool,
    pub(super) source: Source,
}

impl Region {
    pub(super) fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Whether two regions have the same content wherever the process has not changed it.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.shared == other.shared && self.source == other.source
    }
}

/// Regions out of a map; neighbours that differ in nothing are one. `Err`: a sentence about a mapping that can't be made again.
pub(super) fn regions(
    map: &[Mapping],
    ours: &[Range<u64>],
) -> std::result::Result<Vec<Region>, String> {
    let mut all: Vec<Region> = Vec::new();
    for mapping in map {
        if ours.iter().any(|range| range.contains(&mapping.start)) {
            continue;
        }
        let region = region(mapping)?;
        match all.last_mut() {
            Some(last)
                if last.end == region.start
                    && last.is_like(&region)
                    && last.protection == region.protection
                    && !matches!(region.source, Source::Kernel(_)) =>
            {
                last.end = region.end;
            }
            _ => all.push(region),
        }
    }
    Ok(all)
}

fn region(mapping: &Mapping) -> std::result::Result<Region, String> {
    let path = mapping.path.as_str();
    let source = match path {
        "" | "[heap]" => Source::Anonymous,
        "[stack]" => Source::Stack,
        "[vdso]" | "[vvar]" | "[vvar_vclock]" | "[vsyscall]" => Source::Kernel(path.to_owned()),
        _ if path.ends_with(" (deleted)") => {
            return Err("it has mapped a file that is deleted".to_owned());
        }
        _ if path.starts_with('/') && !path.contains('\\') => {
            Source::File(path.to_owned(), mapping.start.wrapping_sub(mapping.offset))
        }
        _ => return Err(format!("it has memory of an unknown kind ({path})")),
    };
    if mapping.shared && (mapping.write || !matches!(source, Source::File(..))) {
        return Err("it has memory that it shares".to_owned());
    }
    let bit = |has: bool, bit: i32| if has { bit } else { 0 };
    Ok(Region {
        start: mapping.start,
        end: mapping.end,
        protection: bit(mapping.read, libc::PROT_READ)
            | bit(mapping.write, libc::PROT_WRITE)
            | bit(mapping.execute, libc::PROT_EXEC),
        shared: mapping.shared,
        source,
    })
}

/// Looks up pages of a process.
pub(super) struct PageMap {
    file: File,
    path: String,
}

impl PageMap {
    pub(super) fn open(pid: Pid) -> Result<Self> {
        let path = format!("/proc/{pid}/pagemap");
        match File::open(&path) {
            Ok(file) => Ok(Self { file, path }),
            Err(source) => Err(Error::Proc { path, source }),
        }
    }

    /// The pages in `range` that the process has a content of its own for, as ranges of addresses in rising order.
    pub(super) fn own(&self, range: Range<u64>) -> Result<Vec<Range<u64>>> {
        const AT_ONCE: u64 = 1 << 16;
        let mut found: Vec<Range<u64>> = Vec::new();
        let mut buffer = Vec::new();
        let mut page = range.start / PAGE;
        let last = range.end.div_ceil(PAGE);
        while page < last {
            let count = (last - page).min(AT_ONCE);
            buffer.resize(8 * count as usize, 0);
            let read = self.file.read_exact_at(&mut buffer, 8 * page);
            read.map_err(|source| Error::Proc {
                path: self.path.clone(),
                source,
            })?;
            for (number, entry) in buffer.chunks_exact(8).enumerate() {
                let entry = u64::from_le_bytes(entry.try_into().unwrap_or_default());
                if entry & (PRESENT | SWAPPED) == 0 || entry & OF_FILE != 0 {
                    continue;
                }
                let start = (page + number as u64) * PAGE;
                match found.last_mut() {
                    Some(last) if last.end == start => last.end += PAGE,
                    _ => found.push(start..start + PAGE),
                }
            }
            page += count;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::parse_maps;

    #[test]
    fn neighbours_that_differ_in_nothing_are_one() {
        let map = parse_maps(
            "1000-2000 r--p 00000000 00:01 7 /bin/x\n2000-3000 r--p 00001000 00:01 7 /bin/x\n\
             3000-4000 rw-p 00002000 00:01 7 /bin/x\n4000-5000 rw-p 00000000 00:00 0 \n5000-6000 rw-p 00000000 00:00 0 [heap]\n\
             9000-a000 rw-p 00000000 00:00 0 [stack]\n",
        );
        let stack = 0x9000..0xa000;
        let found = regions(&map, std::slice::from_ref(&stack)).unwrap();
        let ranges: Vec<_> = found.iter().map(Region::range).collect();
        assert_eq!(ranges, [0x1000..0x3000, 0x3000..0x4000, 0x4000..0x6000]);
        assert_eq!(found[0].source, Source::File("/bin/x".to_owned(), 0x1000));
    }

    #[test]
    fn what_is_shared_or_deleted_is_refused() {
        for line in [
            "1000-2000 rw-s 00000000 00:01 7 /tmp/x\n",
            "1000-2000 r--s 00000000 00:01 7 /dev/zero (deleted)\n",
            "1000-2000 rw-p 00000000 00:01 7 /tmp/x (deleted)\n",
            "1000-2000 rw-p 00000000 00:01 7 [anon:name]\n",
        ] {
            assert!(regions(&parse_maps(line), &[]).is_err(), "{line}");
        }
        let read_only = parse_maps("1000-2000 r--s 00000000 00:01 7 /usr/lib/x\n");
        assert!(regions(&read_only, &[]).is_ok());
    }

    #[test]
    fn pages_that_were_written_are_our_own() {
        let mut memory = vec![0u8; 64 * PAGE as usize];
        let start = (memory.as_ptr() as u64).div_ceil(PAGE) * PAGE;
        let offset = (start - memory.as_ptr() as u64) as usize;
        memory[offset + 5 * PAGE as usize] = 1;
        let map = PageMap::open(Pid::this()).unwrap();
        let own = map.own(start..start + 60 * PAGE).unwrap();
        assert!(own.iter().any(|range| range.contains(&(start + 5 * PAGE))));
        std::hint::black_box(&memory);
    }
}
