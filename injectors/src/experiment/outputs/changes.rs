//! Which files a run changed.
//!
//! A file that was opened for writing but holds what it held before is no change: whether a program opens a file is not an output.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::{Kind, Output, STREAMS, file};

/// What lies in a writable layer over a directory.
///
/// # Errors
/// When it can't be read.
pub(crate) fn of_layer(
    path: &Path,
    before: &Path,
    changes: &Path,
    working: &Path,
) -> io::Result<Vec<Output>> {
    let mut walk = Walk {
        top: path,
        working,
        found: Vec::new(),
    };
    walk.layer(Path::new(""), before, changes)?;
    Ok(walk.finish())
}

/// What differs between a directory and the copy of it that a run worked in.
///
/// # Errors
/// When one of them can't be read.
pub(crate) fn of_copy(original: &Path, copy: &Path) -> io::Result<Vec<Output>> {
    let mut walk = Walk {
        top: original,
        working: original,
        found: Vec::new(),
    };
    walk.copy(Path::new(""), original, copy)?;
    Ok(walk.finish())
}

struct Walk<'a> {
    top: &'a Path,
    working: &'a Path,
    found: Vec<Output>,
}

impl Walk<'_> {
    fn finish(mut self) -> Vec<Output> {
        self.found.sort_by(|a, b| a.name.cmp(&b.name));
        self.found.dedup_by(|a, b| a.name == b.name);
        self.found
    }

    fn layer(&mut self, relative: &Path, before: &Path, changes: &Path) -> io::Result<()> {
        let was = before.join(relative);
        for entry in fs::read_dir(changes.join(relative))? {
            let entry = entry?;
            let relative = relative.join(entry.file_name());
            let data = entry.metadata()?;
            let old = fs::symlink_metadata(before.join(&relative)).ok();
            if data.file_type().is_char_device() && data.rdev() == 0 {
                self.deleted(&relative, old.as_ref());
            } else {
                self.entry(
                    &relative,
                    &before.join(&relative),
                    old,
                    &entry.path(),
                    &data,
                )?;
                if data.is_dir() {
                    self.layer(&relative, before, changes)?;
                }
            }
        }
        // A folder that was deleted and made again hides what it held, without saying so for each file. (The top is always the old one.)
        if !relative.as_os_str().is_empty() && was.is_dir() {
            self.missing(relative, &was, &self.top.join(relative))?;
        }
        Ok(())
    }

    fn copy(&mut self, relative: &Path, original: &Path, copy: &Path) -> io::Result<()> {
        for entry in fs::read_dir(copy.join(relative))? {
            let entry = entry?;
            let relative = relative.join(entry.file_name());
            let data = entry.metadata()?;
            let old = fs::symlink_metadata(original.join(&relative)).ok();
            if !old.as_ref().is_some_and(|old| untouched(old, &data)) {
                let was = original.join(&relative);
                self.entry(&relative, &was, old, &entry.path(), &data)?;
            }
            if data.is_dir() {
                self.copy(&relative, original, copy)?;
            }
        }
        let was = original.join(relative);
        if was.is_dir() {
            self.missing(relative, &was, &copy.join(relative))?;
        }
        Ok(())
    }

    /// Notes what was in a folder and is not any more.
    fn missing(&mut self, relative: &Path, was: &Path, is: &Path) -> io::Result<()> {
        for entry in fs::read_dir(was)? {
            let name = entry?.file_name();
            let is_gone = |folder: &Path| fs::symlink_metadata(folder.join(&name)).is_err();
            // What others have deleted meanwhile, nobody has deleted here.
            if is_gone(is) && !is_gone(was) {
                let relative = relative.join(&name);
                self.push(&relative, Kind::Deleted, PathBuf::new());
            }
        }
        Ok(())
    }

    fn deleted(&mut self, relative: &Path, old: Option<&Metadata>) {
        if old.is_some() {
            self.push(relative, Kind::Deleted, PathBuf::new());
        }
    }

    /// Notes something that is there, if it is not what it was.
    fn entry(
        &mut self,
        relative: &Path,
        was: &Path,
        old: Option<Metadata>,
        is: &Path,
        data: &Metadata,
    ) -> io::Result<()> {
        let same_form = |old: &Metadata| old.mode() == data.mode();
        if let Some(old) = old.filter(same_form)
            && (data.is_dir() || same_content(was, &old, is, data)?)
        {
            return Ok(());
        }
        let kind = kind(is, data)?;
        self.push(relative, kind, is.to_owned());
        Ok(())
    }

    fn push(&mut self, relative: &Path, kind: Kind, place: PathBuf) {
        let path = self.top.join(relative);
        let name = path.strip_prefix(self.working).unwrap_or(&path);
        let mut name = name.to_string_lossy().into_owned();
        if STREAMS.contains(&name.as_str()) {
            name.insert_str(0, "./");
        }
        self.found.push(Output { name, kind, place });
    }
}

