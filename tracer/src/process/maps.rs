//! The memory map of a process: `/proc/PID/maps`.

use nix::unistd::Pid;

use crate::error::{Error, Result};

/// One line of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Readable.
    pub read: bool,
    /// Writable.
    pub write: bool,
    /// Executable.
    pub execute: bool,
    /// Shared with other processes.
    pub shared: bool,
    /// Offset in the file.
    pub offset: u64,
    /// Inode of the file, 0 for none.
    pub inode: u64,
    /// The file, or a name in brackets, or nothing.
    pub path: String,
}

impl Mapping {
    /// Whether `address` lies in it.
    #[must_use]
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }
}

/// The map of `pid` (any thread id does), in rising order.
///
/// # Errors
/// When the process is gone or not ours.
pub fn maps(pid: Pid) -> Result<Vec<Mapping>> {
    let path = format!("/proc/{pid}/maps");
    match std::fs::read(&path) {
        Ok(text) => Ok(parse_maps(&String::from_utf8_lossy(&text))),
        Err(source) => Err(Error::Proc { path, source }),
    }
}

/// Parses the text of `/proc/PID/maps`; lines of another form are left out.
#[must_use]
pub fn parse_maps(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?.as_bytes();
    let offset = fields.next()?;
    let _device = fields.next()?;
    let inode = fields.next()?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        read: permissions.first() == Some(&b'r'),
        write: permissions.get(1) == Some(&b'w'),
        execute: permissions.get(2) == Some(&b'x'),
        shared: permissions.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        inode: inode.parse().ok()?,
        path: fields.next().unwrap_or_default().trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_blanks_in_its_path_is_read() {
        let map = parse_maps("7f00-8000 r-xp 00001000 fe:00 1234        /a b/c d (deleted)\n");
        let expected = Mapping {
            start: 0x7f00,
            end: 0x8000,
            read: true,
            write: false,
            execute: true,
            shared: false,
            offset: 0x1000,
            inode: 1234,
            path: "/a b/c d (deleted)".to_owned(),
        };
        assert_eq!(map, [expected]);
        assert!(map[0].contains(0x7fff) && !map[0].contains(0x8000));
    }

    #[test]
    fn our_own_map_holds_our_code() {
        let map = maps(Pid::this()).expect("our own map can be read");
        let code = our_own_map_holds_our_code as *const () as u64;
        assert!(
            map.iter()
                .any(|mapping| mapping.contains(code) && mapping.execute)
        );
    }
}
