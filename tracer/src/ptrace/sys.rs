//! The raw requests: one safe function for each ptrace request and for `wait4`.
//!
//! Rules: nothing here decides anything, every pointer handed to the kernel comes from a live local of the right size,
//! and the kernel itself checks that the thread is ours and stopped (it answers `ESRCH` otherwise).

use std::mem::{MaybeUninit, size_of};

use libc::{c_int, c_uint, c_void};
use nix::errno::Errno;
use nix::unistd::Pid;

/// The general-purpose registers, `rip`, `rflags` and the segment bases of a stopped thread.
pub type Registers = libc::user_regs_struct;

/// Defines a set of flags: a newtype with constants and `|`.
macro_rules! bitflags_lite {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $flag:ident = $value:expr,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name(c_int);
        impl $name {
            $($(#[$doc])* pub const $flag: Self = Self($value);)*
        }
        impl std::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }
        }
    };
}

bitflags_lite! {
    /// What a traced thread reports, see ptrace(2).
    Options {
        /// Mark system-call stops with bit 7.
        SYSGOOD = libc::PTRACE_O_TRACESYSGOOD,
        /// Stop at `fork` and trace the child.
        FORK = libc::PTRACE_O_TRACEFORK,
        /// Stop at `vfork` and trace the child.
        VFORK = libc::PTRACE_O_TRACEVFORK,
        /// Stop at `clone` and trace the new thread or process.
        CLONE = libc::PTRACE_O_TRACECLONE,
        /// Stop at `execve`.
        EXEC = libc::PTRACE_O_TRACEEXEC,
        /// Stop when a `vfork` is over.
        VFORK_DONE = libc::PTRACE_O_TRACEVFORKDONE,
        /// Stop before the thread ends.
        EXIT = libc::PTRACE_O_TRACEEXIT,
        /// Stop at the system calls that a seccomp filter asks the tracer about.
        SECCOMP = libc::PTRACE_O_TRACESECCOMP,
        /// Suspend the thread's seccomp filters (takes CAP_SYS_ADMIN).
        SUSPEND_SECCOMP = libc::PTRACE_O_SUSPEND_SECCOMP,
        /// Kill the thread when the tracer ends.
        EXIT_KILL = libc::PTRACE_O_EXITKILL,
    }
}

impl Options {
    /// What every tracer of ours is told: births, `execve`, ends, and system-call stops that can be told from traps.
    pub const WHOLE_PROGRAM: Self = Self(
        Self::SYSGOOD.0
            | Self::FORK.0
            | Self::VFORK.0
            | Self::CLONE.0
            | Self::EXEC.0
            | Self::EXIT.0
            | Self::EXIT_KILL.0,
    );
}

/// The `siginfo_t` of a signal that is about to be delivered.
#[derive(Clone, Copy)]
pub struct SigInfo(libc::siginfo_t);

impl SigInfo {
    /// The signal's number.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.0.si_signo
    }

    /// Who or what raised it (`SI_USER`, `SEGV_MAPERR`, …).
    #[must_use]
    pub fn code(&self) -> i32 {
        self.0.si_code
    }

    /// The faulting address of `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE` and `SIGTRAP`.
    #[must_use]
    pub fn address(&self) -> u64 {
        // SAFETY: `si_addr` reads a pointer-sized field of the union, all of which the kernel has initialised; the value is not dereferenced.
        unsafe { self.0.si_addr() as u64 }
    }

    /// The sending process, where a process sent it.
    #[must_use]
    pub fn sender(&self) -> i32 {
        // SAFETY: `si_pid` reads an integer field of the union, all of which the kernel has initialised.
        unsafe { self.0.si_pid() }
    }

    /// The same with the fault address replaced (fault signals only).
    #[must_use]
    pub fn with_address(mut self, address: u64) -> Self {
        // SAFETY: siginfo_t is a C struct without padding requirements; offset 16 with 8 bytes is `si_addr` on x86-64 and lies within its 128 bytes.
        unsafe {
            std::ptr::from_mut(&mut self.0)
                .cast::<u8>()
                .add(16)
                .cast::<u64>()
                .write(address);
        }
        self
    }

    /// The 128 bytes as the kernel has them.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 128] {
        const { assert!(size_of::<libc::siginfo_t>() == 128) };
        // SAFETY: siginfo_t has 128 bytes (asserted above), all initialised: the kernel wrote them over a zeroed value.
        unsafe { std::mem::transmute(self.0) }
    }
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigInfo")
            .field("signal", &self.signal())
            .field("code", &self.code())
            .field("address", &format_args!("{:#x}", self.address()))
            .finish()
    }
}

