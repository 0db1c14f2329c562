//! Which system calls a program has made, and whether all that they have done can be taken along.

use libc::c_long;
use nix::unistd::Pid;

use super::told::Told;

/// Calls whose effects lie in memory, registers, open files, files and signal handlers, all of which are taken along, or that have none.
const UNDERSTOOD: &[c_long] = &[
    // Memory. What is mapped is looked at.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_mincore,
    // Open files. What is open is looked at.
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_creat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup2,
    libc::SYS_dup3,
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_setsockopt,
    libc::SYS_pipe,
    libc::SYS_pipe2,
    libc::SYS_flock,
    libc::SYS_lseek,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_preadv2,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_sendfile,
    libc::SYS_copy_file_range,
    libc::SYS_fadvise64,
    libc::SYS_readahead,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_sync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    // Files. What has been written is taken along.
    libc::SYS_stat,
    libc::SYS_fstat,
    libc::SYS_lstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getdents,
    libc::SYS_getdents64,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_symlink,
    libc::SYS_symlinkat,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_chown,
    libc::SYS_fchown,
    libc::SYS_lchown,
    libc::SYS_fchownat,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_utimensat,
    libc::SYS_getcwd,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_umask,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigsuspend,
    libc::SYS_sigaltstack,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_pause,
    // Questions, and waiting.
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getgroups,
    libc::SYS_getpgrp,
    libc::SYS_getpgid,
    libc::SYS_getsid,
    libc::SYS_getrlimit,
    libc::SYS_getrusage,
    libc::SYS_getpriority,
    libc::SYS_sched_getparam,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_getcpu,
    libc::SYS_times,
    libc::SYS_time,
    libc::SYS_gettimeofday,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_getrandom,
    libc::SYS_capget,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_get_robust_list,
    // Of the thread; remembered here.
    libc::SYS_set_tid_address,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
];

/// Advice about memory that leaves nothing behind but its content.
const ADVICE: [i32; 8] = [
    libc::MADV_NORMAL,
    libc::MADV_RANDOM,
    libc::MADV_SEQUENTIAL,
    libc::MADV_WILLNEED,
    libc::MADV_DONTNEED,
    libc::MADV_FREE,
    libc::MADV_COLD,
    libc::MADV_PAGEOUT,
];

/// Flags of `mmap` that leave nothing behind but what is looked at.
const MAPPED: i32 = libc::MAP_PRIVATE
    | libc::MAP_SHARED
    | libc::MAP_FIXED
    | libc::MAP_FIXED_NOREPLACE
    | libc::MAP_ANONYMOUS
    | libc::MAP_NORESERVE
    | libc::MAP_STACK
    | libc::MAP_POPULATE
    | libc::MAP_DENYWRITE
    | libc::MAP_EXECUTABLE
    | libc::MAP_32BIT;

const OPERATIONS: [i32; 10] = [
    libc::F_DUPFD,
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_GETLK,
    libc::F_SETLK,
    libc::F_SETLKW,
    libc::F_GETPIPE_SZ,
];

/// `prctl` that only asks, or sets the name, which is looked at.
const CONTROLS: [i32; 7] = [
    libc::PR_GET_NAME,
    libc::PR_SET_NAME,
    libc::PR_GET_DUMPABLE,
    libc::PR_CAPBSET_READ,
    libc::PR_GET_NO_NEW_PRIVS,
    libc::PR_GET_TSC,
    libc::PR_GET_PDEATHSIG,
];

const REQUESTS: [u64; 4] = [
    libc::TCGETS,
    libc::TIOCGWINSZ,
    libc::FIOCLEX,
    libc::FIONCLEX,
];

const ARCH_SET_GS: u64 = 0x1001;
const ARCH_SET_FS: u64 = 0x1002;
const ARCH_GET_FS: u64 = 0x1003;
const ARCH_GET_GS: u64 = 0x1004;

/// What is known of the system calls so far.
#[derive(Debug, Clone, Default)]
pub struct Account {
    hindrance: Option<String>,
    /// What `set_tid_address` was told last.
    pub(super) tid_address: Option<u64>,
    /// What `set_robust_list` was told last: address and length.
    pub(super) robust_list: Option<(u64, u64)>,
    told: Told,
}

impl Account {
    /// A system call has returned. `access_of` tells the access mode of an open file (`O_RDONLY`, …).
    pub fn returned(
        &mut self,
        number: u64,
        args: [u64; 6],
        result: i64,
        access_of: impl FnOnce(u64) -> Option<i32>,
    ) {
        if self.hindrance.is_some() || (-4095..0).contains(&result) {
            return;
        }
        let number = number as c_long;
        match number {
            libc::SYS_set_tid_address => self.tid_address = Some(args[0]),
            libc::SYS_set_robust_list => self.robust_list = Some((args[0], args[1])),
            _ => {}
        }
        let understood = match number {
            libc::SYS_mmap => maps(args, access_of),
            libc::SYS_madvise => ADVICE.contains(&(args[2] as i32)),
            libc::SYS_fcntl => OPERATIONS.contains(&(args[1] as i32)),
            libc::SYS_prctl => CONTROLS.contains(&(args[0] as i32)),
            libc::SYS_ioctl => REQUESTS.contains(&(args[1] & 0xffff_ffff)),
            libc::SYS_prlimit64 => args[2] == 0,
            libc::SYS_personality => args[0] as u32 == u32::MAX,
            libc::SYS_arch_prctl => {
                [ARCH_SET_GS, ARCH_SET_FS, ARCH_GET_FS, ARCH_GET_GS].contains(&args[0])
            }
            number => UNDERSTOOD.contains(&number),
        };
        if !understood {
            self.hinder(sentence(number, args));
        }
    }

