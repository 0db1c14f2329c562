//! The loop over stops.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Instant;

use fits_stats::client::ClientError;
use fits_stats::protocol::{Crash, Event, Mapping, Message, ThreadNumber};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use rustc_hash::FxHashMap;

use super::Sink;
use super::family::Birth;
use super::thread::Thread;
use crate::backend::{BackendError, Ended, Outcome, RunOptions};
use crate::process::{self, Command, Launched, PidPlan};
use crate::ptrace::{Memory, Options, Resume, Stop, Stopped, Waited, wait_any};
use crate::step::DecodeCache;

/// Events of a thread that are sent together.
const BATCH: usize = 256;

/// A run under way.
pub(super) struct Session<'a> {
    pub(super) options: &'a RunOptions,
    sink: &'a mut dyn Sink,
    pub(super) root: Pid,
    pub(super) pids: PidPlan,
    pub(super) cache: DecodeCache,
    pub(super) random: process::VirtualRandom,
    pub(super) threads: FxHashMap<Pid, Thread>,
    /// Made, but not stopped for the first time yet.
    pub(super) expected: FxHashMap<Pid, Birth>,
    /// Stopped for the first time before the stop of its maker.
    pub(super) early: FxHashMap<Pid, Stopped>,
    next_number: ThreadNumber,
    pub(super) warnings: Vec<String>,
    ended: Option<Ended>,
    crash: Option<Crash>,
    /// For collecting memory values.
    pub(super) requests: Vec<(u64, usize)>,
    pub(super) buffer: Vec<u8>,
}

/// Runs `command` to its end.
pub(super) fn run(
    command: &Command,
    options: &RunOptions,
    sink: &mut dyn Sink,
) -> Result<Outcome, BackendError> {
    if options.environment.is_controlled() {
        options.cpus.pin_tracer();
    }
    let cpu_before = process::CpuTime::of_children();
    let launched = command.launch(Options::WHOLE_PROGRAM, options.environment, &options.cpus)?;
    let started = Instant::now();
    let Launched {
        pid,
        stopped,
        executable,
        pids,
        warnings,
    } = launched;
    let mut session = Session {
        options,
        sink,
        root: pid,
        pids,
        cache: DecodeCache::default(),
        random: process::VirtualRandom::default(),
        threads: FxHashMap::default(),
        expected: FxHashMap::default(),
        early: FxHashMap::default(),
        next_number: 0,
        warnings,
        ended: None,
        crash: None,
        requests: Vec::new(),
        buffer: Vec::new(),
    };
    let ended = match session.run_from(stopped) {
        Ok(ended) => ended,
        Err(error) => {
            session.abort();
            return Err(error);
        }
    };
    process::end_forwarding();
    session.warnings.extend(session.pids.warning());
    Ok(Outcome {
        ended,
        crash: session.crash.take(),
        executable,
        pid: pid.as_raw(),
        wall_seconds: started.elapsed().as_secs_f64(),
        cpu: process::CpuTime::of_children().since(cpu_before),
        translated: None,
        warnings: session.warnings,
    })
}

