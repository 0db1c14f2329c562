//! Sockets of the host's services below `/run`, covered: a read-only file system does not keep a program from talking to them.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

/// Deeper than services put them.
const DEPTH: u32 = 5;

/// Puts an empty device over each that can be found.
pub(super) fn cover() {
    let mut found = Vec::new();
    collect(Path::new("/run"), DEPTH, &mut found);
    for path in found {
        // One that is gone by now needs no cover.
        let _ = mount::<_, _, str, str>(Some("/dev/null"), &path, None, MsFlags::MS_BIND, None);
    }
}

fn collect(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) {
    // What cannot be listed cannot be reached by the program either.
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_socket() => found.push(entry.path()),
            Ok(kind) if kind.is_dir() && depth > 0 => collect(&entry.path(), depth - 1, found),
            _ => {}
        }
    }
}
