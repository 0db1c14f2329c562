//! What a program has written until it is stopped at a moment: kept beside its checkpoint, and made again where another run begins from that.

use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::experiment::outputs::STREAMS;
use crate::experiment::sandbox::Layer;

/// More than this is not carried around.
const LARGEST: u64 = 256 << 20;

const LIST: &str = "files";

/// Something that was made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    /// User and group.
    owner: (u32, u32),
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum What {
    Deleted,
    Folder {
        mode: u32,
    },
    Link {
        target: PathBuf,
    },
    File {
        mode: u32,
        /// Name of the file with its content.
        content: String,
        accessed: SystemTime,
        modified: SystemTime,
    },
}

/// Writes into `folder` what process `pid` has written to `layers` and to its standard streams in `captured`. The inner error is a sentence about
/// what can't be made again.
pub(crate) fn save(
    pid: Pid,
    layers: &[Layer<'_>],
    captured: &Path,
    folder: &Path,
) -> io::Result<Result<(), String>> {
    let mut save = Save {
        folder,
        entries: Vec::new(),
        replaced: Vec::new(),
        bytes: 0,
        refused: None,
    };
    for stream in STREAMS {
        save.content(&captured.join(stream), stream)?;
    }
    for layer in layers {
        save.layer(layer, Path::new(""))?;
    }
    if let Some(sentence) = save.refused {
        return Ok(Err(sentence));
    }
    if reads_an_original(pid, &save.replaced)? {
        return Ok(Err("it reads a file that it has begun to change".to_owned()));
    }
    let list = serde_json::to_vec(&save.entries)?;
    fs::write(folder.join(LIST), list)?;
    Ok(Ok(()))
}

struct Save<'a> {
    folder: &'a Path,
    entries: Vec<Entry>,
    /// Files that were there before, and have another content now.
    replaced: Vec<PathBuf>,
    bytes: u64,
    refused: Option<String>,
}

impl Save<'_> {
    fn layer(&mut self, layer: &Layer<'_>, relative: &Path) -> io::Result<()> {
        for entry in fs::read_dir(layer.changes.join(relative))? {
            let entry = entry?;
            let relative = relative.join(entry.file_name());
            self.entry(layer, &relative, &entry.path(), &entry.metadata()?)?;
        }
        // A folder that was deleted and made again hides what it held, without saying so for each file.
        let before = layer.before.join(relative);
        if !relative.as_os_str().is_empty() && before.is_dir() {
            for entry in fs::read_dir(before)? {
                let path = layer.path.join(relative).join(entry?.file_name());
                if fs::symlink_metadata(&path).is_err() {
                    self.push(path, (0, 0), What::Deleted);
                }
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        layer: &Layer<'_>,
        relative: &Path,
        place: &Path,
        data: &Metadata,
    ) -> io::Result<()> {
        let path = layer.path.join(relative);
        let kind = data.file_type();
        let mode = data.mode() & 0o7777;
        let owner = (data.uid(), data.gid());
        if kind.is_char_device() && data.rdev() == 0 {
            self.push(path, owner, What::Deleted);
        } else if kind.is_dir() {
            self.push(path, owner, What::Folder { mode });
            self.layer(layer, relative)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(place)?;
            self.push(path, owner, What::Link { target });
        } else if kind.is_file() {
            let content = format!("content-{}", self.entries.len());
            self.content(place, &content)?;
            if layer.before.join(relative).is_file() {
                self.replaced.push(path.clone());
            }
            let (accessed, modified) = (data.accessed()?, data.modified()?);
            self.push(
                path,
                owner,
                What::File {
                    mode,
                    content,
                    accessed,
                    modified,
                },
            );
        } else {
            self.refuse("it has made a special file");
        }
        Ok(())
    }

    fn push(&mut self, path: PathBuf, owner: (u32, u32), what: What) {
        self.entries.push(Entry { path, owner, what });
    }

    fn refuse(&mut self, sentence: &str) {
        self.refused.get_or_insert_with(|| sentence.to_owned());
    }

    fn content(&mut self, place: &Path, name: &str) -> io::Result<()> {
        self.bytes += fs::metadata(place)?.len();
        if self.bytes > LARGEST {
            self.refuse("it has written more than 256 MiB");
        }
        if self.refused.is_none() {
            fs::copy(place, self.folder.join(name))?;
        }
        Ok(())
    }
}

/// Whether the process has one of these files open or mapped as it was before it was changed. (One that was opened for reading before another
/// descriptor was opened for writing stays the original.)
fn reads_an_original(pid: Pid, replaced: &[PathBuf]) -> io::Result<bool> {
    if replaced.is_empty() {
        return Ok(false);
    }
    let is_it = |path: &Path| replaced.iter().any(|one| one == path);
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        let entry = entry?;
        let Ok(path) = fs::read_link(entry.path()) else {
            continue;
        };
        let info = format!("/proc/{pid}/fdinfo/{}", entry.file_name().to_string_lossy());
        let text = fs::read_to_string(info)?;
        let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|text| i32::from_str_radix(text.trim(), 8).ok());
        let reads = flags.is_some_and(|flags| flags & libc::O_ACCMODE == libc::O_RDONLY);
        if reads && is_it(&path) {
            return Ok(true);
        }
    }
    let map = fits_tracer::process::maps(pid).map_err(io::Error::other)?;
    Ok(map.iter().any(|mapping| is_it(Path::new(&mapping.path))))
}

