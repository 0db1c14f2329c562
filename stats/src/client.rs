//! The supervisor's side of the statistics process: start it, send to it, publish streams, get the answer.
//!
//! Messages are buffered; a chunk is published only after everything that was sent before it has gone
//! out, so the statistics process knows each unit before it meets the unit's rows.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::frame::{self, FrameReader};
use crate::protocol::{Answer, Event, Finish, Level, Message, ThreadNumber};
use crate::ring::event;
use crate::ring::producer::Producer;
use crate::ring::{Cursor, Layout};

/// The first argument of `fits-stats` when a supervisor starts it; the CPUs follow.
const SERVE: &str = "serve";

/// Stands for a CPU that is not known.
const ANY: &str = "any";

/// Where programs and statistics run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cpus {
    /// The CPU that the program is kept on.
    pub of_program: Option<usize>,
    /// Those for the statistics process; if there are none, it runs anywhere.
    pub others: Vec<usize>,
}

impl Cpus {
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> {
        let of_program = self
            .of_program
            .map_or_else(|| ANY.to_owned(), |cpu| cpu.to_string());
        let others = self.others.iter().map(usize::to_string);
        [SERVE.to_owned(), of_program].into_iter().chain(others)
    }

    /// From the arguments that a supervisor gives; none if these are others.
    pub(crate) fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let [first, of_program, others @ ..] = arguments else {
            return None;
        };
        let number = |cpu: &OsString| cpu.to_str()?.parse().ok();
        let of_program = if of_program == ANY {
            None
        } else {
            Some(number(of_program)?)
        };
        let others: Option<Vec<usize>> = others.iter().map(number).collect();
        (first == SERVE).then_some(Self {
            of_program,
            others: others?,
        })
    }
}

const BATCH: usize = 64 * 1024;

/// What can go wrong between supervisor and statistics process.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It could not be started.
    #[error("cannot start the statistics process {}: {source}", path.display())]
    Start {
        /// Its executable.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Shared memory or socket could not be made.
    #[error("cannot make the channel to the statistics process: {0}")]
    Channel(io::Error),
    /// It is gone, and what it had counted with it.
    #[error("the statistics process died{}: the statistics of this run are lost", how(*.0))]
    Died(Option<ExitStatus>),
    /// It gave up, and says why.
    #[error("{0}: the statistics of this run are lost")]
    GaveUp(String),
    /// A message could not be encoded, or the answer makes no sense.
    #[error("the channel to the statistics process failed: {0}")]
    Protocol(io::Error),
}

fn how(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.signal(), status.code())) {
        Some((Some(signal), _)) => format!(" (killed by signal {signal})"),
        Some((_, Some(code))) => format!(" (exit status {code})"),
        _ => String::new(),
    }
}

/// A running statistics process. When this is dropped before [`StatsProcess::finish`], the process ends and
/// leaves nothing behind.
///
/// It is a child of the supervisor: who waits for *any* child must skip [`StatsProcess::pid`].
#[derive(Debug)]
pub struct StatsProcess {
    child: Child,
    socket: UnixStream,
    unsent: Vec<u8>,
    frames: FrameReader,
    answer: Option<Answer>,
    producer: Producer,
    long_events: u64,
}

impl StatsProcess {
    /// Starts the executable `path` with streams of the default layout.
    pub fn start(path: &Path, level: Level, cpus: &Cpus) -> Result<Self, ClientError> {
        Self::start_with(path, level, cpus, Layout::default())
    }

    /// Starts the executable `path` with streams of another layout.
    pub fn start_with(
        path: &Path,
        level: Level,
        cpus: &Cpus,
        layout: Layout,
    ) -> Result<Self, ClientError> {
        let producer = Producer::create(layout).map_err(ClientError::Channel)?;
        let (socket, theirs) = UnixStream::pair().map_err(ClientError::Channel)?;
        let memory = producer
            .as_fd()
            .try_clone_to_owned()
            .map_err(ClientError::Channel)?;
        // Socket and memory are its standard input and output: inherited by it and by nobody else.
        let child = Command::new(path)
            .args(cpus.arguments())
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(memory))
            .spawn()
            .map_err(|source| ClientError::Start {
                path: path.to_owned(),
                source,
            })?;
        let mut process = StatsProcess {
            child,
            socket,
            unsent: Vec::with_capacity(2 * BATCH),
            frames: FrameReader::default(),
            answer: None,
            producer,
            long_events: 0,
        };
        process.send(&Message::Start { level })?;
        process.flush()?;
        Ok(process)
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where the streams lie in their memory file, whose descriptor [`StatsProcess::memory`] gives.
    pub fn layout(&self) -> Layout {
        self.producer.layout()
    }

