//! Files whose numbers a program has been told: it may compare them later.

use std::ffi::OsString;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use crate::live::numbers::{FileNumber, Place};
use crate::ptrace::Memory;

/// More files than this are not kept in mind.
const MOST: usize = 1 << 16;

/// The files, by number: where each was when its number was told first.
#[derive(Debug, Clone, Default)]
pub struct Told {
    files: FxHashMap<FileNumber, PathBuf>,
}

impl Told {
    /// A system call of `pid` has succeeded. False: it has told of more files than are kept in mind.
    pub(super) fn note(&mut self, pid: Pid, number: u64, args: [u64; 6]) -> bool {
        let Some(place) = Place::of(number, args) else {
            return true;
        };
        let Ok(memory) = Memory::open(pid) else {
            return true;
        };
        let Ok(told) = place.read(&memory) else {
            return true;
        };
        if self.files.contains_key(&told) {
            return true;
        }
        if self.files.len() == MOST {
            return false;
        }
        if let Some(path) = asked(pid, &memory, number, args, told) {
            self.files.insert(told, path);
        }
        true
    }

    /// All of them.
    pub fn files(&self) -> impl Iterator<Item = (FileNumber, &Path)> {
        self.files.iter().map(|(number, path)| (*number, &**path))
    }
}

/// The path of the file that a call has asked for, if it is the file with this number. Nothing is looked up that the call has not looked up.
fn asked(
    pid: Pid,
    memory: &Memory,
    number: u64,
    args: [u64; 6],
    told: FileNumber,
) -> Option<PathBuf> {
    let name = |address: u64| -> Option<PathBuf> {
        let bytes = memory.read_c_string(address, libc::PATH_MAX as usize);
        Some(OsString::from_vec(bytes.ok()?).into())
    };
    let descriptor = |number: u64| PathBuf::from(format!("/proc/{pid}/fd/{}", number as i32));
    let current = PathBuf::from(format!("/proc/{pid}/cwd"));
    let (path, follow) = match number.cast_signed() {
        libc::SYS_fstat => (descriptor(args[0]), true),
        libc::SYS_stat => (current.join(name(args[0])?), true),
        libc::SYS_lstat => (current.join(name(args[0])?), false),
        libc::SYS_newfstatat | libc::SYS_statx => {
            let flags = args[if number.cast_signed() == libc::SYS_statx {
                2
            } else {
                3
            }];
            let base = match args[0] as i32 {
                libc::AT_FDCWD => current,
                _ => descriptor(args[0]),
            };
            // Without a name it is about the descriptor itself.
            match name(args[1]).unwrap_or_default() {
                name if name.as_os_str().is_empty() => (base, true),
                name => {
                    let stays = flags & libc::AT_SYMLINK_NOFOLLOW as u64 != 0;
                    (base.join(name), !stays)
                }
            }
        }
        _ => return None,
    };
    let mut flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    flags.set(OFlag::O_NOFOLLOW, !follow);
    let file = fs::File::from(open(&path, flags, Mode::empty()).ok()?);
    let data = file.metadata().ok()?;
    if (data.dev(), data.ino()) != (told.device, told.inode) {
        return None;
    }
    fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CString;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_file_is_found_by_path_and_by_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let folder_path = folder.path().canonicalize().unwrap();
        let path = folder_path.join("file");
        let file = fs::File::create(&path).unwrap();
        std::os::unix::fs::symlink("file", folder_path.join("link")).unwrap();
        let base = fs::File::open(&folder_path).unwrap();
        let text = |path: &Path| CString::new(path.as_os_str().as_bytes()).unwrap();
        let (whole, link) = (text(&path), text(Path::new("link")));
        let link_whole = text(&folder_path.join("link"));
        let mut buffer = [0u64; 18];
        let to = buffer.as_mut_ptr() as u64;
        let no_follow = libc::AT_SYMLINK_NOFOLLOW as u64;
        let base_number = base.as_raw_fd() as u64;
        let calls = [
            (
                libc::SYS_stat,
                [whole.as_ptr() as u64, to, 0, 0, 0, 0],
                "file",
            ),
            (
                libc::SYS_fstat,
                [file.as_raw_fd() as u64, to, 0, 0, 0, 0],
                "file",
            ),
            (
                libc::SYS_lstat,
                [link_whole.as_ptr() as u64, to, 0, 0, 0, 0],
                "link",
            ),
            (
                libc::SYS_newfstatat,
                [base_number, link.as_ptr() as u64, to, 0, 0, 0],
                "file",
            ),
            (
                libc::SYS_newfstatat,
                [base_number, link.as_ptr() as u64, to, no_follow, 0, 0],
                "link",
            ),
        ];
        for (number, args, name) in calls {
            let wanted = folder_path.join(name);
            let data = fs::symlink_metadata(&wanted).unwrap();
            let told = FileNumber {
                device: data.dev(),
                inode: data.ino(),
            };
            // What the kernel would have put there.
            let memory = Memory::open(Pid::this()).unwrap();
            Place::Stat(to).write(&memory, told).unwrap();
            let mut all = Told::default();
            assert!(all.note(Pid::this(), number as u64, args));
            assert_eq!(all.files().collect::<Vec<_>>(), [(told, &*wanted)]);
        }
        std::hint::black_box(&buffer);
    }
}