/// What a system-call stop is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyscallStop {
    /// The call is about to run.
    Entry {
        /// The number.
        number: u64,
        /// The arguments.
        args: [u64; 6],
    },
    /// The call has run.
    Exit {
        /// Its result.
        result: i64,
    },
    /// Neither.
    None,
}

/// Asks to be traced by the parent; async-signal-safe, for a child between `fork` and `execve`.
///
/// # Errors
/// The kernel's refusal (`EPERM`: already traced or forbidden).
pub fn trace_me() -> Result<(), Errno> {
    // SAFETY: PTRACE_TRACEME takes no pointer.
    Errno::result(unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) }).map(drop)
}

/// A request whose address and data are plain numbers.
fn plain(request: c_uint, tid: Pid, address: u64, data: u64) -> Result<(), Errno> {
    // SAFETY: every caller passes a request for which the kernel does not write through `address` or `data`.
    Errno::result(unsafe { libc::ptrace(request, tid.as_raw(), address, data) }).map(drop)
}

/// A request that lets the kernel read or write one `T` at `data`.
fn with_data<T>(request: c_uint, tid: Pid, address: u64, data: *mut T) -> Result<i64, Errno> {
    // SAFETY: every caller passes a live, writable `T` of exactly the type that the request transfers (or `address` holds its size).
    Errno::result(unsafe { libc::ptrace(request, tid.as_raw(), address, data.cast::<c_void>()) })
}

pub(super) fn seize(tid: Pid, options: Options) -> Result<(), Errno> {
    plain(libc::PTRACE_SEIZE, tid, 0, options.0 as u64)
}

pub(super) fn set_options(tid: Pid, options: Options) -> Result<(), Errno> {
    plain(libc::PTRACE_SETOPTIONS, tid, 0, options.0 as u64)
}

pub(super) fn interrupt(tid: Pid) -> Result<(), Errno> {
    plain(libc::PTRACE_INTERRUPT, tid, 0, 0)
}

pub(super) fn resume(request: c_uint, tid: Pid, signal: i32) -> Result<(), Errno> {
    plain(request, tid, 0, signal as u64)
}

pub(super) fn get_registers(tid: Pid) -> Result<Registers, Errno> {
    let mut regs = MaybeUninit::<Registers>::uninit();
    with_data(libc::PTRACE_GETREGS, tid, 0, regs.as_mut_ptr())?;
    // SAFETY: the request succeeded, so the kernel filled the whole struct.
    Ok(unsafe { regs.assume_init() })
}

pub(super) fn set_registers(tid: Pid, regs: &Registers) -> Result<(), Errno> {
    let mut copy = *regs;
    with_data(libc::PTRACE_SETREGS, tid, 0, &raw mut copy).map(drop)
}

/// One word of the thread's `struct user` (registers, debug registers): a single register at a third of the price of all.
pub(super) fn peek_user(tid: Pid, offset: usize) -> Result<u64, Errno> {
    let mut word = 0u64;
    // SAFETY: the raw system call stores one word at its fourth argument, which is a live local.
    Errno::result(unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            c_int::try_from(libc::PTRACE_PEEKUSER).unwrap_or_default(),
            tid.as_raw(),
            offset,
            &raw mut word,
        )
    })?;
    Ok(word)
}

pub(super) fn poke_user(tid: Pid, offset: usize, word: u64) -> Result<(), Errno> {
    plain(libc::PTRACE_POKEUSER, tid, offset as u64, word)
}