    /// The memory file, to be mapped in the target: chunks readable and writable, holes inaccessible.
    pub fn memory(&self) -> BorrowedFd<'_> {
        self.producer.as_fd()
    }

    /// Sends a message; it may stay in the buffer until [`StatsProcess::flush`] or the next publication.
    pub fn send(&mut self, message: &Message) -> Result<(), ClientError> {
        frame::append(&mut self.unsent, message).map_err(ClientError::Protocol)?;
        if self.unsent.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends what is buffered.
    pub fn flush(&mut self) -> Result<(), ClientError> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let written = self.socket.write_all(&self.unsent);
        self.unsent.clear();
        written.map_err(|_| self.died())
    }

    /// Gives a free slot to a thread; the cursor is where its first row goes.
    pub fn open(&mut self, slot: u32, thread: ThreadNumber) -> Result<Cursor, ClientError> {
        self.producer.open(slot, thread);
        self.next_chunk(slot, crate::ring::CHUNKS - 1)
    }

    /// Hands the rows up to `filled` to the statistics process; the cursor is where the next row goes. Waits
    /// while all chunks of the slot are still to be counted.
    pub fn publish(&mut self, filled: Cursor) -> Result<Cursor, ClientError> {
        if filled.at == 0 {
            return Ok(filled);
        }
        self.flush()?;
        if self.producer.publish(filled) {
            self.nudge()?;
        }
        self.next_chunk(filled.slot, filled.chunk)
    }

    /// Writes an event between two rows; the cursor is where the next row goes.
    pub fn append_event(&mut self, at: Cursor, event: &Event) -> Result<Cursor, ClientError> {
        let row = match event::encode(event) {
            Some(row) => row,
            None => self.send_long(event)?,
        };
        let at = if self.producer.fits(at, row.len()) {
            at
        } else {
            self.publish(at)?
        };
        if let Event::FsBase(base) = event {
            self.producer.set_fs_base(at.slot, *base);
        }
        Ok(self.producer.write(at, &row))
    }

    /// Publishes what is left up to `filled` and takes the slot from its thread.
    pub fn close(&mut self, filled: Cursor) -> Result<(), ClientError> {
        if filled.at != 0 {
            self.flush()?;
            if self.producer.publish(filled) {
                self.nudge()?;
            }
        }
        self.producer.close(filled.slot);
        Ok(())
    }

    /// The rows of the current chunk up to `cursor`: what would be published.
    pub fn written(&self, cursor: Cursor) -> &[u8] {
        self.producer.written(cursor)
    }

    /// Instructions counted so far: the program itself is somewhat ahead.
    pub fn instructions(&self) -> u64 {
        self.producer.instructions()
    }

    /// Ends the run: all streams must be published. Waits until the folder is written.
    pub fn finish(mut self, finish: Finish) -> Result<Answer, ClientError> {
        let partial = crate::write::partial_folder(&finish.out, self.pid());
        let answer = self.wait_for_answer(finish);
        if answer.is_err() {
            // Killed while it wrote. That there is nothing to remove is the usual case.
            let _ = std::fs::remove_dir_all(partial);
        }
        answer
    }

    fn wait_for_answer(&mut self, finish: Finish) -> Result<Answer, ClientError> {
        self.send(&Message::Finish(Box::new(finish)))?;
        self.flush()?;
        loop {
            if let Some(answer) = self.answer.take() {
                // It has done all it had to do. Taking its memory apart piece by piece would only make the user wait.
                let _ = self.child.kill();
                return Ok(answer);
            }
            self.receive()?;
        }
    }

    /// Whether it still runs; the error says how it ended.
    pub fn check(&mut self) -> Result<(), ClientError> {
        self.wait_for_socket(PollTimeout::ZERO)
    }

    fn send_long(&mut self, event: &Event) -> Result<Vec<u8>, ClientError> {
        let number = self.long_events;
        self.long_events += 1;
        self.send(&Message::Long(number, event.clone()))?;
        Ok(event::encode_long(number))
    }

    fn next_chunk(&mut self, slot: u32, after: u32) -> Result<Cursor, ClientError> {
        loop {
            if let Some(cursor) = self.producer.free_chunk(slot, after) {
                return Ok(cursor);
            }
            self.producer.set_asleep(true);
            let freed = self.producer.free_chunk(slot, after);
            if freed.is_none() {
                self.wait_for_socket(PollTimeout::from(100u8))?;
            }
            self.producer.set_asleep(false);
        }
    }

    /// Waits for bytes on the socket and takes them; fails when the other end is closed.
    fn wait_for_socket(&mut self, timeout: PollTimeout) -> Result<(), ClientError> {
        let mut fds = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, timeout) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Ok(_) => self.receive(),
            Err(error) => Err(ClientError::Protocol(error.into())),
        }
    }

    fn receive(&mut self) -> Result<(), ClientError> {
        let mut bytes = [0; 16 * 1024];
        match self.socket.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.frames.push(&bytes[..count]);
                let answer = self.frames.take().map_err(ClientError::Protocol)?;
                self.answer = answer.or(self.answer.take());
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Ok(_) | Err(_) => Err(self.died()),
        }
    }

    fn nudge(&mut self) -> Result<(), ClientError> {
        let sent = self.socket.write_all(&frame::NUDGE);
        sent.map_err(|_| self.died())
    }

    /// The error that says how it ended: it has closed its end, so reading and waiting are short.
    fn died(&mut self) -> ClientError {
        let mut last = Vec::new();
        let _ = self.socket.read_to_end(&mut last);
        self.frames.push(&last);
        let last_answer = self.frames.take().ok().flatten().or(self.answer.take());
        match last_answer {
            Some(Answer::Failed(why)) => ClientError::GaveUp(why),
            _ => ClientError::Died(self.child.wait().ok()),
        }
    }
}

impl Drop for StatsProcess {
    fn drop(&mut self) {
        // It ends when its socket is closed. That it may already be gone is no news any more.
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}
