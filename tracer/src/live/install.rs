//! Putting the guard rails up: the seccomp filter and the disabled time-stamp counter, by system calls that the stopped threads execute. Nothing
//! that the program can see changes, except for what asks about just these two.

use super::filter;
use super::state::is_interrupted;
use crate::backend::BackendError;
use crate::error::{Error, Result};
use crate::process::status;
use crate::ptrace::{Memory, Options, Resume, Stop, Stopped, Waited, interrupt, wait_for};

const SET_MODE_FILTER: u64 = 1;
const SPEC_ALLOW: u64 = 1 << 2;
const TSC_SIGSEGV: u64 = 2;
const PAGE: u64 = 4096;
const NO_FD: u64 = u64::MAX;

/// Where a thread finds a `syscall` instruction to execute for us.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    /// Here.
    At(u64),
    /// Nowhere yet: one is written at rip for the moment. All other threads are stopped.
    Anywhere,
}

impl Place {
    pub(super) fn call(self, stopped: &mut Stopped, number: i64, args: [u64; 6]) -> Result<i64> {
        match self {
            Self::At(address) => stopped.remote_syscall_at(address, number, args),
            Self::Anywhere => stopped.remote_syscall(number, args),
        }
    }
}

/// Lets a thread execute system calls for us and leaves it as it was. A system call of its own that it is in goes on afterwards.
pub(super) fn remotely<T>(
    mut stopped: Stopped,
    calls: impl FnOnce(&mut Stopped) -> Result<T>,
) -> Result<(Stopped, T)> {
    let before = stopped.registers()?;
    let result = calls(&mut stopped)?;
    if !is_interrupted(&before) {
        return Ok((stopped, result));
    }
    // Only on its way out of a signal stop does the kernel look whether a call is to be restarted.
    let tid = stopped.tid();
    stopped.set_registers(&before)?;
    interrupt(tid)?;
    stopped.resume(Resume::Continue, 0)?;
    match wait_for(tid)? {
        Waited::Stopped(stopped) if stopped.stop() == Stop::Interrupted => Ok((stopped, result)),
        Waited::Stopped(stopped) => Err(Error::NoInjection {
            tid,
            stop: format!("{:?}", stopped.stop()),
        }),
        _ => Err(Error::Gone { tid }),
    }
}

/// A page in the traced process for the moment, at which `use_it` may put things.
pub(super) fn with_page<T>(
    stopped: &mut Stopped,
    place: Place,
    use_it: impl FnOnce(&mut Stopped, u64) -> Result<T>,
) -> Result<T> {
    let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
    let args = [0, PAGE, protection, flags, NO_FD, 0];
    let page = place.call(stopped, libc::SYS_mmap, args)?;
    let page = answered(stopped, page)?;
    let result = use_it(stopped, page);
    place.call(stopped, libc::SYS_munmap, [page, PAGE, 0, 0, 0, 0])?;
    result
}

fn answered(stopped: &Stopped, answer: i64) -> Result<u64> {
    if (-4095..0).contains(&answer) {
        return Err(Error::Ptrace {
            operation: "a system call on our behalf",
            tid: stopped.tid(),
            errno: nix::errno::Errno::from_raw(-answer as i32),
        });
    }
    Ok(answer.cast_unsigned())
}

/// Puts the guard rails up around one thread, while all are stopped; the tracing options it has afterwards are `options`; `files`: the tracer is asked
/// about questions about files too. A sentence if the program
/// can see it.
pub(super) fn guard(
    stopped: Stopped,
    options: Options,
    files: bool,
) -> Result<(Stopped, Option<&'static str>), BackendError> {
    let tid = stopped.tid();
    let own_filters = status(tid)?.seccomp != 0;
    if own_filters
        && stopped
            .set_options(options | Options::SUSPEND_SECCOMP)
            .is_err()
    {
        return Err(BackendError::Unsupported {
            what: "guarding a program that has a seccomp filter of its own, without CAP_SYS_ADMIN,"
                .to_owned(),
            pc: stopped.registers()?.rip,
            backend: "ptrace",
        });
    }
    let memory = Memory::open(tid)?;
    let (stopped, warning) = remotely(stopped, |stopped| {
        let place = Place::Anywhere;
        let tsc = [libc::PR_SET_TSC as u64, TSC_SIGSEGV, 0, 0, 0, 0];
        let answer = place.call(stopped, libc::SYS_prctl, tsc)?;
        answered(stopped, answer)?;
        with_page(stopped, place, |stopped, page| {
            memory.write(page, &filter::bytes(page, files))?;
            install(stopped, place, page)
        })
    })?;
    stopped.set_options(options)?;
    Ok((stopped, warning))
}

fn install(stopped: &mut Stopped, place: Place, page: u64) -> Result<Option<&'static str>> {
    let args = [SET_MODE_FILTER, SPEC_ALLOW, page, 0, 0, 0];
    let answer = place.call(stopped, libc::SYS_seccomp, args)?;
    if answer != -i64::from(libc::EACCES) {
        return answered(stopped, answer).map(|_| None);
    }
    let alone = [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0];
    place.call(stopped, libc::SYS_prctl, alone)?;
    let answer = place.call(stopped, libc::SYS_seccomp, args)?;
    answered(stopped, answer)?;
    Ok(Some(
        "the program runs without the right to gain privileges (no_new_privs), which only a privileged tracer can do without",
    ))
}