/// Makes what [`save`] has written into `folder` again.
///
/// # Errors
/// Those of the file system.
pub(crate) fn restore(folder: &Path, captured: &Path) -> io::Result<()> {
    for stream in STREAMS {
        let mut to = File::options().write(true).open(captured.join(stream))?;
        to.write_all(&fs::read(folder.join(stream))?)?;
    }
    let entries: Vec<Entry> = serde_json::from_slice(&fs::read(folder.join(LIST))?)?;
    entries.iter().try_for_each(|entry| make(entry, folder))
}

fn make(entry: &Entry, folder: &Path) -> io::Result<()> {
    let path = &entry.path;
    let there = fs::symlink_metadata(path).ok();
    let stays = match (&entry.what, &there) {
        (What::Folder { .. }, Some(data)) => data.is_dir(),
        (What::File { .. }, Some(data)) => data.is_file(),
        _ => false,
    };
    match there {
        Some(data) if !stays && data.is_dir() => fs::remove_dir_all(path)?,
        Some(_) if !stays => fs::remove_file(path)?,
        _ => {}
    }
    match &entry.what {
        What::Deleted => return Ok(()),
        What::Link { target } => symlink(target, path)?,
        What::Folder { mode } => {
            if !stays {
                fs::create_dir(path)?;
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
        }
        What::File {
            mode,
            content,
            accessed,
            modified,
        } => {
            let mut to = File::create(path)?;
            io::copy(&mut File::open(folder.join(content))?, &mut to)?;
            to.set_permissions(fs::Permissions::from_mode(*mode))?;
            let times = FileTimes::new()
                .set_accessed(*accessed)
                .set_modified(*modified);
            to.set_times(times)?;
        }
    }
    let data = fs::symlink_metadata(path)?;
    if (data.uid(), data.gid()) != entry.owner {
        lchown(path, Some(entry.owner.0), Some(entry.owner.1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_made_again() {
        let top = tempfile::tempdir().unwrap();
        let [before, changes, merged, captured, kept] =
            ["before", "changes", "merged", "captured", "kept"].map(|name| {
                let path = top.path().join(name);
                fs::create_dir(&path).unwrap();
                path
            });
        for folder in [&before, &merged] {
            fs::create_dir(folder.join("dir")).unwrap();
            for name in ["gone", "changed", "dir/hidden"] {
                fs::write(folder.join(name), "old").unwrap();
            }
        }
        fs::write(changes.join("changed"), "new").unwrap();
        fs::create_dir(changes.join("dir")).unwrap();
        fs::write(changes.join("dir/made"), "made").unwrap();
        symlink("changed", changes.join("link")).unwrap();
        for stream in STREAMS {
            fs::write(captured.join(stream), stream).unwrap();
        }
        // The merged view as the program has it: one folder was made anew.
        fs::remove_file(merged.join("dir/hidden")).unwrap();
        let layer = Layer {
            path: &merged,
            before: before.clone(),
            changes: &changes,
        };
        save(Pid::this(), &[layer], &captured, &kept)
            .unwrap()
            .unwrap();
        // Another run: as it was before.
        fs::write(merged.join("dir/hidden"), "old").unwrap();
        for stream in STREAMS {
            fs::write(captured.join(stream), "").unwrap();
        }
        restore(&kept, &captured).unwrap();
        let read = |name: &str| fs::read_to_string(merged.join(name)).ok();
        assert_eq!(read("changed").as_deref(), Some("new"));
        assert_eq!(read("link").as_deref(), Some("new"));
        assert_eq!(read("gone").as_deref(), Some("old"));
        assert_eq!(read("dir/made").as_deref(), Some("made"));
        assert_eq!(read("dir/hidden"), None);
        assert_eq!(
            fs::read_to_string(captured.join("stderr")).unwrap(),
            "stderr"
        );
    }
}
