//! What a program has written until it is stopped at a moment: kept beside its checkpoint, and made again where another run begins from that.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fits_tracer::live::checkpoint::Told;
use fits_tracer::live::numbers::{FileNumber, FileNumbers};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::experiment::outputs::STREAMS;
use crate::experiment::sandbox::Layer;

/// More than this is not carried around.
const LARGEST: u64 = 256 << 20;

const LIST: &str = "files";

/// More inodes than this are not made and removed to come behind the numbers that were given.
const TRIES: u32 = 20_000;

/// Whose numbers are not the same in every run, beside those of the private layers.
const CHANGING: [&str; 2] = ["/proc", "/dev"];

/// What a checkpoint's folder says of files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct List {
    entries: Vec<Entry>,
    /// Files that the program may know, with the number that it knows. A relative path is that of a stream.
    known: Vec<(PathBuf, FileNumber)>,
    /// The highest number that a private file has or had, as far as that is known.
    highest: u64,
    /// The same for folders of each layer: these are counted by the layer itself.
    highest_folders: Vec<u64>,
}

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
        /// It is the one that was there before, changed.
        original: bool,
        /// Name of the file with its content.
        content: String,
        accessed: SystemTime,
        modified: SystemTime,
    },
}

/// Writes into `folder` what process `pid` has written to `layers` and to its standard streams in `captured`, and the numbers of files that it has been
/// `told`. The inner error is a sentence about what can't be made again.
///
/// Nothing is looked up in a layer that the program has not looked up: that would change the numbers that folders get later.
pub(crate) fn save(
    pid: Pid,
    told: &Told,
    layers: &[Layer<'_>],
    captured: &Path,
    folder: &Path,
) -> io::Result<Result<(), String>> {
    let mut save = Save {
        folder,
        list: List::default(),
        replaced: Vec::new(),
        private: HashSet::new(),
        bytes: 0,
        refused: None,
    };
    for stream in STREAMS {
        let place = captured.join(stream);
        save.content(&place, stream)?;
        let number = number(&fs::metadata(place)?);
        save.list.known.push((stream.into(), number));
    }
    for layer in layers {
        save.layer(layer, Path::new(""))?;
    }
    save.told(told, layers)?;
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
    /// Devices of files that are new.
    private: HashSet<u64>,
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
            let folder = layer.path.join(relative);
            // What is gone meanwhile, since others have deleted it, is not there in another run either.
            let were: Vec<_> = fs::read_dir(before)?.flatten().collect();
            let are: HashSet<_> = fs::read_dir(&folder)?
                .flatten()
                .map(|entry| entry.file_name())
                .collect();
            for entry in were {
                let path = folder.join(entry.file_name());
                if !are.contains(&entry.file_name()) && fs::symlink_metadata(&path).is_err() {
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
        self.list.highest = self.list.highest.max(data.ino());
        if kind.is_char_device() && data.rdev() == 0 {
            return self.push(path, owner, What::Deleted);
        }
        if kind.is_dir() {
            self.push(path, owner, What::Folder { mode })?;
            self.layer(layer, relative)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(place)?;
            self.push(path, owner, What::Link { target })?;
        } else if kind.is_file() {
            let known = number(&fs::symlink_metadata(&path)?);
            let before = fs::symlink_metadata(layer.before.join(relative));
            let original =
                known.inode != data.ino() && before.is_ok_and(|before| before.ino() == known.inode);
            if !original {
                self.private.insert(known.device);
            }
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
                    original,
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
        if what != What::Deleted {
            let number = number(&fs::symlink_metadata(&path)?);
            self.list.known.push((path.clone(), number));
        }
        self.list.entries.push(Entry { path, owner, what });
        Ok(())
    }

    /// Notes what the program has been told of, as far as it is still there. What has been changed is known by now.
    fn told(&mut self, told: &Told, layers: &[Layer<'_>]) -> io::Result<()> {
        let changing: Vec<&Path> = layers
            .iter()
            .map(|layer| layer.path)
            .chain(CHANGING.iter().map(Path::new))
            .collect();
        for (told, path) in told.files() {
            if self.private.contains(&told.device) {
                self.list.highest = self.list.highest.max(told.inode);
            }
            if changing.iter().any(|folder| path.starts_with(folder))
                && fs::symlink_metadata(path).is_ok_and(|data| number(&data) == told)
            {
                self.list.known.push((path.to_owned(), told));
            }
        }
        for layer in layers {
            let device = fs::metadata(layer.path)?.dev();
            let known = told.files().map(|one| one.0);
            let known = known.chain(self.list.known.iter().map(|one| one.1));
            let folders = known.filter(|one| one.device == device);
            let highest = folders.map(|one| one.inode).max();
            self.list.highest_folders.push(highest.unwrap_or(0));
        }
        Ok(())
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

/// Makes what [`save`] has written into `folder` again. The numbers of files, as they are here and as the program knows them.
///
/// # Errors
/// Those of the file system.
pub(crate) fn restore(
    folder: &Path,
    layers: &[Layer<'_>],
    captured: &Path,
) -> io::Result<FileNumbers> {
    for stream in STREAMS {
        let mut to = File::options().write(true).open(captured.join(stream))?;
        to.write_all(&fs::read(folder.join(stream))?)?;
    }
    let list: List = serde_json::from_slice(&fs::read(folder.join(LIST))?)?;
    for entry in &list.entries {
        make(entry)?;
    }
    // A folder that may not be written to is filled before it becomes that.
    for entry in list.entries.iter().rev() {
        fill(entry, folder)?;
    }
    let mut numbers = Vec::new();
    for (path, there) in &list.known {
        let place = match path.is_relative() {
            true => captured.join(path),
            false => path.clone(),
        };
        // What others have deleted meanwhile nobody will ask about.
        if let Ok(data) = fs::symlink_metadata(place) {
            numbers.push((number(&data), *there));
        }
    }
    pass(&list, &numbers, layers)?;
    Ok(FileNumbers::new(numbers))
}

fn number(data: &Metadata) -> FileNumber {
    FileNumber {
        device: data.dev(),
        inode: data.ino(),
    }
}

/// Uses up numbers until those that come next are higher than those that there have been: a program that makes files one after the other has them in
/// rising order, mostly the same ones as in a run without checkpoints.
fn pass(list: &List, numbers: &[(FileNumber, FileNumber)], layers: &[Layer<'_>]) -> io::Result<()> {
    for (layer, &highest) in layers.iter().zip(&list.highest_folders) {
        let device = fs::metadata(layer.path)?.dev();
        let here = numbers.iter().map(|one| one.0);
        let last = here.filter(|here| here.device == device);
        if last.map(|here| here.inode).max().unwrap_or(0) < highest {
            let place = layer.path.join(".fits-passing");
            let make = |place: &Path| fs::create_dir(place);
            pass_by(&place, highest, make, |place| fs::remove_dir(place))?;
        }
    }
    // All layers lie in the same memory.
    let changed = list.entries.iter().filter_map(|entry| {
        let layer = layer_of(layers, &entry.path)?;
        let relative = entry.path.strip_prefix(layer.path).ok()?;
        let data = fs::symlink_metadata(layer.changes.join(relative)).ok()?;
        Some(data.ino())
    });
    if changed.max().unwrap_or(0) < list.highest
        && let Some(own) = layers.first().and_then(|layer| layer.changes.parent())
    {
        let make = |place: &Path| File::create_new(place).map(drop);
        let remove = |place: &Path| fs::remove_file(place);
        pass_by(&own.join("passing"), list.highest, make, remove)?;
    }
    Ok(())
}

/// The innermost layer that a path lies in.
fn layer_of<'a>(layers: &'a [Layer<'a>], path: &Path) -> Option<&'a Layer<'a>> {
    let around = layers.iter().filter(|layer| path.starts_with(layer.path));
    around.max_by_key(|layer| layer.path.as_os_str().len())
}

/// Makes and removes something until its number is `highest` or more, or it has been done often enough, or is not allowed.
fn pass_by(
    place: &Path,
    highest: u64,
    make: impl Fn(&Path) -> io::Result<()>,
    remove: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<()> {
    for _ in 0..TRIES {
        if make(place).is_err() {
            break;
        }
        let inode = fs::symlink_metadata(place)?.ino();
        remove(place)?;
        if inode >= highest {
            break;
        }
    }
    Ok(())
}

/// Whether what is there can be kept, since it is of the same kind.
fn stays(entry: &Entry) -> bool {
    let there = fs::symlink_metadata(&entry.path).ok();
    match (&entry.what, there) {
        (What::Folder { .. }, Some(data)) => data.is_dir(),
        (What::File { original, .. }, Some(data)) => *original && data.is_file(),
        _ => false,
    }
}

/// Makes it, empty, unless what is there can be kept.
fn make(entry: &Entry) -> io::Result<()> {
    clear(entry)?;
    if stays(entry) {
        return Ok(());
    }
    match &entry.what {
        What::Deleted => Ok(()),
        What::Folder { .. } => fs::create_dir(&entry.path),
        What::Link { target } => symlink(target, &entry.path),
        What::File { .. } => File::create_new(&entry.path).map(drop),
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
            ..
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
    if (data.uid(), data.gid()) != entry.owner {
        lchown(path, Some(entry.owner.0), Some(entry.owner.1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_have_been_are_passed_by() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("place");
        let made = std::cell::Cell::new(0);
        let make = |place: &Path| {
            made.set(made.get() + 1);
            fs::create_dir(place)
        };
        for (highest, wanted) in [(1, 1), (u64::MAX, TRIES)] {
            made.set(0);
            pass_by(&place, highest, make, |place| fs::remove_dir(place)).unwrap();
            assert_eq!(made.get(), wanted);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_of_another_kind_is_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it");
        let entry = |what| Entry {
            path: path.clone(),
            owner: (0, 0),
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
