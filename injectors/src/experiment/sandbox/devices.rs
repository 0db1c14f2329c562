//! A `/dev` with the few devices that programs need and that can do no harm.
//!
//! A read-only mount does not protect a device: whoever may open `/dev/sda` writes to the disk. So what is not listed here is not there.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::fcntl::{OFlag, open};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::error::SandboxError;
use super::sys;

const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// The devices that are there.
pub(super) struct Nodes(Vec<CString>);

impl Nodes {
    /// Makes them work again after everything was mounted without devices.
    pub(super) fn enable(&self) -> Result<(), SandboxError> {
        for node in &self.0 {
            sys::mount_attributes(node, false, 0, libc::MOUNT_ATTR_NODEV)
                .map_err(SandboxError::step("enable", node.to_string_lossy()))?;
        }
        Ok(())
    }
}

/// Replaces `/dev`.
pub(super) fn replace() -> Result<Nodes, SandboxError> {
    let kept: Vec<_> = NODES
        .iter()
        .filter_map(|name| Some((*name, place(&Path::new("/dev").join(name))?)))
        .collect();
    let shared = place(Path::new("/dev/shm"));
    let failed = || SandboxError::step("make a private", "/dev");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("tmpfs"),
        "/dev",
        Some("tmpfs"),
        flags,
        Some("mode=755,size=64k"),
    )
    .map_err(failed())?;
    let mut nodes = Vec::new();
    for (name, original) in kept {
        let path = Path::new("/dev").join(name);
        File::create(&path).map_err(SandboxError::io("make", &path))?;
        bind(&original, &path, MsFlags::MS_BIND)?;
        nodes.extend(CString::new(path.into_os_string().into_encoded_bytes()));
    }
    for (name, target) in LINKS {
        let path = Path::new("/dev").join(name);
        symlink(target, &path).map_err(SandboxError::io("make", &path))?;
    }
    let path = Path::new("/dev/shm");
    std::fs::create_dir(path).map_err(SandboxError::io("make", path))?;
    if let Some(original) = shared {
        bind(&original, path, MsFlags::MS_BIND | MsFlags::MS_REC)?;
    }
    if terminals().is_ok() {
        nodes.push(c"/dev/pts".to_owned());
    }
    Ok(Nodes(nodes))
}

/// Pseudo-terminals of its own. Only programs that make some miss them.
fn terminals() -> nix::Result<()> {
    // It is a folder of ours that cannot be there yet.
    let _ = std::fs::create_dir("/dev/pts");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    let options = Some("newinstance,ptmxmode=0666,mode=0620");
    mount(Some("devpts"), "/dev/pts", Some("devpts"), flags, options)
}

fn place(path: &Path) -> Option<OwnedFd> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok()
}

fn bind(original: &OwnedFd, path: &Path, flags: MsFlags) -> Result<(), SandboxError> {
    let from = format!("/proc/self/fd/{}", original.as_raw_fd());
    mount::<_, _, str, str>(Some(from.as_str()), path, None, flags, None)
        .map_err(SandboxError::step("keep", path.display().to_string()))
}
