//! What one experiment sees of the file system: everything read-only, but a few directories, over which lies a private writable layer in memory.

use std::fs::{self, File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::error::SandboxError;

/// A directory with a private writable layer.
#[derive(Debug)]
pub(crate) struct Layered {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// As it was before, from underneath.
    pub(crate) before: File,
    /// What has been changed: files that were made or written, character devices 0:0 for those that were deleted.
    pub(crate) changes: PathBuf,
}

impl Layered {
    /// The path of what was there before, for us.
    pub(crate) fn before(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.before.as_raw_fd()))
    }
}

/// The file system of one experiment.
#[derive(Debug)]
pub(crate) struct Mounted {
    /// The directories that can be written.
    pub(crate) layered: Vec<Layered>,
    /// A folder for what is captured.
    pub(crate) captured: PathBuf,
    /// Where the memory is that all of it lies in, for us; the program has no name for it.
    inside: PathBuf,
    /// How often the layers were made.
    generation: usize,
    /// Keeps the memory.
    _memory: File,
}

/// What parts of `/proc` a program that runs as root could do harm with.
const PROC_READ_ONLY: [&str; 8] = [
    "sys",
    "sysrq-trigger",
    "irq",
    "bus",
    "fs",
    "acpi",
    "scsi",
    "mtrr",
];
/// The one that stays writable: the number of the next process of this namespace.
const LAST_NUMBER: &str = "/proc/sys/kernel/ns_last_pid";

/// Mounts `directories` writable in `bytes` of memory, and `/proc` of this process namespace. The process must be alone in mount and process
/// namespaces of its own, and is in `working` afterwards.
///
/// # Errors
/// What is not allowed here.
pub(crate) fn build(
    directories: &[PathBuf],
    working: &Path,
    bytes: u64,
) -> Result<Mounted, SandboxError> {
    // Until `/proc` is mounted, its place serves for the memory.
    let place = Path::new("/proc");
    let options = format!("mode=0755,size={bytes}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let memory_at = |at: &Path| {
        let options = Some(options.as_str());
        mount(Some("tmpfs"), at, Some("tmpfs"), flags, options).map_err(SandboxError::step(
            "mount memory for",
            "what the program writes",
        ))
    };
    memory_at(place)?;
    let memory = File::open(place).map_err(SandboxError::io("open", place))?;
    let mut layered = Vec::new();
    for (number, path) in directories.iter().enumerate() {
        layered.push(layer(path, &place.join(format!("0-{number}")))?);
    }
    // Files that fill the one leave the other alone.
    let captured = place.join("captured");
    make(&captured)?;
    memory_at(&captured)?;
    fresh_proc()?;
    let inside = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    for layer in &mut layered {
        let relative = layer.changes.strip_prefix(place).unwrap_or(place);
        layer.changes = inside.join(relative);
    }
    std::env::set_current_dir(working).map_err(SandboxError::io("change to", working))?;
    Ok(Mounted {
        layered,
        captured: inside.join("captured"),
        inside,
        generation: 0,
        _memory: memory,
    })
}

impl Mounted {
    /// Makes everything as it was before anything was written. Nobody else may be using it.
    ///
    /// # Errors
    /// What the kernel does not allow.
    pub(crate) fn renew(&mut self, working: &Path) -> Result<(), SandboxError> {
        let top = Path::new("/");
        std::env::set_current_dir(top).map_err(SandboxError::io("change to", top))?;
        self.generation += 1;
        for layer in self.layered.iter().rev() {
            let name = layer.path.display().to_string();
            let removed = match umount2(&layer.path, MntFlags::MNT_DETACH) {
                // A program with privileges has removed it.
                Err(Errno::EINVAL) => Ok(()),
                other => other,
            };
            removed.map_err(SandboxError::step("remove the private layer over", name))?;
        }
        for (number, old) in self.layered.iter_mut().enumerate() {
            let own = self.inside.join(format!("{}-{number}", self.generation));
            let new = layer(&old.path, &own)?;
            let old = std::mem::replace(old, new);
            // What stays of it takes room, no more.
            let _ = old.changes.parent().map(fs::remove_dir_all);
        }
        std::env::set_current_dir(working).map_err(SandboxError::io("change to", working))
    }
}