    /// The same for what it has told process `pid` about files.
    pub fn told(&mut self, pid: Pid, number: u64, args: [u64; 6], result: i64) {
        let failed = (-4095..0).contains(&result);
        if !failed && self.hindrance.is_none() && !self.told.note(pid, number, args) {
            self.hinder("it has asked about very many files");
        }
    }

    /// The files whose numbers it has been told.
    #[must_use]
    pub fn told_files(&self) -> &Told {
        &self.told
    }

    /// Something has happened that can't be taken along, from here on; the first such thing is what is told.
    pub fn hinder(&mut self, sentence: impl Into<String>) {
        self.hindrance.get_or_insert_with(|| sentence.into());
    }

    /// Why the program can't be taken along any more, if so.
    #[must_use]
    pub fn hindrance(&self) -> Option<&str> {
        self.hindrance.as_deref()
    }
}

fn maps(args: [u64; 6], access_of: impl FnOnce(u64) -> Option<i32>) -> bool {
    let flags = args[3] as i32;
    let shared = flags & libc::MAP_SHARED != 0;
    let read_only = || access_of(args[4]) == Some(libc::O_RDONLY);
    flags & !MAPPED == 0 && (!shared || flags & libc::MAP_ANONYMOUS == 0 && read_only())
}

fn sentence(number: c_long, args: [u64; 6]) -> String {
    let what = match number {
        libc::SYS_mmap if args[3] as i32 & libc::MAP_SHARED != 0 => "it maps memory that it shares",
        libc::SYS_mmap => "it maps memory in a special way",
        libc::SYS_madvise => "it gives advice about memory that has lasting effects",
        libc::SYS_mlock | libc::SYS_mlock2 | libc::SYS_mlockall => "it locks memory",
        libc::SYS_alarm | libc::SYS_setitimer | libc::SYS_timer_create => "it uses timers",
        libc::SYS_timerfd_create => "it uses timers",
        libc::SYS_connect | libc::SYS_bind | libc::SYS_listen => "it uses sockets",
        libc::SYS_shmget | libc::SYS_shmat => "it shares memory",
        libc::SYS_link | libc::SYS_linkat => "it makes hard links",
        libc::SYS_prlimit64 | libc::SYS_setrlimit => "it changes its limits",
        libc::SYS_seccomp => "it filters its system calls",
        libc::SYS_fork | libc::SYS_vfork | libc::SYS_clone | libc::SYS_clone3 => {
            "it makes threads or processes"
        }
        _ => return format!("it has made system call {number}, whose effects are not known here"),
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(number: c_long, args: [u64; 6], result: i64) -> Account {
        let mut account = Account::default();
        account.returned(number as u64, args, result, |_| Some(libc::O_RDWR));
        account
    }

    #[test]
    fn what_is_not_known_is_refused_and_said_once() {
        assert_eq!(after(libc::SYS_read, [0; 6], 5).hindrance(), None);
        assert_eq!(after(libc::SYS_reboot, [0; 6], -1).hindrance(), None);
        let mut account = after(libc::SYS_setitimer, [0; 6], 0);
        assert_eq!(account.hindrance(), Some("it uses timers"));
        account.hinder("it does more");
        assert_eq!(account.hindrance(), Some("it uses timers"));
        let unknown = after(libc::SYS_reboot, [0; 6], 0);
        assert!(unknown.hindrance().unwrap().contains("169"));
    }

    #[test]
    fn memory_may_be_shared_for_reading_only() {
        let args = |flags: i32| [0, 4096, 1, flags as u64, 3, 0];
        let shared = after(libc::SYS_mmap, args(libc::MAP_SHARED), 0x1000);
        assert_eq!(shared.hindrance(), Some("it maps memory that it shares"));
        let private = after(libc::SYS_mmap, args(libc::MAP_PRIVATE), 0x1000);
        assert_eq!(private.hindrance(), None);
        let mut account = Account::default();
        let number = libc::SYS_mmap as u64;
        account.returned(number, args(libc::MAP_SHARED), 0x1000, |_| {
            Some(libc::O_RDONLY)
        });
        assert_eq!(account.hindrance(), None);
        let locked = after(libc::SYS_mmap, args(libc::MAP_LOCKED), 0x1000);
        assert!(locked.hindrance().is_some());
    }

    #[test]
    fn addresses_that_the_kernel_keeps_are_remembered() {
        let mut account = after(libc::SYS_set_tid_address, [0x7000, 0, 0, 0, 0, 0], 300_000);
        account.returned(
            libc::SYS_set_robust_list as u64,
            [0x7010, 24, 0, 0, 0, 0],
            0,
            |_| None,
        );
        assert_eq!(account.tid_address, Some(0x7000));
        assert_eq!(account.robust_list, Some((0x7010, 24)));
    }
}
