//! The worker: a process of fits that runs experiments away from the host, one after the other, each in a process of its own.
//!
//! It reads one line of JSON for each job from standard input, first a [`Setup`], and answers each with one line on standard output. For every
//! job it makes two processes: one that leaves the namespaces, and in them the first process, which is tracer and keeper of everything that the
//! program starts. A result that a job cannot give (because its process died, say) is a sentence.

use std::cell::Cell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fits_tracer::live::checkpoint::{Surroundings, Told};
use fits_tracer::process::{Command, CpuPlan, ResourceLimit, Stdio};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getppid, setsid};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::limits::HostLimits;
use super::near::files;
use super::outputs::{self, Output};
use super::sandbox::sys::{self, Forked};
use super::sandbox::{self, Exceeded, Guard, Place, Privileged, SandboxError, Scope};

/// The executable of the statistics process.
const STATISTICS: &str = "fits-stats";

/// What a worker is told first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Whether to leave the host's namespaces.
    pub isolate: bool,
    /// The working directory of the program.
    pub working: OsString,
    /// Further directories that the program may write to, privately.
    pub writable: Vec<OsString>,
    /// A folder of the host for kept outputs and private copies.
    pub store: OsString,
    /// A file that is the program's standard input, `/dev/null` for none.
    pub input: OsString,
    /// The program, as typed.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// What it may use.
    pub limits: HostLimits,
    /// The environment variables of everything that runs there; those of fits if absent.
    pub environment: Option<Vec<(OsString, OsString)>>,
    /// Which worker this is of those that work at the same time, from 0: each has a processor of its own, as far as there are so many.
    pub place: usize,
}

/// The answer to the setup, and to each job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer<R> {
    /// Done.
    Done(R),
    /// Why not: one sentence.
    Failed(String),
}

/// Why a worker ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the worker cannot {what}: {source}")]
pub struct WorkerError {
    what: &'static str,
    source: io::Error,
}

impl WorkerError {
    fn new(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what, source }
    }
}

/// Serves jobs until there are no more. The calling process must have one thread only.
///
/// # Errors
/// When the pipes break, or what comes in is not JSON of the right form. A job that fails is no error.
pub fn serve<J, R>(
    carry_out: impl Fn(J, &mut Inside) -> Result<R, String>,
) -> Result<(), WorkerError>
where
    J: DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    serve_from(|_| None, carry_out)
}

/// [`serve`] for jobs that may need a folder of the host's ([`Inside::folder`]), which `folder` names.
///
/// # Errors
/// See [`serve`].
pub fn serve_from<J, R>(
    folder: impl Fn(&J) -> Option<PathBuf>,
    carry_out: impl Fn(J, &mut Inside) -> Result<R, String>,
) -> Result<(), WorkerError>
where
    J: DeserializeOwned,
    R: Serialize + DeserializeOwned,
{
    attach();
    let mut lines = io::stdin().lock().lines();
    let mut next = || {
        lines
            .next()
            .transpose()
            .map_err(WorkerError::new("read a job"))
    };
    let Some(line) = next()? else { return Ok(()) };
    let malformed = |error: serde_json::Error| WorkerError::new("understand a job")(error.into());
    let setup: Setup = serde_json::from_str(&line).map_err(malformed)?;
    CpuPlan::choose(setup.place);
    let prepared = Prepared::new(setup).map_err(|error| error.to_string());
    // The setup works if an experiment can begin.
    let answer = match &prepared {
        Ok(prepared) => prepared.apart(None, |_| Ok(())),
        Err(sentence) => Answer::Failed(sentence.clone()),
    };
    reply(&answer)?;
    let (Answer::Done(()), Ok(prepared)) = (answer, prepared) else {
        return Ok(());
    };
    while let Some(line) = next()? {
        let job: J = serde_json::from_str(&line).map_err(malformed)?;
        // The job is moved into the process that carries it out: this one only reads the answer.
        let mut job = Some(job);
        let folder = job.as_ref().and_then(&folder);
        let answer: Answer<R> = prepared.apart(folder.as_deref(), |inside| match job.take() {
            Some(job) => carry_out(job, inside),
            None => Err("the job was started twice".to_owned()),
        });
        reply(&answer)?;
    }
    Ok(())
}

