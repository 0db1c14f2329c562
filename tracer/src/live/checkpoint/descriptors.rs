//! Open files: which descriptors there are, what they are of, and how the same are made again.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::fd::RawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::process::same_open_file;

/// Devices without a state: null, zero, full, random, urandom.
const DEVICES: [u64; 5] = [3, 5, 7, 8, 9];
const MEMORY_DEVICES: u64 = 1;

/// A descriptor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Descriptor {
    pub(super) number: RawFd,
    pub(super) close_on_exec: bool,
    /// Which of the open files.
    pub(super) open: usize,
}

/// An open file, which several descriptors may share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OpenFile {
    pub(super) origin: Origin,
    /// `O_…`, without those that only matter while it is opened.
    pub(super) flags: i32,
    /// Where it reads and writes next; none where that is not to be set.
    pub(super) position: Option<u64>,
    pub(super) locks: Vec<Lock>,
}

/// Where an open file comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Origin {
    /// The process began with it, under this number.
    Inherited(RawFd),
    /// This path was opened.
    Path(String),
}

/// A lock on a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lock {
    pub(super) kind: LockKind,
    pub(super) write: bool,
    pub(super) start: u64,
    /// The last byte; none: to the end, wherever that is.
    pub(super) last: Option<u64>,
}

/// Whose a lock is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum LockKind {
    /// Of the process (`F_SETLK`).
    Process,
    /// Of the open file (`flock`).
    Whole,
}

/// All descriptors of a process, and the open files behind them. The inner error is a sentence about one that can't be opened again.
pub(super) struct Found {
    pub(super) descriptors: Vec<Descriptor>,
    pub(super) open: Vec<OpenFile>,
}

/// What is known of a descriptor before it is told which ones share an open file.
struct Seen {
    number: RawFd,
    path: String,
    flags: i32,
    position: u64,
    locks: Vec<Lock>,
    data: Metadata,
}

/// The descriptors of `pid`. `streams` are those that it was started with, as the caller has them open.
pub(super) fn descriptors(
    pid: Pid,
    streams: &[RawFd; 3],
) -> Result<std::result::Result<Found, String>> {
    let mut found = Found {
        descriptors: Vec::new(),
        open: Vec::new(),
    };
    let mut firsts: Vec<RawFd> = Vec::new();
    for number in numbers(pid)? {
        let seen = match look(pid, number)? {
            Ok(seen) => seen,
            Err(sentence) => return Ok(Err(sentence)),
        };
        let mut shared = None;
        for (index, &first) in firsts.iter().enumerate() {
            match same_open_file(pid, number, pid, first) {
                Ok(true) => shared = Some(index),
                Ok(false) => {}
                Err(_) => {
                    return Ok(Err(
                        "the kernel can't tell which descriptors share an open file (no kcmp)"
                            .to_owned(),
                    ));
                }
            }
        }
        let close_on_exec = seen.flags & libc::O_CLOEXEC != 0;
        let open = match shared {
            Some(index) => index,
            None => {
                let opened = match open_file(pid, seen, streams) {
                    Ok(opened) => opened,
                    Err(sentence) => return Ok(Err(sentence)),
                };
                found.open.push(opened);
                firsts.push(number);
                firsts.len() - 1
            }
        };
        found.descriptors.push(Descriptor {
            number,
            close_on_exec,
            open,
        });
    }
    Ok(Ok(found))
}

/// The open descriptors of a process, in rising order.
pub(super) fn numbers(pid: Pid) -> Result<Vec<RawFd>> {
    let path = format!("/proc/{pid}/fd");
    let entries = fs::read_dir(&path).map_err(|source| Error::Proc { path, source })?;
    let mut numbers: Vec<RawFd> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn look(pid: Pid, number: RawFd) -> Result<std::result::Result<Seen, String>> {
    let link = format!("/proc/{pid}/fd/{number}");
    let path = format!("/proc/{pid}/fdinfo/{number}");
    let (target, data) =
        match fs::read_link(&link).and_then(|target| Ok((target, fs::metadata(&link)?))) {
            Ok(found) => found,
            Err(source) => return Err(Error::Proc { path: link, source }),
        };
    let text = fs::read_to_string(&path).map_err(|source| Error::Proc { path, source })?;
    let fields: BTreeMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.split_once(":\t"))
        .collect();
    let position = fields.get("pos").and_then(|text| text.trim().parse().ok());
    let flags = fields
        .get("flags")
        .and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
    let (Some(position), Some(flags)) = (position, flags) else {
        return Ok(Err(format!("descriptor {number} can't be looked at")));
    };
    let mut locks = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("lock:\t")) {
        match lock(line) {
            Some(lock) => locks.push(lock),
            None => {
                return Ok(Err(format!(
                    "descriptor {number} has a lock of an unknown kind"
                )));
            }
        }
    }
    Ok(Ok(Seen {
        number,
        path: target.to_string_lossy().into_owned(),
        flags,
        position,
        locks,
        data,
    }))
}

