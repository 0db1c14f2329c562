//! The process that executes: a forked child that never runs code of ours again once it is set up. Its memory is shared with us,
//! so that setting up and comparing a case needs no system call.

use crate::error::Error;
use crate::places::{
    AREA, AREA_BYTES, CODE, CODE_BYTES, FAR, MEMORY_BYTES, NEAR, REGIONS, STREAM, STREAM_BYTES,
    ZONE_BYTES,
};
use fits_dbt::layout::{LOOKUP, LOOKUP_BYTES};
use fits_tracer::ptrace::{Options, Stopped, Waited, trace_me, wait_for};
use memmap2::MmapMut;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, Pid, fork};
use std::fs::File;
use std::os::fd::AsRawFd;

/// Our side of the shared memory.
#[derive(Debug)]
pub struct Shared {
    /// Guest code.
    pub code: MmapMut,
    /// Guest data, as [`REGIONS`] says.
    pub memory: MmapMut,
    /// Translated code.
    pub zone: MmapMut,
    /// The thread area below the stream.
    pub area: MmapMut,
    /// The stream.
    pub stream: MmapMut,
}

/// The child. It ends with this value.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its process id.
    pub pid: Pid,
    /// The memory that it shares with us.
    pub shared: Shared,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = nix::sys::wait::waitpid(self.pid, Some(nix::sys::wait::WaitPidFlag::__WALL));
    }
}

/// A mapping of the child: file, offset, address, size, protection.
type Mapping = (i32, u64, u64, u64, i32);

struct Memfd {
    file: File,
    map: MmapMut,
}

impl Memfd {
    fn new(name: &str, bytes: u64) -> Result<Self, Error> {
        let file = File::from(memfd_create(name, MFdFlags::empty()).map_err(Error::Setup)?);
        file.set_len(bytes).map_err(Error::Memory)?;
        // SAFETY: the file is ours and never truncated; the only other mapping is the child's, and while we look at the memory the
        // child is stopped.
        let map = unsafe { MmapMut::map_mut(&file) }.map_err(Error::Memory)?;
        Ok(Memfd { file, map })
    }
}

impl Child {
    /// Starts a child, which is stopped.
    ///
    /// # Errors
    /// When the kernel refuses memory, processes or tracing.
    pub(crate) fn start() -> Result<(Self, Stopped), Error> {
        let code = Memfd::new("code", CODE_BYTES)?;
        let memory = Memfd::new("memory", MEMORY_BYTES as u64)?;
        let zone = Memfd::new("zone", ZONE_BYTES)?;
        let area = Memfd::new("area", AREA_BYTES)?;
        let stream = Memfd::new("stream", STREAM_BYTES)?;
        let (read, write, execute) = (libc::PROT_READ, libc::PROT_WRITE, libc::PROT_EXEC);
        let (zone_fd, area_fd) = (zone.file.as_raw_fd(), area.file.as_raw_fd());
        let lookup = LOOKUP as u64;
        let behind = lookup + LOOKUP_BYTES;
        let mut mappings: Vec<Mapping> = vec![
            (code.file.as_raw_fd(), 0, CODE, CODE_BYTES, read | execute),
            (zone_fd, 0, NEAR, ZONE_BYTES, read | execute),
            (zone_fd, 0, FAR, ZONE_BYTES, read | execute),
            (area_fd, 0, AREA, lookup, read | write),
            (area_fd, lookup, AREA + lookup, behind - lookup, read),
            (
                area_fd,
                behind,
                AREA + behind,
                AREA_BYTES - behind,
                read | write,
            ),
            (
                stream.file.as_raw_fd(),
                0,
                STREAM,
                STREAM_BYTES,
                read | write,
            ),
        ];
        for region in REGIONS {
            let protection = if region.writable { read | write } else { read };
            let fd = memory.file.as_raw_fd();
            mappings.push((fd, region.offset, region.address, region.bytes, protection));
        }
        // SAFETY: the child calls nothing but async-signal-safe system calls (see `set_up`) until it is under our control.
        let pid = match unsafe { fork() }.map_err(Error::Setup)? {
            ForkResult::Child => set_up(&mappings),
            ForkResult::Parent { child } => child,
        };
        let child = Child {
            pid,
            shared: Shared {
                code: code.map,
                memory: memory.map,
                zone: zone.map,
                area: area.map,
                stream: stream.map,
            },
        };
        match wait_for(pid)? {
            Waited::Stopped(stopped) => {
                stopped.set_options(Options::EXIT_KILL)?;
                Ok((child, stopped))
            }
            _ => Err(Error::Refused),
        }
    }
}

/// In the child: maps everything, asks to be traced, forbids itself all system calls, and stops.
fn set_up(mappings: &[Mapping]) -> ! {
    for &(fd, offset, address, bytes, protection) in mappings {
        // SAFETY: MAP_FIXED_NOREPLACE never replaces a mapping that is in use.
        let at = unsafe {
            libc::mmap(
                address as *mut libc::c_void,
                bytes as usize,
                protection,
                libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE,
                fd,
                offset as libc::off_t,
            )
        };
        if at as u64 != address {
            // SAFETY: ends the process without running anything of the parent's.
            unsafe { libc::_exit(1) };
        }
    }
    let traced = trace_me();
    // SAFETY: system calls with plain numbers and pointers to live locals.
    unsafe {
        if traced.is_err() {
            libc::_exit(2);
        }
        // A sequence that never ends by itself is interrupted after a while of the child's own time.
        let period = libc::timeval {
            tv_sec: 1,
            tv_usec: 0,
        };
        let timer = libc::itimerval {
            it_interval: period,
            it_value: period,
        };
        libc::setitimer(libc::ITIMER_VIRTUAL, &raw const timer, std::ptr::null_mut());
        if !forbid_system_calls() {
            libc::_exit(3);
        }
        std::arch::asm!("int3");
        libc::_exit(4)
    }
}

/// From here on any system call ends the process: a random sequence must not be able to do harm.
fn forbid_system_calls() -> bool {
    let refuse = libc::sock_filter {
        code: (libc::BPF_RET | libc::BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: libc::SECCOMP_RET_KILL_PROCESS,
    };
    let program = libc::sock_fprog {
        len: 1,
        filter: (&raw const refuse).cast_mut(),
    };
    // SAFETY: the program is a live local of one instruction.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ) == 0
    }
}
