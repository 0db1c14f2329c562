//! The ptrace backend: every thread single-stepped, every instruction reported. Slow, simple, and the reference for the others.
//!
//! - `session`: the loop over stops, and starting and ending it.
//! - `thread`: what is known of one traced thread.
//! - `stepping`: from one instruction to the next.
//! - `calls`: system calls, run from their entry stop to their exit stop.
//! - `signals`: deliveries, handler entries, and the part of the signal mask that single-stepping spoils.
//! - `family`: threads, children, `execve`, exits.

mod calls;
mod family;
mod session;
mod signals;
mod stepping;
mod thread;

use fits_stats::client::{ClientError, StatsProcess};
use fits_stats::protocol::Message;
use nix::unistd::Pid;

use crate::backend::{Backend, BackendError, Outcome, RunOptions};
use crate::process::Command;

/// Where the messages of a run go.
pub trait Sink {
    /// Takes one message.
    ///
    /// # Errors
    /// When the receiver is gone.
    fn send(&mut self, message: Message) -> Result<(), ClientError>;

    /// The process behind it, if there is one: its end is the sink's.
    fn pid(&self) -> Option<Pid>;
}

impl Sink for StatsProcess {
    fn send(&mut self, message: Message) -> Result<(), ClientError> {
        StatsProcess::send(self, &message)
    }

    fn pid(&self) -> Option<Pid> {
        Some(Pid::from_raw(StatsProcess::pid(self).cast_signed()))
    }
}

/// Messages kept, for tests.
impl Sink for Vec<Message> {
    fn send(&mut self, message: Message) -> Result<(), ClientError> {
        self.push(message);
        Ok(())
    }

    fn pid(&self) -> Option<Pid> {
        None
    }
}

/// Single steps every thread of the target.
///
/// Two limits, both of things that no ordinary program does: a `SIGTRAP` that another process sends while the program blocks or
/// ignores that signal is delivered at once, and an ignored `SIGTRAP` is reported by `sigaction` as not ignored.
#[derive(Debug, Default, Clone, Copy)]
pub struct PtraceBackend;

impl PtraceBackend {
    /// [`Backend::run`] with any sink.
    ///
    /// # Errors
    /// See [`Backend::run`].
    pub fn run_into(
        self,
        command: &Command,
        options: &RunOptions,
        sink: &mut dyn Sink,
    ) -> Result<Outcome, BackendError> {
        session::run(command, options, sink)
    }
}

impl Backend for PtraceBackend {
    fn name(&self) -> &'static str {
        "ptrace"
    }

    fn run(
        &mut self,
        command: &Command,
        options: &RunOptions,
        stats: &mut StatsProcess,
    ) -> Result<Outcome, BackendError> {
        self.run_into(command, options, stats)
    }
}