/// Those of `directories` that exist and are not writable already by lying in another one, on the same file system.
pub(crate) fn distinct(directories: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let mut found: Vec<(PathBuf, u64)> = directories
        .into_iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .filter(|path| path != Path::new("/"))
        .filter_map(|path| {
            let data = fs::metadata(&path).ok().filter(Metadata::is_dir)?;
            Some((path, data.dev()))
        })
        .collect();
    found.sort();
    let mut kept: Vec<(PathBuf, u64)> = Vec::new();
    for (path, device) in found {
        let covered = |(outer, its): &(PathBuf, u64)| path.starts_with(outer) && *its == device;
        if !kept.iter().any(covered) {
            kept.push((path, device));
        }
    }
    kept.into_iter().map(|(path, _)| path).collect()
}

fn make(path: &Path) -> Result<(), SandboxError> {
    fs::create_dir(path).map_err(SandboxError::io("make", path))
}

/// The directory is named relative to itself, so that no character in a path means anything to the kernel's parser; `own`, where the layer's
/// changes go, has none that does.
fn layer(path: &Path, own: &Path) -> Result<Layered, SandboxError> {
    std::env::set_current_dir(path).map_err(SandboxError::io("change to", path))?;
    let before = File::open(".").map_err(SandboxError::io("open", path))?;
    let (changes, work) = (own.join("changes"), own.join("work"));
    for folder in [own, &changes, &work] {
        make(folder)?;
    }
    let data = before
        .metadata()
        .map_err(SandboxError::io("look at", path))?;
    copy_owner(&changes, &data);
    let options = format!(
        "lowerdir=.,upperdir={},workdir={},userxattr",
        changes.display(),
        work.display()
    );
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("fits"),
        ".",
        Some("overlay"),
        flags,
        Some(options.as_str()),
    )
    .map_err(SandboxError::step(
        "mount a private layer over",
        path.display().to_string(),
    ))?;
    Ok(Layered {
        path: path.to_owned(),
        before,
        changes,
    })
}

/// A layer's top shows as the directory itself. Without privileges it stays ours, which only a program that asks for the owner sees.
fn copy_owner(to: &Path, from: &Metadata) {
    if let Ok(folder) = File::open(to) {
        let _ = fchown(&folder, Some(from.uid()), Some(from.gid()));
        let _ = folder.set_permissions(fs::Permissions::from_mode(from.mode() & 0o7777));
        let times = fs::FileTimes::new();
        let times = from
            .modified()
            .map_or(times, |time| times.set_modified(time));
        let _ = folder.set_times(times);
    }
}

fn fresh_proc() -> Result<(), SandboxError> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount::<_, _, _, str>(Some("proc"), "/proc", Some("proc"), flags, None)
        .map_err(SandboxError::step("mount", "/proc"))?;
    let number = File::open(LAST_NUMBER).ok();
    for name in PROC_READ_ONLY {
        let path = Path::new("/proc").join(name);
        if path.exists() {
            read_only(&path, flags)?;
        }
    }
    if let Some(number) = number {
        let from = format!("/proc/self/fd/{}", number.as_raw_fd());
        // Without it, numbers of threads are those of the namespace: reproducible all the same.
        let _ = mount::<_, _, str, str>(
            Some(from.as_str()),
            LAST_NUMBER,
            None,
            MsFlags::MS_BIND,
            None,
        );
    }
    Ok(())
}

fn read_only(path: &Path, flags: MsFlags) -> Result<(), SandboxError> {
    let failed = || SandboxError::step("make read-only", path.display().to_string());
    mount::<_, _, str, str>(Some(path), path, None, MsFlags::MS_BIND, None).map_err(failed())?;
    let flags = flags | MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount::<str, _, str, str>(None, path, None, flags, None).map_err(failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_inside_another_needs_no_layer_of_its_own() {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("a/b");
        fs::create_dir_all(&inner).unwrap();
        let wanted = [
            inner,
            "/".into(),
            "/no/such/folder".into(),
            outer.path().join("a/.."),
        ];
        let outer = outer.path().canonicalize().unwrap();
        assert_eq!(distinct(wanted), [outer]);
    }
}
