//! The statistics process: takes messages and chunks from the supervisor, counts, writes the folder.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout};

use crate::client::Cpus;
use crate::collect::kernels::Isa;
use crate::collect::pool::Source;
use crate::collect::{CollectError, Collector, Crew};
use crate::frame::{self, FrameReader};
use crate::model::Statistics;
use crate::protocol::{Answer, Finish, Message};
use crate::ring::consumer::{Chunk, Consumer};
use crate::summary;
use crate::symbols::Symbols;
use crate::write::{Existing, Listing, WriteError, write_listed};

/// How long to look for chunks before going to sleep. Waking up takes the supervisor longer than this.
const SPIN: Duration = Duration::from_micros(50);

/// More workers than this have nothing to do: the program runs on one CPU.
const MAX_WORKERS: usize = 4;

/// Runs the process: `arguments` are those after its name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let Some(cpus) = Cpus::from_arguments(&arguments) else {
        eprintln!("fits-stats: fits starts this program by itself; there is no other use for it");
        return ExitCode::from(2);
    };
    match set_up(&cpus)
        .and_then(|(socket, memory, all)| serve(socket, memory, crew(&cpus), Some(all)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fits-stats: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Who counts, on these CPUs.
fn crew(cpus: &Cpus) -> Crew {
    match (cpus.others.len(), cpus.of_program) {
        (0, _) | (1, None) => Crew::Alone,
        (1, Some(cpu)) => Crew::WithDeputy(cpu),
        (workers, _) => Crew::Workers(workers.min(MAX_WORKERS)),
    }
}

/// Takes socket and memory from standard input and output, which then lead nowhere.
fn set_up(cpus: &Cpus) -> io::Result<(UnixStream, OwnedFd, CpuSet)> {
    let all = sched_getaffinity(Pid::from_raw(0))?;
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let memory = io::stdout().as_fd().try_clone_to_owned()?;
    let nowhere = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    // What is sent to the whole process group goes to the supervisor as well, which decides.
    let mut group = SigSet::empty();
    for signal in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGTSTP,
    ] {
        group.add(signal);
    }
    group.thread_block()?;
    let mut set = CpuSet::new();
    for cpu in &cpus.others {
        set.set(*cpu)?;
    }
    if !cpus.others.is_empty() {
        sched_setaffinity(Pid::from_raw(0), &set)?;
    }
    Ok((UnixStream::from(socket), memory, all))
}

/// Serves one run with these who count, until it is finished or the supervisor is gone. The folder is written on the CPUs `at_last`.
pub fn serve(
    socket: UnixStream,
    memory: OwnedFd,
    crew: Crew,
    at_last: Option<CpuSet>,
) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    let mut server = Server {
        socket: Arc::new(socket),
        frames: FrameReader::default(),
        consumer: Consumer::open(memory)?,
        collector: Collector::new(Isa::detect(), crew),
        symbols: Symbols::default(),
    };
    match server.run() {
        Ok(None) => Ok(()),
        Ok(Some(finish)) => {
            let Server {
                socket,
                collector,
                symbols,
                ..
            } = server;
            if let Some(cpus) = at_last {
                // The program has ended; should it be refused, it only takes longer.
                let _ = sched_setaffinity(Pid::from_raw(0), &cpus);
            }
            answer(&socket, &conclude(collector, symbols, *finish))
        }
        Err(error) => answer(&server.socket, &Answer::Failed(error.to_string())),
    }
}

