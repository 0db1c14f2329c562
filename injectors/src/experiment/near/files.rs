//! What a program has written until it is stopped at a moment: kept beside its checkpoint, and made again where another run begins from that.

use std::collections::HashMap;
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

/// More inodes than this are not made to come to one with the right number.
const TRIES: u32 = 20_000;

/// What a checkpoint's folder says of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct List {
    entries: Vec<Entry>,
    /// Files and folders, and the number of the device that each is on. A relative path is that of a stream.
    devices: Vec<(PathBuf, u64)>,
}

/// Something that was made, changed or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: PathBuf,
    /// User and group.
    owner: (u32, u32),
    /// The inode number that the program sees.
    inode: u64,
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
        list: List::default(),
        replaced: Vec::new(),
        bytes: 0,
        refused: None,
    };
    for stream in STREAMS {
        save.content(&captured.join(stream), stream)?;
        let data = fs::metadata(captured.join(stream))?;
        save.list.devices.push((stream.into(), data.dev()));
    }
    save.device(Path::new("/proc"));
    save.device(Path::new("/dev"));
    for layer in layers {
        save.layer(layer, Path::new(""))?;
        save.device(layer.path);
        for entry in fs::read_dir(layer.path)?.flatten() {
            save.device(&entry.path());
        }
    }
    if let Some(sentence) = save.refused {
        return Ok(Err(sentence));
    }
    if reads_an_original(pid, &save.replaced)? {
        return Ok(Err("it reads a file that it has begun to change".to_owned()));
    }
    fs::write(folder.join(LIST), serde_json::to_vec(&save.list)?)?;
    Ok(Ok(()))
}

