//! From a [`Command`] to a traced process that is stopped before its first instruction.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{Pid, pipe2};

use super::command::{Command, c_string};
use super::cpus::CpuPlan;
use super::elf;
use super::environment::Environment;
use super::pids::PidPlan;
use super::sys::{self, Plan, Step};
use crate::error::Error;
use crate::ptrace::{Event, Options, Resume, Stop, Stopped, Waited, seize, wait_for};

/// Why a program was not started. Each message is one sentence for the user.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No such file.
    #[error("{}: no such program{}", program.display(), if *looked_up { " in any directory of PATH" } else { "" })]
    NotFound {
        /// As given.
        program: PathBuf,
        /// Whether it was looked up in `PATH`.
        looked_up: bool,
    },
    /// A directory or device.
    #[error("{}: not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// No execute permission.
    #[error("{}: may not be executed (no execute permission)", path.display())]
    NotExecutable {
        /// The path.
        path: PathBuf,
    },
    /// Can't be read, so its instructions can't be either.
    #[error("{}: cannot be read, and a program that can't be read can't be traced: {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Neither ELF nor `#!`.
    #[error("{}: neither an ELF program nor a script that begins with #!", path.display())]
    NotElf {
        /// The path.
        path: PathBuf,
    },
    /// Cut off or corrupt.
    #[error("{}: damaged ELF file", path.display())]
    DamagedElf {
        /// The path.
        path: PathBuf,
    },
    /// An object file or core dump.
    #[error("{}: an ELF file, but not a program (an object file or core dump)", path.display())]
    NotAProgram {
        /// The path.
        path: PathBuf,
    },
    /// Not x86-64.
    #[error("{}: a program for {machine}; fits runs 64-bit x86 (x86-64) programs", path.display())]
    ForeignArchitecture {
        /// The path.
        path: PathBuf,
        /// What it is for.
        machine: String,
    },
    /// Of a dynamic program or a script.
    #[error("{}: its interpreter {} does not exist", path.display(), interpreter.display())]
    MissingInterpreter {
        /// The path.
        path: PathBuf,
        /// What it names.
        interpreter: PathBuf,
    },
    /// Would lose its privileges when traced.
    #[error("{}: a set-uid or set-gid program (owner {owner}) behaves differently when traced; run a copy without that bit", path.display())]
    SetUid {
        /// The path.
        path: PathBuf,
        /// Whose privileges it would get.
        owner: u32,
    },
    /// An argument or variable can't be passed to a program.
    #[error("{text:?}: an argument or environment variable cannot hold a zero byte")]
    ZeroByte {
        /// It.
        text: String,
    },
    /// Tracing is not allowed here.
    #[error("ptrace is forbidden here ({cause}): fits needs it to control the program")]
    PtraceForbidden {
        /// What forbids it.
        cause: String,
    },
    /// No process could be made.
    #[error("cannot make a process: {0}")]
    Spawn(Errno),
    /// The working directory.
    #[error("cannot change to the working directory: {0}")]
    Directory(Errno),
    /// Standard streams.
    #[error("cannot redirect the standard streams: {0}")]
    Redirect(Errno),
    /// `personality` is filtered.
    #[error("cannot switch off address-space randomisation: {0} (--raw-environment goes without)")]
    Personality(Errno),
    /// Files or streams.
    #[error("the surroundings of the program cannot be made again: {0}")]
    Surroundings(std::io::Error),
    /// The kernel refused the program.
    #[error("{}: cannot be executed: {errno}", path.display())]
    Exec {
        /// The path.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// It was killed before its first instruction.
    #[error("{}: killed before its first instruction", path.display())]
    Killed {
        /// The path.
        path: PathBuf,
    },
    /// Anything else.
    #[error(transparent)]
    Trace(#[from] Error),
}

/// A process stopped before its first instruction, its start controlled as asked.
#[derive(Debug)]
pub struct Launched {
    /// The process.
    pub pid: Pid,
    /// At the end of `execve` (a [`Stop::SyscallExit`]): registers may be set.
    pub stopped: Stopped,
    /// The file that was executed.
    pub executable: PathBuf,
    /// Numbers for its threads and children.
    pub pids: PidPlan,
    /// What the reader of the statistics should know.
    pub warnings: Vec<String>,
}

impl Command {
    /// Starts the program under the tracing options, pinned by `cpus`, in `environment`.
    ///
    /// # Errors
    /// See [`StartError`]; no process is left.
    pub fn launch(
        &self,
        options: Options,
        environment: Environment,
        cpus: &CpuPlan,
    ) -> Result<Launched, StartError> {
        self.prepare().map_err(StartError::Surroundings)?;
        let executable = self.resolve()?;
        elf::check(&executable)?;
        let path = c_string(executable.as_os_str())?;
        let (argv, envp) = (self.argv()?, self.envp()?);
        let directory = self.working_directory()?;
        let plan = Plan {
            path: &path,
            argv: &argv,
            envp: &envp,
            directory: directory.as_deref(),
            stdio: self.redirections(),
            own_session: self.has_own_session(),
            limits: self.resource_limits(),
            no_randomisation: environment.is_controlled(),
            cpu: cpus.target(),
            go: pipe()?,
            failure: pipe()?,
        };
        let mut pids = PidPlan::new(environment);
        let pid = pids
            .spawn(|number| sys::spawn(&plan, number))
            .map_err(StartError::Spawn)?;
        let stopped = match trace(pid, options, plan) {
            Ok(Started::AtExec(stopped)) => stopped,
            Ok(Started::Failed(step, errno)) => return Err(failed(step, errno, executable)),
            Ok(Started::Killed) => return Err(StartError::Killed { path: executable }),
            Err(error) => {
                abandon(pid);
                return Err(error);
            }
        };
        let mut launched = Launched {
            pid,
            stopped,
            executable,
            warnings: pids.warning().into_iter().collect(),
            pids,
        };
        if let Err(error) = launched.control(environment) {
            abandon(pid);
            return Err(error.into());
        }
        Ok(launched)
    }
}

impl Launched {
    fn control(&mut self, environment: Environment) -> Result<(), Error> {
        self.stopped.settle()?;
        environment.apply(&self.stopped)
    }
}

enum Started {
    AtExec(Stopped),
    Failed(Step, Errno),
    Killed,
}

fn pipe() -> Result<(OwnedFd, OwnedFd), StartError> {
    pipe2(OFlag::O_CLOEXEC).map_err(StartError::Spawn)
}

/// Seizes the waiting child, lets it go, and waits for its `execve`.
fn trace(pid: Pid, options: Options, plan: Plan) -> Result<Started, StartError> {
    seize(pid, options | Options::EXEC).map_err(|error| match error {
        Error::Ptrace {
            errno: errno @ (Errno::EPERM | Errno::ENOSYS | Errno::EACCES),
            ..
        } => StartError::PtraceForbidden {
            cause: why_forbidden(errno),
        },
        error => error.into(),
    })?;
    let Plan { go, failure, .. } = plan;
    drop(failure.1);
    // Should the child be gone, the wait below tells.
    let _ = std::fs::File::from(go.1).write_all(&[1]);
    loop {
        match wait_for(pid)? {
            Waited::Stopped(stopped) if stopped.stop() == Stop::Event(Event::Exec) => {
                return Ok(Started::AtExec(stopped));
            }
            Waited::Stopped(stopped) => {
                let signal = match stopped.stop() {
                    Stop::Signal(signal) => signal,
                    _ => 0,
                };
                stopped.resume(Resume::Continue, signal)?;
            }
            Waited::Exited { .. } | Waited::Signaled { .. } => {
                return Ok(read_failure(failure.0));
            }
        }
    }
}

fn read_failure(from: OwnedFd) -> Started {
    let mut message = [0; 5];
    match std::fs::File::from(from).read_exact(&mut message) {
        Ok(()) => {
            let [step, errno @ ..] = message;
            Started::Failed(
                Step::from_byte(step),
                Errno::from_raw(i32::from_le_bytes(errno)),
            )
        }
        Err(_) => Started::Killed,
    }
}

fn failed(step: Step, errno: Errno, path: PathBuf) -> StartError {
    match step {
        Step::Directory => StartError::Directory(errno),
        Step::Redirect => StartError::Redirect(errno),
        Step::Personality => StartError::Personality(errno),
        Step::Exec => StartError::Exec { path, errno },
    }
}

/// Kills and reaps a child that is of no use.
pub(crate) fn abandon(pid: Pid) {
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
    while let Ok(Waited::Stopped(stopped)) = wait_for(pid) {
        // The stop before its end. One that is gone already needs nothing.
        drop(stopped.resume(Resume::Continue, 0));
    }
}

fn why_forbidden(errno: Errno) -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    match scope.trim() {
        "3" => "kernel.yama.ptrace_scope is 3".to_owned(),
        "2" => "kernel.yama.ptrace_scope is 2, which needs CAP_SYS_PTRACE".to_owned(),
        _ => format!("{errno}: a container, a seccomp filter or another tracer is in the way"),
    }
}
