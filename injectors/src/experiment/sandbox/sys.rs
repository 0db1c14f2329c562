//! The unsafe part of the sandbox: `fork`, and some requests for which there is no safe binding.

use std::ffi::CStr;

use nix::errno::Errno;
use nix::unistd::{ForkResult, Pid};

/// Which of the two processes this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forked {
    /// The one that was there before; the other one's number.
    Parent(Pid),
    /// The new one.
    Child,
}

/// Makes a copy of this process. To be called while it has one thread only: a worker starts none before it has forked.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn fork() -> Result<Forked, Errno> {
    // SAFETY: with a single thread (the caller's duty, and nothing in the worker's loop starts another) no lock is held by a thread that the
    // child does not have, so the child may do all that the parent may.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(Forked::Parent(child)),
        ForkResult::Child => Ok(Forked::Child),
    }
}

/// Ends this process at once: nothing that its parent's copy has buffered is written, no destructor runs.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: `_exit` does nothing but end the process.
    unsafe { libc::_exit(status) }
}

/// Sets and clears flags (`MOUNT_ATTR_…`) of the mount at `path`, and of all below it if `recursive`.
///
/// # Errors
/// The kernel's refusal; `ENOSYS` before Linux 5.12.
pub(crate) fn mount_attributes(
    path: &CStr,
    recursive: bool,
    set: u64,
    clear: u64,
) -> Result<(), Errno> {
    let attributes = libc::mount_attr {
        attr_set: set,
        attr_clr: clear,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path and struct live across the call, and the struct's size is given with it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Starts the loopback device of this network namespace: programs talk to themselves over it.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn start_loopback() -> Result<(), Errno> {
    // SAFETY: the request is a live local whose name is terminated (it begins as zeros and has room for 16 bytes); the socket is closed here.
    unsafe {
        let socket = Errno::result(libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            0,
        ))?;
        let mut request: libc::ifreq = std::mem::zeroed();
        for (place, letter) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
            *place = *letter as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        let result = Errno::result(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request));
        libc::close(socket);
        result.map(drop)
    }
}

/// Gives a capability up for good, for this process and all that it will start.
///
/// # Errors
/// `EPERM` without privileges: then there was nothing to give up.
pub(crate) fn drop_capability(number: u64) -> Result<(), Errno> {
    // SAFETY: the request takes plain numbers.
    let result = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0) };
    Errno::result(result).map(drop)
}

/// Lets the calling thread run before all others that are not like it: what watches must not wait for what it watches. Without privileges
/// everything stays as it is.
pub(crate) fn run_first() {
    // SAFETY: the struct is a live local; a zero thread id is the calling thread.
    unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = 1;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters);
    }
}

/// Gives up all capabilities of the calling thread; other threads keep theirs.
///
/// # Errors
/// None that the kernel documents for giving up.
pub(crate) fn drop_all_capabilities() -> Result<(), Errno> {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let header = [VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: header and data have the layout of this version (two and six 32-bit words), and live across the call.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    Errno::result(result).map(drop)
}