fn kind(path: &Path, data: &Metadata) -> io::Result<Kind> {
    let mode = data.mode() & 0o7777;
    Ok(if data.is_file() {
        file(path, mode)?
    } else if data.is_dir() {
        Kind::Folder { mode }
    } else if data.is_symlink() {
        let target = fs::read_link(path)?.to_string_lossy().into_owned();
        Kind::Link { target }
    } else {
        let format = data.mode() & libc::S_IFMT;
        Kind::Special { format }
    })
}

/// A copy has the time of its original until somebody writes to it.
fn untouched(old: &Metadata, new: &Metadata) -> bool {
    let times = |data: &Metadata| (data.mtime(), data.mtime_nsec(), data.len(), data.mode());
    old.is_file() && new.is_file() && times(old) == times(new)
}

fn same_content(was: &Path, old: &Metadata, is: &Path, new: &Metadata) -> io::Result<bool> {
    if new.is_symlink() {
        return Ok(fs::read_link(was)? == fs::read_link(is)?);
    }
    if !new.is_file() {
        return Ok(true);
    }
    Ok(old.len() == new.len() && same_bytes(File::open(was)?, File::open(is)?)?)
}

fn same_bytes(a: File, b: File) -> io::Result<bool> {
    Ok(super::differ::first_difference(a, b)?.is_none())
}

/// Copies all that is in `from` to `to`, which must exist: contents, permissions, times, links. At most `limit` bytes.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::FileTooLarge`] beyond the limit.
pub(crate) fn copy_tree(from: &Path, to: &Path, limit: &mut u64) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (data, target) = (entry.metadata()?, to.join(entry.file_name()));
        if data.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target, limit)?;
            fs::set_permissions(&target, data.permissions())?;
        } else if data.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if data.is_file() {
            *limit = limit
                .checked_sub(data.len())
                .ok_or(io::ErrorKind::FileTooLarge)?;
            copy_file(&entry.path(), &target, &data)?;
        }
        // Sockets and pipes are nothing without the process at their other end.
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path, data: &Metadata) -> io::Result<()> {
    fs::copy(from, to)?;
    let times = fs::FileTimes::new()
        .set_modified(data.modified()?)
        .set_accessed(data.accessed()?);
    let written = File::options().append(true).open(to);
    match written {
        Ok(file) => file.set_times(times),
        // A copy that may not be written has a new time: its content will be compared instead.
        Err(_) => Ok(()),
    }
}

/// Reads as much as fits, or to the end.
pub(super) fn fill(mut from: impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_changes_in_its_copy_is_found() {
        let (original, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (original, copy) = (original.path(), copy.path());
        for name in ["same", "written", "gone", "rewritten"] {
            fs::write(original.join(name), name).unwrap();
        }
        fs::create_dir(original.join("folder")).unwrap();
        fs::write(original.join("folder/inside"), "x").unwrap();
        copy_tree(original, copy, &mut 1000).unwrap();
        assert_eq!(of_copy(original, copy).unwrap(), []);
        fs::write(copy.join("written"), "other").unwrap();
        // The same content, written again, is no change.
        fs::write(copy.join("rewritten"), "rewritten").unwrap();
        fs::remove_file(copy.join("gone")).unwrap();
        fs::remove_dir_all(copy.join("folder")).unwrap();
        fs::create_dir(copy.join("new")).unwrap();
        std::os::unix::fs::symlink("same", copy.join("new/link")).unwrap();
        let changes = of_copy(original, copy).unwrap();
        let names: Vec<_> = changes.iter().map(|change| change.name.as_str()).collect();
        assert_eq!(names, ["folder", "gone", "new", "new/link", "written"]);
        assert_eq!(changes[0].kind, Kind::Deleted);
        assert!(matches!(&changes[4].kind, Kind::File { bytes: 5, .. }));
    }

    #[test]
    fn a_copy_that_would_be_too_large_is_refused() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("large"), [0; 100]).unwrap();
        let error = copy_tree(from.path(), to.path(), &mut 99).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }
}