#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("{0}")]
    Collect(#[from] CollectError),
    #[error("the channel to the supervisor failed: {0}")]
    Io(#[from] io::Error),
}

struct Server {
    socket: Arc<UnixStream>,
    frames: FrameReader,
    consumer: Consumer,
    collector: Collector,
    symbols: Symbols,
}

/// What came over the socket.
enum Inbox {
    Nothing,
    Something,
    Finish(Box<Finish>),
    Closed,
}

impl Server {
    /// Counts until the run is finished; nothing if the supervisor is gone before.
    fn run(&mut self) -> Result<Option<Box<Finish>>, ServeError> {
        let mut idle_since: Option<Instant> = None;
        loop {
            // In this order: whatever a chunk refers to was sent before the chunk was published.
            let published = self.consumer.published();
            let inbox = self.receive()?;
            let counted = self.count_chunks(published)?;
            match inbox {
                Inbox::Finish(finish) => {
                    self.count_chunks(self.consumer.published())?;
                    return Ok(Some(finish));
                }
                Inbox::Closed => return Ok(None),
                Inbox::Nothing if !counted => {
                    let since = *idle_since.get_or_insert_with(Instant::now);
                    self.wait(since)?;
                }
                Inbox::Nothing | Inbox::Something => idle_since = None,
            }
        }
    }

    /// Takes all messages that have arrived.
    fn receive(&mut self) -> Result<Inbox, ServeError> {
        let mut bytes = [0; 64 * 1024];
        let mut inbox = Inbox::Nothing;
        loop {
            match (&*self.socket).read(&mut bytes) {
                Ok(0) => return Ok(Inbox::Closed),
                Ok(count) => self.frames.push(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(inbox),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The supervisor ended without having read all that we sent.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(Inbox::Closed);
                }
                Err(error) => return Err(error.into()),
            }
            inbox = Inbox::Something;
            while let Some(message) = self.frames.take()? {
                match message {
                    Message::Finish(finish) => return Ok(Inbox::Finish(finish)),
                    Message::Mappings(mappings) => {
                        for file in mappings.iter().filter(|mapping| mapping.is_code()) {
                            self.symbols.read_ahead(&file.name);
                        }
                        self.collector.message(Message::Mappings(mappings))?;
                    }
                    message => self.collector.message(message)?,
                }
            }
            self.consumer
                .set_instructions(self.collector.instructions());
        }
    }

    /// Counts chunks until so many have been taken altogether; whether there were any.
    fn count_chunks(&mut self, published: u64) -> Result<bool, ServeError> {
        let mut any = false;
        while self.consumer.taken() < published {
            let Some(chunk) = self.consumer.take()? else {
                break;
            };
            let (thread, used, fs) = (chunk.thread(), chunk.used(), chunk.fs_base());
            let socket = Arc::clone(&self.socket);
            let source = Box::new(Published { chunk, socket });
            let more = self.consumer.has_chunk();
            self.collector.chunk(thread, source, used, fs, more)?;
            self.consumer
                .set_instructions(self.collector.instructions());
            any = true;
        }
        Ok(any)
    }

    /// Waits for something to do: looks out for chunks at first, then sleeps.
    fn wait(&self, idle_since: Instant) -> io::Result<()> {
        if idle_since.elapsed() < SPIN {
            for _ in 0..200 {
                if self.consumer.has_chunk() {
                    break;
                }
                std::hint::spin_loop();
            }
            return Ok(());
        }
        self.consumer.set_asleep(true);
        if !self.consumer.has_chunk() {
            let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.consumer.set_asleep(false);
        Ok(())
    }
}

/// A chunk, and how to tell the supervisor that it is free again.
struct Published {
    chunk: Chunk,
    socket: Arc<UnixStream>,
}

impl Source for Published {
    fn rows(&self) -> &[u8] {
        self.chunk.rows()
    }

    fn done(self: Box<Self>) {
        let Published { chunk, socket } = *self;
        if chunk.hand_back() {
            // If the socket is full the supervisor has enough to wake it, and if it is closed there is nobody to wake.
            let _ = (&*socket).write(&frame::NUDGE);
        }
    }
}

/// Writes the folder.
fn conclude(collector: Collector, symbols: Symbols, finish: Finish) -> Answer {
    let written = collector
        .finish()
        .map_err(|error| error.to_string())
        .and_then(|counted| write(counted, symbols, finish).map_err(|error| error.to_string()));
    match written {
        Ok(summary) => Answer::Written { summary },
        Err(why) => Answer::Failed(why),
    }
}

fn write(
    (statistics, notes): (Statistics, Vec<String>),
    mut symbols: Symbols,
    finish: Finish,
) -> Result<String, WriteError> {
    let Finish {
        out,
        replace,
        mut info,
    } = finish;
    info.level = statistics.level;
    info.warnings.extend(notes);
    let existing = if replace {
        Existing::Replace
    } else {
        Existing::Refuse
    };
    let listing = Listing::located(&statistics, &mut symbols);
    let (written, summary) = std::thread::scope(|scope| {
        let summary = scope.spawn(|| summary::render(&statistics, &listing, &info));
        let written = write_listed(&out, existing, &statistics, &listing, &info);
        (written, summary.join())
    });
    written?;
    let summary = summary.expect("rendering the summary does not panic");
    // The process ends now; taking millions of small pieces apart would only make the user wait.
    std::mem::forget((statistics, listing, symbols));
    Ok(summary)
}

/// Sends the answer. A supervisor that is gone needs none.
fn answer(socket: &UnixStream, answer: &Answer) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    let mut bytes = Vec::new();
    frame::append(&mut bytes, answer)?;
    let mut socket = socket;
    match socket.write_all(&bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