struct Save<'a> {
    folder: &'a Path,
    list: List,
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
                    self.push(path, (0, 0), What::Deleted)?;
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
            self.push(path, owner, What::Deleted)?;
        } else if kind.is_dir() {
            self.push(path, owner, What::Folder { mode })?;
            self.layer(layer, relative)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(place)?;
            self.push(path, owner, What::Link { target })?;
        } else if kind.is_file() {
            let content = format!("content-{}", self.list.entries.len());
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
            )?;
        } else {
            self.refuse("it has made a special file");
        }
        Ok(())
    }

    fn push(&mut self, path: PathBuf, owner: (u32, u32), what: What) -> io::Result<()> {
        let inode = match &what {
            What::Deleted => 0,
            _ => {
                self.device(&path);
                fs::symlink_metadata(&path)?.ino()
            }
        };
        self.list.entries.push(Entry {
            path,
            owner,
            inode,
            what,
        });
        Ok(())
    }

    /// Notes the device of a path, unless that is known.
    fn device(&mut self, path: &Path) {
        let known = &mut self.list.devices;
        if let Ok(data) = fs::symlink_metadata(path)
            && !known.iter().any(|one| one.1 == data.dev())
        {
            known.push((path.to_owned(), data.dev()));
        }
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

/// Makes what [`save`] has written into `folder` again. Numbers of devices, as they are here and as they were there.
///
/// # Errors
/// Those of the file system.
pub(crate) fn restore(
    folder: &Path,
    layers: &[Layer<'_>],
    captured: &Path,
) -> io::Result<Vec<(u64, u64)>> {
    for stream in STREAMS {
        let mut to = File::options().write(true).open(captured.join(stream))?;
        to.write_all(&fs::read(folder.join(stream))?)?;
    }
    let list: List = serde_json::from_slice(&fs::read(folder.join(LIST))?)?;
    for entry in &list.entries {
        clear(entry)?;
    }
    let made = make(&list.entries, layers)?;
    for (number, entry) in list.entries.iter().enumerate() {
        if let Some(made) = made.get(&number) {
            fs::rename(made, &entry.path)?;
        }
        fill(entry, folder)?;
    }
    let mut devices: Vec<(u64, u64)> = Vec::new();
    for (path, there) in list.devices {
        let path = if path.is_relative() {
            captured.join(path)
        } else {
            path
        };
        let here = fs::symlink_metadata(path)?.dev();
        if here != there && !devices.iter().any(|one| one.0 == here) {
            devices.push((here, there));
        }
    }
    Ok(devices)
}

/// Whether what is there can be kept, since it is of the same kind.
fn stays(entry: &Entry) -> bool {
    let there = fs::symlink_metadata(&entry.path).ok();
    match (&entry.what, there) {
        (What::Folder { .. }, Some(data)) => data.is_dir(),
        (What::File { .. }, Some(data)) => data.is_file(),
        _ => false,
    }
}

/// Removes what is not to be there.
fn clear(entry: &Entry) -> io::Result<()> {
    match fs::symlink_metadata(&entry.path) {
        Ok(_) if stays(entry) => Ok(()),
        Ok(data) if data.is_dir() => fs::remove_dir_all(&entry.path),
        Ok(_) => fs::remove_file(&entry.path),
        Err(_) => Ok(()),
    }
}

/// Makes what is new, under other names, with the inode numbers that they had: these are given in order, so some are used up in between. Where each
/// is, by number.
fn make(entries: &[Entry], layers: &[Layer<'_>]) -> io::Result<HashMap<usize, PathBuf>> {
    let mut new: Vec<(usize, &Entry)> = (0..)
        .zip(entries)
        .filter(|(_, entry)| entry.what != What::Deleted && !stays(entry))
        .collect();
    new.sort_by_key(|(_, entry)| entry.inode);
    let mut made = HashMap::new();
    for (number, entry) in new {
        let layer = layers
            .iter()
            .find(|layer| entry.path.starts_with(layer.path));
        let layer = layer.ok_or(io::ErrorKind::NotFound)?;
        let path = layer.path.join(format!(".fits-{number}"));
        with_inode(&path, entry)?;
        made.insert(number, path);
    }
    Ok(made)
}

fn with_inode(path: &Path, entry: &Entry) -> io::Result<()> {
    for _ in 0..TRIES {
        match &entry.what {
            What::Deleted => return Ok(()),
            What::Folder { .. } => fs::create_dir(path)?,
            What::Link { target } => symlink(target, path)?,
            What::File { .. } => drop(File::create_new(path)?),
        }
        let inode = fs::symlink_metadata(path)?.ino();
        if inode == entry.inode {
            return Ok(());
        }
        match &entry.what {
            What::Folder { .. } => fs::remove_dir(path)?,
            _ => fs::remove_file(path)?,
        }
        if inode > entry.inode {
            break;
        }
    }
    let message = format!(
        "inode {} of {} is not to be had",
        entry.inode,
        entry.path.display()
    );
    Err(io::Error::other(message))
}

/// Content, permissions, owner and times.
fn fill(entry: &Entry, folder: &Path) -> io::Result<()> {
    let path = &entry.path;
    match &entry.what {
        What::Deleted => return Ok(()),
        What::Link { .. } => {}
        What::Folder { mode } => {
            fs::set_permissions(path, fs::Permissions::from_mode(*mode))?;
        }
        What::File {
            mode,
            content,
            accessed,
            modified,
        } => {
            let mut to = File::options().write(true).truncate(true).open(path)?;
            io::copy(&mut File::open(folder.join(content))?, &mut to)?;
            to.set_permissions(fs::Permissions::from_mode(*mode))?;
            let times = FileTimes::new()
                .set_accessed(*accessed)
                .set_modified(*modified);
            to.set_times(times)?;
        }
    }
    let data = fs::symlink_metadata(path)?;
    if data.ino() != entry.inode {
        let message = format!("{} has another inode number", path.display());
        return Err(io::Error::other(message));
    }
    if (data.uid(), data.gid()) != entry.owner {
        lchown(path, Some(entry.owner.0), Some(entry.owner.1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_number_that_has_been_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Entry {
            path: folder.path().join("file"),
            owner: (0, 0),
            inode: 1,
            what: What::Folder { mode: 0o700 },
        };
        let error = with_inode(&folder.path().join("other"), &entry).unwrap_err();
        assert!(error.to_string().contains("inode 1 of"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_of_another_kind_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        let entry = |what| Entry {
            path: path.clone(),
            owner: (0, 0),
            inode: 1,
            what,
        };
        fs::create_dir(&path).unwrap();
        clear(&entry(What::Folder { mode: 0o700 })).unwrap();
        assert!(path.is_dir());
        let target = "elsewhere".into();
        clear(&entry(What::Link { target })).unwrap();
        assert!(!path.exists());
        clear(&entry(What::Deleted)).unwrap();
    }
}