/// `1: POSIX  ADVISORY  WRITE 300000 00:2f:13 0 EOF`.
fn lock(line: &str) -> Option<Lock> {
    let mut fields = line.split_whitespace().skip(1);
    let kind = match fields.next()? {
        "POSIX" => LockKind::Process,
        "FLOCK" => LockKind::Whole,
        _ => return None,
    };
    if fields.next()? != "ADVISORY" {
        return None;
    }
    let write = match fields.next()? {
        "WRITE" => true,
        "READ" => false,
        _ => return None,
    };
    let start = fields.nth(2)?.parse().ok()?;
    let last = match fields.next()? {
        "EOF" => None,
        last => Some(last.parse().ok()?),
    };
    Some(Lock {
        kind,
        write,
        start,
        last,
    })
}

fn open_file(pid: Pid, seen: Seen, streams: &[RawFd; 3]) -> std::result::Result<OpenFile, String> {
    let Seen {
        number,
        path,
        flags,
        position,
        locks,
        data,
    } = seen;
    let own = Pid::this();
    let inherited = (0..)
        .zip(streams.iter().copied())
        .find(|&(_, ours)| same_open_file(pid, number, own, ours) == Ok(true))
        .map(|(stream, _)| stream);
    // What it got beyond that we have ourselves, under the same number.
    let beyond = number > 2 && same_open_file(pid, number, own, number) == Ok(true);
    let inherited = inherited.or(beyond.then_some(number));
    let refused = |what: &str| Err(format!("descriptor {number} is {what}"));
    let kind = data.file_type();
    let seekable = kind.is_file();
    if kind.is_char_device() {
        let (major, minor) = (data.rdev() >> 8 & 0xfff, data.rdev() & 0xff);
        if major != MEMORY_DEVICES || !DEVICES.contains(&minor) {
            return refused("a device");
        }
    } else if kind.is_dir() {
        if position != 0 {
            return refused("a directory that is being read");
        }
    } else if beyond {
        // Whatever it is, it is not the program's.
    } else if kind.is_fifo() {
        return refused("a pipe");
    } else if kind.is_socket() {
        return refused("a socket");
    } else if !kind.is_file() {
        return refused("neither a file nor a directory");
    }
    if beyond {
        return Ok(OpenFile {
            origin: Origin::Inherited(number),
            flags,
            position: None,
            locks,
        });
    }
    let origin = match inherited {
        Some(stream) => Origin::Inherited(stream),
        None => {
            if data.nlink() == 0 || path.ends_with(" (deleted)") {
                return refused("a deleted file");
            }
            if ["/proc/", "/sys/"].iter().any(|top| path.starts_with(top)) {
                return refused("a file of the kernel's");
            }
            if !leads_to(Path::new(&path), &data) {
                return refused("a file that is not found any more under its name");
            }
            Origin::Path(path)
        }
    };
    Ok(OpenFile {
        origin,
        flags: flags & !libc::O_CLOEXEC,
        position: seekable.then_some(position),
        locks,
    })
}

fn leads_to(path: &Path, data: &Metadata) -> bool {
    fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (data.dev(), data.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek, SeekFrom};
    use std::os::fd::AsRawFd;

    #[test]
    fn locks_are_read() {
        let found = lock("1: POSIX  ADVISORY  WRITE 300000 00:2f:13 1073741824 1073741825");
        let expected = Lock {
            kind: LockKind::Process,
            write: true,
            start: 1_073_741_824,
            last: Some(1_073_741_825),
        };
        assert_eq!(found, Some(expected));
        assert_eq!(
            lock("1: FLOCK  ADVISORY  READ 1 00:2f:13 0 EOF")
                .unwrap()
                .last,
            None
        );
        assert_eq!(lock("1: LEASE  ACTIVE    READ 1 00:2f:13 0 EOF"), None);
    }

    #[test]
    fn copies_of_a_descriptor_share_an_open_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut one = fs::File::open(file.path()).unwrap();
        let copy = one.try_clone().unwrap();
        let other = fs::File::open(file.path()).unwrap();
        one.seek(SeekFrom::Start(7)).unwrap();
        let pid = Pid::this();
        let same =
            |a: &fs::File, b: &fs::File| same_open_file(pid, a.as_raw_fd(), pid, b.as_raw_fd());
        assert_eq!(same(&one, &copy), Ok(true));
        assert_eq!(same(&one, &other), Ok(false));
        let seen = look(pid, copy.as_raw_fd()).unwrap().unwrap();
        assert_eq!(
            (seen.position, seen.path.as_str()),
            (7, file.path().to_str().unwrap())
        );
    }
}