impl Session<'_> {
    fn run_from(&mut self, stopped: Stopped) -> Result<Ended, BackendError> {
        let pid = stopped.tid();
        process::forward_signals(pid).map_err(|errno| crate::Error::Ptrace {
            operation: "sigaction",
            tid: pid,
            errno,
        })?;
        let memory = Rc::new(Memory::open(pid)?);
        let number = self.number();
        let mut thread = Thread::new(pid, pid, number, memory);
        self.send_mappings(pid)?;
        let registers = stopped.registers()?;
        let result = self.advance(&mut thread, stopped, registers, None);
        self.threads.insert(pid, thread);
        forgive_gone(result)?;
        loop {
            match wait_any()? {
                Some(waited) => self.on_wait(waited)?,
                None if self.threads.is_empty() => break,
                None => {}
            }
            if let Some(ended) = self.ended
                && self.threads.is_empty()
            {
                return Ok(ended);
            }
        }
        Err(crate::Error::Gone { tid: self.root }.into())
    }

    fn on_wait(&mut self, waited: Waited) -> Result<(), BackendError> {
        match waited {
            Waited::Stopped(stopped) => self.on_stop(stopped),
            Waited::Exited { tid, code } => self.on_end(tid, Ended::Exited(code)),
            Waited::Signaled { tid, signal, core } => {
                self.on_end(tid, Ended::Signaled { signal, core })
            }
        }
    }

    fn on_stop(&mut self, stopped: Stopped) -> Result<(), BackendError> {
        let tid = stopped.tid();
        let Some(mut thread) = self.threads.remove(&tid) else {
            return self.on_first_stop(stopped);
        };
        let result = self.on_thread_stop(&mut thread, stopped);
        // `execve` moves a thread to another number.
        self.threads.insert(thread.tid, thread);
        forgive_gone(result)
    }

    fn on_thread_stop(
        &mut self,
        thread: &mut Thread,
        stopped: Stopped,
    ) -> Result<(), BackendError> {
        match stopped.stop() {
            Stop::Trap => self.on_trap(thread, stopped),
            Stop::Signal(signal) => self.on_signal(thread, stopped, signal),
            Stop::SyscallEntry => self.on_entry(thread, stopped),
            Stop::SyscallExit => self.on_exit(thread, stopped),
            Stop::Event(event) => self.on_event(thread, stopped, event),
            Stop::GroupStop(_) => Ok(stopped.resume(Resume::Listen, 0)?),
            Stop::Interrupted if thread.call.is_some() => Ok(stopped.resume(Resume::Syscall, 0)?),
            Stop::Interrupted => {
                let registers = stopped.registers()?;
                if std::mem::take(&mut thread.delivering) {
                    self.on_handler(thread, &stopped, &registers)?;
                }
                self.advance(thread, stopped, registers, None)
            }
        }
    }

    /// A thread, or the statistics process, is no more.
    fn on_end(&mut self, tid: Pid, ended: Ended) -> Result<(), BackendError> {
        if self.sink.pid() == Some(tid) {
            let status = match ended {
                Ended::Exited(code) => ExitStatus::from_raw(code << 8),
                Ended::Signaled { signal, .. } => ExitStatus::from_raw(signal),
            };
            return Err(ClientError::Died(Some(status)).into());
        }
        self.expected.remove(&tid);
        self.early.remove(&tid);
        if let Some(mut thread) = self.threads.remove(&tid) {
            self.leave(&mut thread)?;
            if let (Ended::Signaled { signal, .. }, Some(crash)) = (ended, thread.unhandled)
                && crash.signal == signal
            {
                self.crash.get_or_insert(crash);
            }
        }
        if tid == self.root {
            self.ended = Some(ended);
            // Its threads can't outlive it; those whose end the kernel does not report went with `execve`.
            self.threads.retain(|_, thread| thread.process != tid);
        }
        Ok(())
    }

    /// A number for a new thread.
    pub(super) fn number(&mut self) -> ThreadNumber {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    pub(super) fn emit(&mut self, thread: &mut Thread, event: Event) -> Result<(), BackendError> {
        thread.events.push(event);
        if thread.events.len() >= BATCH {
            self.flush(thread)
        } else {
            Ok(())
        }
    }

    /// Sends what a thread has done so far.
    pub(super) fn flush(&mut self, thread: &mut Thread) -> Result<(), BackendError> {
        if thread.events.is_empty() {
            return Ok(());
        }
        let events = std::mem::take(&mut thread.events);
        self.send(Message::Events(thread.number, events))
    }

    /// The same for all threads but those being handled.
    pub(super) fn flush_others(&mut self) -> Result<(), BackendError> {
        let mut threads = std::mem::take(&mut self.threads);
        let result = threads
            .values_mut()
            .try_for_each(|thread| self.flush(thread));
        self.threads = threads;
        result
    }

    pub(super) fn send(&mut self, message: Message) -> Result<(), BackendError> {
        Ok(self.sink.send(message)?)
    }

    /// Tells what is mapped where in the process of `tid`, if it can still be told.
    pub(super) fn send_mappings(&mut self, tid: Pid) -> Result<(), BackendError> {
        let Ok(maps) = process::maps(tid) else {
            return Ok(());
        };
        if maps.is_empty() {
            return Ok(());
        }
        let mappings = maps.into_iter().map(|map| Mapping {
            start: map.start,
            end: map.end,
            offset: map.offset,
            executable: map.execute,
            name: map.path,
        });
        self.send(Message::Mappings(mappings.collect()))
    }

    pub(super) fn warn(&mut self, sentence: &str) {
        if !self.warnings.iter().any(|warning| warning == sentence) {
            self.warnings.push(sentence.to_owned());
        }
    }

    /// Ends the target, everything that it started, and waits for what is ours.
    fn abort(&mut self) {
        process::end_forwarding();
        let mut doomed = process::descendants(self.root);
        doomed.push(self.root);
        doomed.extend(self.threads.values().map(|thread| thread.process));
        for pid in doomed {
            // Those that have ended meanwhile need no signal.
            let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
        }
        self.threads.clear();
        self.early.clear();
        while let Ok(waited) = wait_any() {
            match waited {
                // The stop before its end, which it must be let past. One that is gone already needs nothing.
                Some(Waited::Stopped(stopped)) => drop(stopped.resume(Resume::Continue, 0)),
                Some(waited) if waited.tid() == self.root => break,
                Some(_) => {}
                None if nix::sys::signal::kill(self.root, None).is_err() => break,
                None => {}
            }
        }
    }
}

/// A thread that was killed while it was stopped is no failure: its end is reported next.
pub(super) fn forgive_gone(result: Result<(), BackendError>) -> Result<(), BackendError> {
    match result {
        Err(BackendError::Trace(error)) if error.is_gone() => Ok(()),
        result => result,
    }
}
