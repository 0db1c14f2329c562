//! The unsafe part of starting a process: `clone3`, the child's few steps before `execve`, and forwarding of signals.
//!
//! Between `clone3` and `execve` the child is a copy of a program that may have had several threads: it calls nothing but
//! system calls, and allocates nothing.

use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::command::ResourceLimit;

/// All that the child needs, prepared by the parent.
pub(super) struct Plan<'a> {
    pub(super) path: &'a CStr,
    pub(super) argv: &'a [CString],
    pub(super) envp: &'a [CString],
    pub(super) directory: Option<&'a CStr>,
    pub(super) stdio: [Option<RawFd>; 3],
    pub(super) own_session: bool,
    pub(super) limits: &'a [ResourceLimit],
    pub(super) no_randomisation: bool,
    pub(super) cpu: Option<usize>,
    /// The child waits until it can read a byte here.
    pub(super) go: (OwnedFd, OwnedFd),
    /// The child writes here what failed.
    pub(super) failure: (OwnedFd, OwnedFd),
}

/// The step of the child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Directory,
    Redirect,
    Personality,
    Exec,
}

impl Step {
    pub(super) fn from_byte(byte: u8) -> Self {
        [Self::Directory, Self::Redirect, Self::Personality]
            .into_iter()
            .find(|step| *step as u8 == byte)
            .unwrap_or(Self::Exec)
    }
}

/// Starts the child, with this process number if given.
pub(super) fn spawn(plan: &Plan, pid: Option<i32>) -> Result<Pid, Errno> {
    let argv = pointers(plan.argv);
    let envp = pointers(plan.envp);
    let set_tid = pid.unwrap_or_default();
    // SAFETY: clone_args is plain data for which zero is the default of every field.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD as u64;
    if pid.is_some() {
        args.set_tid = std::ptr::from_ref(&set_tid) as u64;
        args.set_tid_size = 1;
    }
    // SAFETY: `args` and `set_tid` live across the call. Without CLONE_VM the child has its own copy of this memory, and it
    // leaves by `execve` or `_exit` only, having made nothing but system calls on values prepared above.
    let result = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const args,
            std::mem::size_of::<libc::clone_args>(),
        )
    };
    if result == 0 {
        let (step, errno) = child(plan, &argv, &envp);
        report(plan.failure.1.as_raw_fd(), step, errno);
    }
    Errno::result(result).map(|pid| Pid::from_raw(pid as i32))
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

/// Signals have the numbers from 1 on.
const LAST_SIGNAL: c_int = 64;

/// The child's way to `execve`; returns only when something failed.
fn child(plan: &Plan, argv: &[*const c_char], envp: &[*const c_char]) -> (Step, Errno) {
    // SAFETY: plain system calls on prepared values; all pointers point into memory that this copy of the process owns.
    unsafe {
        let mut byte = 0u8;
        libc::close(plan.go.1.as_raw_fd());
        if libc::read(plan.go.0.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(0);
        }
        // The Rust runtime ignores SIGPIPE; programs expect the default.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        for (to, from) in (0..).zip(plan.stdio) {
            if let Some(from) = from
                && libc::dup2(from, to) < 0
            {
                return (Step::Redirect, Errno::last());
            }
        }
        if let Some(directory) = plan.directory
            && libc::chdir(directory.as_ptr()) < 0
        {
            return (Step::Directory, Errno::last());
        }
        if plan.own_session {
            // Fails only for the leader of a group, which a new process is not.
            libc::setsid();
            // What whoever started us ignores is none of its business: programs look at that (gzip does), and execute something else then.
            for signal in 1..=LAST_SIGNAL {
                // Refused for SIGKILL, SIGSTOP and those of the C library, which nobody can have changed.
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        for limit in plan.limits {
            set_limit(limit);
        }
        if !plan.limits.is_empty() {
            // Whoever started us may have ignored the signals of limits, which would make them none.
            libc::signal(libc::SIGXFSZ, libc::SIG_DFL);
            libc::signal(libc::SIGXCPU, libc::SIG_DFL);
        }
        if plan.no_randomisation {
            let old = libc::personality(0xffff_ffff);
            if old < 0 || libc::personality((old | libc::ADDR_NO_RANDOMIZE) as libc::c_ulong) < 0 {
                return (Step::Personality, Errno::last());
            }
        }
        if let Some(cpu) = plan.cpu {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(cpu, &mut set);
            // Failing costs speed only.
            libc::sched_setaffinity(0, std::mem::size_of_val(&set), &raw const set);
        }
        libc::execve(plan.path.as_ptr(), argv.as_ptr(), envp.as_ptr());
    }
    (Step::Exec, Errno::last())
}

/// Lowers a limit of the calling process; one that is lower already stays.
///
/// # Safety
/// None beyond that of a system call: to be called where only those may be made.
unsafe fn set_limit(limit: &ResourceLimit) {
    // SAFETY: the struct is a live local; the resource comes from an enum of those that the kernel knows.
    unsafe {
        let resource = limit.resource as libc::__rlimit_resource_t;
        let mut now: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(resource, &raw mut now) == 0 {
            now.rlim_max = now.rlim_max.min(limit.hard);
            now.rlim_cur = now.rlim_cur.min(limit.soft).min(now.rlim_max);
            // Lowering is never refused.
            libc::setrlimit(resource, &raw const now);
        }
    }
}

fn report(to: RawFd, step: Step, errno: Errno) -> ! {
    let errno = (errno as i32).to_le_bytes();
    let message = [step as u8, errno[0], errno[1], errno[2], errno[3]];
    // SAFETY: the message is a live local; afterwards the child ends without running anything of the parent's.
    unsafe {
        libc::write(to, message.as_ptr().cast(), message.len());
        libc::_exit(127);
    }
}

static TARGET: AtomicI32 = AtomicI32::new(0);

extern "C" fn forward(signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid siginfo; `kill` is async-signal-safe.
    unsafe {
        let target = TARGET.load(Ordering::Relaxed);
        // What the terminal sends (si_code > 0) went to the whole process group, the target included.
        if target > 0 && (*info).si_code <= 0 {
            libc::kill(target, signal);
        }
    }
}

/// From here on this process survives `SIGINT`, `SIGTERM`, `SIGHUP` and `SIGQUIT`, and passes those sent to it alone on to
/// `target`; signals that were ignored stay ignored, by the target too.
///
/// # Errors
/// The kernel's refusal.
pub fn forward_signals(target: Pid) -> Result<(), Errno> {
    TARGET.store(target.as_raw(), Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: both structs are live locals; the handler does nothing that is not async-signal-safe.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            Errno::result(libc::sigaction(signal, std::ptr::null(), &raw mut old))?;
            if old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = forward as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            Errno::result(libc::sigaction(
                signal,
                &raw const action,
                std::ptr::null_mut(),
            ))?;
        }
    }
    Ok(())
}

