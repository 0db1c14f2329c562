//! Numbers of files, as the kernel tells them and as the program has been told them.
//!
//! Programs compare device and inode number of a file now with what they were. A process that goes on from a checkpoint finds other files in the place
//! of those that it knew, with whatever numbers the kernel has given these; it is told the numbers that it knows.

use std::mem::offset_of;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ptrace::Memory;

/// What a file is told from others by: `st_dev` and `st_ino`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileNumber {
    /// The device that it lies on.
    pub device: u64,
    /// Which it is there.
    pub inode: u64,
}

/// Told with this bit changed, a number that is another file's is nobody's: no file system counts that far.
const FAR: u64 = 1 << 55;

/// What the program is to be told for what the kernel tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileNumbers {
    /// By the kernel's number: the program's.
    files: FxHashMap<FileNumber, FileNumber>,
    /// Those of the program's that are in use.
    taken: FxHashSet<FileNumber>,
    /// Devices that differ: the kernel's, the program's. No number is twice on one side.
    devices: Vec<(u64, u64)>,
}

impl FileNumbers {
    /// `known`: files that the program may know, each with its number now and the one that the program has been told.
    #[must_use]
    pub fn new(known: impl IntoIterator<Item = (FileNumber, FileNumber)>) -> Self {
        let mut numbers = Self::default();
        let mut all: Vec<(u64, u64)> = Vec::new();
        for (here, told) in known {
            if numbers.taken.insert(told) {
                numbers.files.entry(here).or_insert(told);
            }
            let fits = |one: &(u64, u64)| one.0 != here.device && one.1 != told.device;
            if all.iter().all(fits) {
                all.push((here.device, told.device));
            }
        }
        numbers.devices = all;
        if numbers.files.iter().all(|(here, told)| here == told) {
            return Self::default();
        }
        numbers
    }

    /// Whether the program is told what the kernel tells.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What the program is told of a file that has this number.
    #[must_use]
    pub fn told(&self, here: FileNumber) -> FileNumber {
        if let Some(told) = self.files.get(&here) {
            return *told;
        }
        let mut told = FileNumber {
            device: self.device(here.device),
            inode: here.inode,
        };
        if self.taken.contains(&told) {
            told.inode ^= FAR;
        }
        told
    }

    /// The same for a device. One that the program does not know has its own number, or, if that is one which the program has been told for another, one
    /// that is free for that reason.
    fn device(&self, here: u64) -> u64 {
        if let Some(known) = self.devices.iter().find(|one| one.0 == here) {
            return known.1;
        }
        let mut device = here;
        while let Some(known) = self.devices.iter().find(|one| one.1 == device) {
            device = known.0;
        }
        device
    }
}

/// Where a system call puts the numbers of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A `struct stat`.
    Stat(u64),
    /// A `struct statx`.
    Statx(u64),
}

impl Place {
    /// None: it tells none.
    pub(super) fn of(number: u64, args: [u64; 6]) -> Option<Self> {
        match number.cast_signed() {
            libc::SYS_stat | libc::SYS_fstat | libc::SYS_lstat => Some(Self::Stat(args[1])),
            libc::SYS_newfstatat => Some(Self::Stat(args[2])),
            libc::SYS_statx => Some(Self::Statx(args[4])),
            _ => None,
        }
    }

    /// Addresses of device and inode number.
    fn addresses(self) -> (u64, u64) {
        match self {
            Self::Stat(place) => (
                place + offset_of!(libc::stat, st_dev) as u64,
                place + offset_of!(libc::stat, st_ino) as u64,
            ),
            Self::Statx(place) => (
                place + offset_of!(libc::statx, stx_dev_major) as u64,
                place + offset_of!(libc::statx, stx_ino) as u64,
            ),
        }
    }

    pub(super) fn read(self, memory: &Memory) -> Result<FileNumber> {
        let (device, inode) = self.addresses();
        let device = memory.read_u64(device)?;
        Ok(FileNumber {
            device: match self {
                Self::Stat(_) => device,
                Self::Statx(_) => libc::makedev(device as u32, (device >> 32) as u32),
            },
            inode: memory.read_u64(inode)?,
        })
    }

    pub(super) fn write(self, memory: &Memory, number: FileNumber) -> Result<()> {
        let (device, inode) = self.addresses();
        let words = match self {
            Self::Stat(_) => number.device,
            Self::Statx(_) => {
                u64::from(libc::major(number.device)) | u64::from(libc::minor(number.device)) << 32
            }
        };
        memory.write(device, &words.to_le_bytes())?;
        memory.write(inode, &number.inode.to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(device: u64, inode: u64) -> FileNumber {
        FileNumber { device, inode }
    }

    #[test]
    fn no_two_files_are_told_the_same_number() {
        // Devices 40 and 41 have changed places with 41 and 42; two files have each other's number.
        let known = [
            (number(40, 7), number(41, 8)),
            (number(40, 8), number(41, 7)),
            (number(41, 1), number(42, 5)),
            (number(50, 3), number(50, 3)),
        ];
        let numbers = FileNumbers::new(known);
        for (here, told) in known {
            assert_eq!(numbers.told(here), told);
        }
        assert_eq!(numbers.told(number(40, 9)), number(41, 9));
        assert_eq!(numbers.told(number(50, 4)), number(50, 4));
        let mut seen = FxHashSet::default();
        for device in 38..52 {
            for inode in 0..20 {
                assert!(seen.insert(numbers.told(number(device, inode))));
            }
        }
    }

    #[test]
    fn nothing_is_told_otherwise_where_nothing_differs() {
        let same = number(50, 3);
        assert!(FileNumbers::new([(same, same)]).is_empty());
        assert_eq!(FileNumbers::default().told(same), same);
    }

    #[test]
    fn devices_are_in_one_word_or_in_two() {
        let mut buffer = [0u64; 40];
        let memory = Memory::open(nix::unistd::Pid::this()).unwrap();
        let address = buffer.as_mut_ptr() as u64;
        for place in [Place::Stat(address), Place::Statx(address)] {
            let told = number(libc::makedev(0x123, 0x45678), 99);
            place.write(&memory, told).unwrap();
            assert_eq!(place.read(&memory).unwrap(), told);
        }
        std::hint::black_box(&buffer);
    }
}