/// Fills `buffer` with the register set `kind`; the number of bytes that the kernel has.
pub(super) fn get_register_set(tid: Pid, kind: i32, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut iov = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    with_data(libc::PTRACE_GETREGSET, tid, kind as u64, &raw mut iov)?;
    Ok(iov.iov_len)
}

pub(super) fn set_register_set(tid: Pid, kind: i32, buffer: &[u8]) -> Result<(), Errno> {
    let mut iov = libc::iovec {
        iov_base: buffer.as_ptr().cast_mut().cast(),
        iov_len: buffer.len(),
    };
    with_data(libc::PTRACE_SETREGSET, tid, kind as u64, &raw mut iov).map(drop)
}

pub(super) fn get_siginfo(tid: Pid) -> Result<SigInfo, Errno> {
    // SAFETY: siginfo_t is plain data for which zero bytes are valid.
    let mut info = SigInfo(unsafe { std::mem::zeroed() });
    with_data(libc::PTRACE_GETSIGINFO, tid, 0, &raw mut info.0)?;
    Ok(info)
}

pub(super) fn set_siginfo(tid: Pid, info: &SigInfo) -> Result<(), Errno> {
    let mut copy = info.0;
    with_data(libc::PTRACE_SETSIGINFO, tid, 0, &raw mut copy).map(drop)
}

pub(super) fn event_message(tid: Pid) -> Result<u64, Errno> {
    let mut message = 0u64;
    with_data(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message)?;
    Ok(message)
}

pub(super) fn get_signal_mask(tid: Pid) -> Result<u64, Errno> {
    let mut mask = 0u64;
    with_data(
        libc::PTRACE_GETSIGMASK,
        tid,
        size_of::<u64>() as u64,
        &raw mut mask,
    )?;
    Ok(mask)
}

pub(super) fn set_signal_mask(tid: Pid, mask: u64) -> Result<(), Errno> {
    let mut copy = mask;
    with_data(
        libc::PTRACE_SETSIGMASK,
        tid,
        size_of::<u64>() as u64,
        &raw mut copy,
    )
    .map(drop)
}

pub(super) fn syscall_stop(tid: Pid) -> Result<SyscallStop, Errno> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    with_data(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size_of::<libc::ptrace_syscall_info>() as u64,
        info.as_mut_ptr(),
    )?;
    // SAFETY: the struct is plain data, zeroed first and then filled by the kernel as far as `op` says.
    let info = unsafe { info.assume_init() };
    Ok(match info.op {
        // SAFETY: `op` says that the kernel filled the `entry` member.
        libc::PTRACE_SYSCALL_INFO_ENTRY => unsafe {
            SyscallStop::Entry {
                number: info.u.entry.nr,
                args: info.u.entry.args,
            }
        },
        // SAFETY: `op` says that the kernel filled the `exit` member.
        libc::PTRACE_SYSCALL_INFO_EXIT => unsafe {
            SyscallStop::Exit {
                result: info.u.exit.sval,
            }
        },
        _ => SyscallStop::None,
    })
}

/// Sends `signal` to one thread.
pub(super) fn send_signal(tgid: Pid, tid: Pid, signal: i32) -> Result<(), Errno> {
    // SAFETY: tgkill takes plain numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_tgkill, tgid.as_raw(), tid.as_raw(), signal) })
        .map(drop)
}

/// `wait4` with `__WALL`; `None` when `WNOHANG` was given and nothing has happened. `EINTR` is the caller's.
pub(super) fn wait(tid: i32, flags: c_int) -> Result<Option<(Pid, c_int)>, Errno> {
    let mut status = 0;
    // SAFETY: `status` is a live local; no rusage is asked for.
    let pid = Errno::result(unsafe {
        libc::wait4(
            tid,
            &raw mut status,
            flags | libc::__WALL,
            std::ptr::null_mut(),
        )
    })?;
    Ok((pid != 0).then(|| (Pid::from_raw(pid), status)))
}