extern "C" fn wake(_signal: i32) {}

/// Interrupts the waiting of the thread that made it, at intervals, until it is dropped. Its signal is `SIGALRM`, which from here on does
/// nothing else. Several threads may have theirs, and children inherit none.
#[derive(Debug)]
pub struct Ticker(libc::timer_t);

impl Ticker {
    /// Starts it.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn start(interval: std::time::Duration) -> Result<Self, Errno> {
        let period = libc::timespec {
            tv_sec: interval.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(interval.subsec_nanos().cast_signed()),
        };
        let times = libc::itimerspec {
            it_interval: period,
            it_value: period,
        };
        // SAFETY: all structs are live locals, plain data for which zero is valid; the handler does nothing at all. Without SA_RESTART it
        // interrupts waiting.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = wake as *const () as usize;
            let no_old = std::ptr::null_mut();
            Errno::result(libc::sigaction(libc::SIGALRM, &raw const action, no_old))?;
            let mut event: libc::sigevent = std::mem::zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer: libc::timer_t = std::ptr::null_mut();
            Errno::result(libc::timer_create(
                libc::CLOCK_MONOTONIC,
                &raw mut event,
                &raw mut timer,
            ))?;
            let ticker = Self(timer);
            Errno::result(libc::timer_settime(
                timer,
                0,
                &raw const times,
                std::ptr::null_mut(),
            ))?;
            Ok(ticker)
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        // SAFETY: the timer was made by `start` and is deleted once only.
        unsafe {
            libc::timer_delete(self.0);
        }
    }
}

/// Whether descriptor `a` of process `of` and descriptor `b` of process `and` are of one open file, with one position.
///
/// # Errors
/// When the kernel can't or may not tell.
pub fn same_open_file(of: Pid, a: RawFd, and: Pid, b: RawFd) -> Result<bool, Errno> {
    const KCMP_FILE: libc::c_long = 0;
    // SAFETY: kcmp takes plain numbers.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kcmp,
            libc::c_long::from(of.as_raw()),
            libc::c_long::from(and.as_raw()),
            KCMP_FILE,
            libc::c_long::from(a),
            libc::c_long::from(b),
        )
    };
    Errno::result(result).map(|order| order == 0)
}

/// The time-stamp counter, and what the processor says to be its own number with it.
#[must_use]
pub fn time_stamp() -> (u64, u32) {
    let mut processor = 0;
    // SAFETY: every x86-64 processor that runs Linux in 64-bit mode with `rdtscp` in use by its vDSO has the instruction; it writes to a live local.
    let value = unsafe { std::arch::x86_64::__rdtscp(&raw mut processor) };
    (value, processor)
}

/// Undoes [`forward_signals`]: the signals do again what they do by themselves, except where they were ignored.
///
/// # Errors
/// The kernel's refusal.
pub fn restore_signals() -> Result<(), Errno> {
    TARGET.store(0, Ordering::Relaxed);
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: the struct is a live local; the default action needs no code of ours.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            Errno::result(libc::sigaction(signal, std::ptr::null(), &raw mut old))?;
            if old.sa_sigaction != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
    Ok(())
}

/// Stops forwarding: from here on a signal to this process only wakes it.
pub fn end_forwarding() {
    TARGET.store(0, Ordering::Relaxed);
}

/// Processor time in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CpuTime {
    /// In user mode.
    pub user: f64,
    /// In the kernel.
    pub system: f64,
}

impl CpuTime {
    /// What all children that have ended and been waited for used, and theirs.
    #[must_use]
    pub fn of_children() -> Self {
        // SAFETY: the struct is a live local that the kernel fills.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        Self {
            user: seconds(usage.ru_utime),
            system: seconds(usage.ru_stime),
        }
    }

    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            user: self.user - before.user,
            system: self.system - before.system,
        }
    }
}