/// Ends when fits does; keys typed at the terminal go to fits alone.
fn attach() {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    // It leads a group already where it was started as one.
    let _ = setsid();
}

fn reply<R: Serialize>(answer: &Answer<R>) -> Result<(), WorkerError> {
    let failed = WorkerError::new("answer");
    let mut line = match serde_json::to_vec(answer) {
        Ok(line) => line,
        Err(error) => return Err(failed(error.into())),
    };
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .map_err(failed)
}

/// A worker that is where its experiments will be.
struct Prepared {
    setup: Setup,
    /// Opened before the host's files went out of sight.
    store: File,
    input: File,
    /// The executable of the statistics process, if it lies beside ours.
    statistics: Option<File>,
}

impl Prepared {
    fn new(setup: Setup) -> Result<Self, SandboxError> {
        let open = |path: &OsString| {
            let path = Path::new(path);
            File::open(path).map_err(|source| SandboxError::Io {
                what: "open",
                path: path.to_owned(),
                source,
            })
        };
        let (store, input) = (open(&setup.store)?, open(&setup.input)?);
        let own = std::env::current_exe().ok();
        let statistics = own.and_then(|own| File::open(own.with_file_name(STATISTICS)).ok());
        if setup.isolate {
            sandbox::enter()?;
        }
        Ok(Self {
            setup,
            store,
            input,
            statistics,
        })
    }

    /// Runs `work` in a process of its own, in the place where experiments run, and ends all that it started.
    fn apart<R: Serialize + DeserializeOwned>(
        &self,
        folder: Option<&Path>,
        work: impl FnOnce(&mut Inside) -> Result<R, String>,
    ) -> Answer<R> {
        // One that can't be opened is missed where it is needed.
        let folder = folder.and_then(|path| File::open(path).ok());
        match self.divide(folder.as_ref(), work) {
            Ok(answer) => answer,
            Err(error) => Answer::Failed(format!("the worker cannot start an experiment: {error}")),
        }
    }

    fn divide<R: Serialize + DeserializeOwned>(
        &self,
        folder: Option<&File>,
        work: impl FnOnce(&mut Inside) -> Result<R, String>,
    ) -> io::Result<Answer<R>> {
        let (mut read, write) = io::pipe()?;
        let worker = Pid::this();
        match sys::fork()? {
            Forked::Child => {
                drop(read);
                if self.setup.isolate {
                    self.leave_and(worker, write, folder, work)
                } else {
                    self.carry_out(worker, write, folder, work)
                }
            }
            Forked::Parent(child) => {
                drop(write);
                let mut text = Vec::new();
                read.read_to_end(&mut text)?;
                let status = waitpid(child, None)?;
                Ok(serde_json::from_slice(&text).unwrap_or_else(|_| Answer::Failed(died(status))))
            }
        }
    }

    /// In the process between: takes new namespaces, in which the next process is the first one.
    fn leave_and<R: Serialize>(
        &self,
        worker: Pid,
        write: io::PipeWriter,
        folder: Option<&File>,
        work: impl FnOnce(&mut Inside) -> Result<R, String>,
    ) -> ! {
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        if getppid() != worker {
            sys::exit_now(1);
        }
        let own = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
        let between = Pid::this();
        match unshare(own).and_then(|()| sys::fork()) {
            Ok(Forked::Child) => {
                let _ = prctl::set_pdeathsig(Signal::SIGKILL);
                self.carry_out(between, write, folder, work)
            }
            Ok(Forked::Parent(child)) => {
                drop(write);
                let status = waitpid(child, None);
                sys::exit_now(match status {
                    Ok(WaitStatus::Exited(_, status)) => status,
                    Ok(WaitStatus::Signaled(_, signal, _)) => 128 + signal as i32,
                    _ => 1,
                })
            }
            Err(errno) => {
                let refused: Answer<R> =
                    Answer::Failed(format!("no namespaces for an experiment: {errno}"));
                send(write, &refused)
            }
        }
    }

