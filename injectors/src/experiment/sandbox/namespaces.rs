//! Namespaces: what a worker leaves behind before it runs anything.
//!
//! Two steps. In the first the worker gets a mount namespace in which everything is read-only and the devices are few. In the second it
//! gets user, mount, network and (for each experiment) process and IPC namespaces of its own: mounts that come from a mount namespace of
//! another user namespace are locked, so that not even a program that runs as root there can make them writable again.

use std::fs;
use std::io::{Read, Write};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

use super::error::SandboxError;
use super::sys::{self, Forked};
use super::{devices, sockets};

const CAP_SYS_BOOT: u64 = 22;

/// Takes the calling process, which must have one thread only, out of the host's namespaces.
///
/// # Errors
/// What is not allowed here. The process is of no use then.
pub(crate) fn enter() -> Result<(), SandboxError> {
    first_step()?;
    private_mounts()?;
    let nodes = devices::replace()?;
    sockets::cover();
    read_only(&nodes)?;
    unshare_user(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)?;
    // Without it only programs that talk to themselves over the network notice, in the reference run already.
    let _ = sys::start_loopback();
    // `reboot` ends a process namespace from inside. Without privileges there is nothing to give up.
    let _ = sys::drop_capability(CAP_SYS_BOOT);
    Ok(())
}

/// Root needs no user namespace for its first mount namespace, and reads more files without.
fn first_step() -> Result<(), SandboxError> {
    if geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(());
    }
    unshare_user(CloneFlags::CLONE_NEWNS)
}

fn private_mounts() -> Result<(), SandboxError> {
    mount::<str, _, str, str>(None, "/", None, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None)
        .map_err(SandboxError::step("make mounts private", "/"))
}

/// Everything read-only and without devices and set-uid programs; `/proc` is replaced for each experiment anyway, and a read-only one would
/// forbid that.
fn read_only(nodes: &devices::Nodes) -> Result<(), SandboxError> {
    let tight = libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
    sys::mount_attributes(c"/", true, tight, 0)
        .map_err(SandboxError::step("make everything read-only below", "/"))?;
    sys::mount_attributes(c"/proc", false, 0, libc::MOUNT_ATTR_RDONLY)
        .map_err(SandboxError::step("keep writable", "/proc"))?;
    nodes.enable()
}

/// A user namespace and others with it. Users keep their numbers.
fn unshare_user(others: CloneFlags) -> Result<(), SandboxError> {
    let (uid, gid) = (geteuid(), getegid());
    let helper = Mapper::start()?;
    unshare(CloneFlags::CLONE_NEWUSER | others).map_err(SandboxError::step(
        "make a namespace of its own for",
        "the worker",
    ))?;
    if helper.is_some_and(Mapper::map) {
        return Ok(());
    }
    let write = |name: &str, text: String| {
        fs::write(format!("/proc/self/{name}"), text).map_err(|source| SandboxError::Map { source })
    };
    // Older kernels have no such file; then the map below says what is wrong.
    let _ = fs::write("/proc/self/setgroups", "deny");
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))
}

/// A process that stays outside and gives the new user namespace all users that there are, which only root may.
struct Mapper {
    pid: Pid,
    go: std::io::PipeWriter,
}

impl Mapper {
    fn start() -> Result<Option<Self>, SandboxError> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let failed = |errno| SandboxError::Fork { errno };
        let (mut wait, go) = std::io::pipe().map_err(|error| failed(errno_of(&error)))?;
        let worker = Pid::this();
        match sys::fork().map_err(failed)? {
            Forked::Parent(pid) => Ok(Some(Self { pid, go })),
            Forked::Child => {
                drop(go);
                let mut byte = [0];
                let told = matches!(wait.read(&mut byte), Ok(1));
                let done = told && write_maps(worker).is_ok();
                sys::exit_now(i32::from(!done));
            }
        }
    }

    /// Lets it map; whether it could.
    fn map(mut self) -> bool {
        // Should it be gone, its status tells.
        let _ = self.go.write_all(&[1]);
        drop(self.go);
        matches!(waitpid(self.pid, None), Ok(WaitStatus::Exited(_, 0)))
    }
}

fn errno_of(error: &std::io::Error) -> Errno {
    error
        .raw_os_error()
        .map_or(Errno::UnknownErrno, Errno::from_raw)
}

/// Each user that exists here, under its own number.
fn write_maps(worker: Pid) -> std::io::Result<()> {
    for name in ["uid_map", "gid_map"] {
        let ours = fs::read_to_string(format!("/proc/self/{name}"))?;
        fs::write(format!("/proc/{worker}/{name}"), identity(&ours))?;
    }
    Ok(())
}

fn identity(map: &str) -> String {
    let line = |line: &str| {
        let mut fields = line.split_whitespace();
        let first = fields.next()?;
        let count = fields.nth(1)?;
        Some(format!("{first} {first} {count}\n"))
    };
    map.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_keep_their_numbers() {
        assert_eq!(identity("  0  0  4294967295\n"), "0 0 4294967295\n");
        assert_eq!(identity("0 100000 10\n20 7 1\n"), "0 0 10\n20 20 1\n");
    }
}