    /// In the process that keeps the program: works and answers.
    fn carry_out<R: Serialize>(
        &self,
        parent: Pid,
        write: io::PipeWriter,
        folder: Option<&File>,
        work: impl FnOnce(&mut Inside) -> Result<R, String>,
    ) -> ! {
        // In a process namespace of our own the parent has no number.
        let orphan = !self.setup.isolate && getppid() != parent;
        if orphan {
            sys::exit_now(1);
        }
        let result = Inside::new(self, folder).and_then(|mut inside| {
            let result = work(&mut inside);
            inside.settle();
            result
        });
        let answer = match result {
            Ok(done) => Answer::Done(done),
            Err(sentence) => Answer::Failed(sentence),
        };
        send(write, &answer)
    }
}

fn send<R: Serialize>(mut write: io::PipeWriter, answer: &Answer<R>) -> ! {
    let sent = serde_json::to_vec(answer).map(|text| write.write_all(&text));
    sys::exit_now(i32::from(!matches!(sent, Ok(Ok(())))))
}

fn died(status: WaitStatus) -> String {
    match status {
        WaitStatus::Signaled(_, signal, _) => {
            format!("the process that kept the program was ended by {signal}")
        }
        WaitStatus::Exited(_, status) if status > 128 => format!(
            "the process that kept the program was ended by signal {}",
            status - 128
        ),
        _ => "the process that kept the program failed".to_owned(),
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The process that keeps a program under experiment: tracer, and first of its process namespace if it has one.
#[derive(Debug)]
pub struct Inside {
    place: Arc<Mutex<Place>>,
    privileged: Rc<Privileged>,
    scope: Scope,
    guard: Guard,
    setup: Setup,
    store: PathBuf,
    store_for_others: PathBuf,
    input: PathBuf,
    folder: Option<PathBuf>,
    statistics: Option<PathBuf>,
}

impl Inside {
    fn new(prepared: &Prepared, folder: Option<&File>) -> Result<Self, String> {
        let setup = prepared.setup.clone();
        let open = |file: &File| PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
        let (store, input) = (open(&prepared.store), open(&prepared.input));
        let statistics = prepared.statistics.as_ref();
        let statistics = statistics.map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        let own = std::process::id();
        let store_for_others = format!("/proc/{own}/fd/{}", prepared.store.as_raw_fd());
        let working = Path::new(&setup.working);
        let (place, scope) = if setup.isolate {
            let writable: Vec<_> = setup.writable.iter().map(PathBuf::from).collect();
            (
                Place::layered(working, &writable, setup.limits.disk),
                Scope::Namespace,
            )
        } else {
            // Orphans come to us.
            let _ = prctl::set_child_subreaper(true);
            (
                Place::copied(working, Path::new(&setup.store), setup.limits.disk),
                Scope::Descendants,
            )
        };
        let place = place.map_err(|error| error.to_string())?;
        let guard = Guard::start(scope, setup.limits)
            .map_err(|error| format!("no thread to watch the program: {error}"))?;
        let privileged = match scope {
            Scope::Namespace => Privileged::keep(),
            Scope::Descendants => Ok(Privileged::Caller),
        };
        let privileged =
            privileged.map_err(|error| format!("privileges cannot be given up: {error}"))?;
        Ok(Self {
            place: Arc::new(Mutex::new(place)),
            privileged: Rc::new(privileged),
            scope,
            guard,
            setup,
            store,
            store_for_others: store_for_others.into(),
            input,
            folder: folder.map(open),
            statistics: statistics.map(PathBuf::from),
        })
    }

    /// The program, ready to run: in a session of its own, limited. It can be run several times: each time input begins at its start, output
    /// is captured anew, and files are as they were.
    ///
    /// # Errors
    /// When a stream cannot be opened.
    pub fn command(&self, further: &[ResourceLimit]) -> io::Result<Command> {
        let input = File::open(&self.input)?;
        let mut outputs = Vec::new();
        let mut command = Command::new(&self.setup.program)
            .args(&self.setup.arguments)
            .own_session()
            .limits(self.setup.limits.of_program())
            .limits(further.iter().copied())
            .stdio(0, Stdio::File(input.try_clone()?.into()));
        if let Some(variables) = &self.setup.environment {
            // Those of the worker itself were put into another order when it was started.
            command = command.environment(variables.clone());
        }
        for (number, name) in (1..).zip(outputs::STREAMS) {
            let file = File::create(lock(&self.place).captured().join(name))?;
            command = command.stdio(number, Stdio::File(file.try_clone()?.into()));
            outputs.push(file);
        }
        let (scope, place) = (self.scope, Arc::clone(&self.place));
        let privileged = Rc::clone(&self.privileged);
        let fresh = Cell::new(true);
        Ok(command.before_each_launch(move || {
            if fresh.replace(false) {
                privileged.choose_number();
                return Ok(());
            }
            scope.end_and_reap();
            let place = Arc::clone(&place);
            let renewed = privileged.run(move || lock(&place).renew());
            let lost = || io::Error::other("the thread with privileges has ended");
            renewed.ok_or_else(lost)?.map_err(io::Error::other)?;
            privileged.choose_number();
            // Both share their position with the program's.
            (&input).rewind()?;
            for mut file in &outputs {
                file.set_len(0)?;
                file.rewind()?;
            }
            Ok(())
        }))
    }

    /// Takes out what a backend says about numbers of processes where they have been chosen here.
    pub fn heed(&self, warnings: &mut Vec<String>) {
        if self.privileged.is_thread() {
            warnings.retain(|warning| !warning.contains("number"));
        }
    }

    /// Ends everything that the program has left, so that nothing changes any more.
    pub fn settle(&mut self) {
        self.scope.end_and_reap();
    }

    /// What it left behind. To be called after [`Inside::settle`].
    ///
    /// # Errors
    /// When it can't be read.
    pub fn outputs(&self) -> io::Result<Vec<Output>> {
        lock(&self.place).outputs()
    }

    /// Which limit of the host it was ended for, if any.
    #[must_use]
    pub fn exceeded(&self) -> Option<Exceeded> {
        self.guard.exceeded()
    }

    /// What the worker was told first.
    #[must_use]
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Copies a folder into the store, under this name.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn keep(&self, folder: &Path, name: &str) -> io::Result<()> {
        let to = self.store.join(name);
        std::fs::create_dir(&to)?;
        let mut room = u64::MAX;
        outputs::copy_tree(folder, &to, &mut room)
    }

    /// The folder of the host's that the job needs.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Writes into `folder` what process `pid` has written so far, and which files it has been `told` of. The inner error is a sentence about what can't be made again.
    pub(crate) fn save(
        &self,
        pid: Pid,
        told: &Told,
        folder: &Path,
    ) -> io::Result<Result<(), String>> {
        let place = lock(&self.place);
        files::save(pid, told, &place.layers(), place.captured(), folder)
    }

    /// What makes the files again that [`Inside::save`] has written into `folder`, once a program has been launched.
    pub(crate) fn surroundings(&self, folder: &Path) -> Surroundings {
        let (place, folder) = (Arc::clone(&self.place), folder.to_owned());
        Box::new(move || {
            let place = lock(&place);
            files::restore(&folder, &place.layers(), place.captured())
                .map_err(|error| format!("its files cannot be made again: {error}"))
        })
    }

    /// The executable of the statistics process, which lies beside that of fits.
    pub(super) fn statistics_program(&self) -> Option<PathBuf> {
        self.statistics.clone()
    }

    /// [`Inside::store`] as another process of ours reaches it.
    pub(super) fn store_for_others(&self) -> &Path {
        &self.store_for_others
    }

    /// A folder of the host where things can be kept beyond the experiment.
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }
}
