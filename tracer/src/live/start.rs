//! How a [`Live`] comes to be.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use fits_stats::protocol::ThreadNumber;
use nix::unistd::Pid;
use rustc_hash::{FxHashMap, FxHashSet};

use super::Live;
use super::breakpoints::Breakpoints;
use super::family::Births;
use super::forced::{FORCED, Forced};
use super::install::guard;
use super::numbers::FileNumbers;
use super::thread::{At, Thread};
use crate::backend::BackendError;
use crate::engine::EngineOptions;
use crate::process::{
    Command, CpuPlan, CpuTime, Environment, Launched, PidPlan, VirtualRandom, VirtualTsc,
    forward_signals, status,
};
use crate::ptrace::{Memory, Options, SigInfo, Stopped, Waited, kill};
use crate::step::DecodeCache;

/// What is reported of every thread.
pub(super) fn tracing() -> Options {
    Options::WHOLE_PROGRAM | Options::SECCOMP
}

/// A process that another tracer of ours has brought somewhere, with all that it knows of it.
#[derive(Debug)]
pub struct Handover {
    /// The process.
    pub leader: Pid,
    /// The file that was executed first.
    pub executable: PathBuf,
    /// Whether its start was controlled.
    pub environment: Environment,
    /// Who runs where.
    pub cpus: CpuPlan,
    /// Numbers for its threads and children.
    pub pids: PidPlan,
    /// The stream that `getrandom` reads, as far as it has been read.
    pub random: VirtualRandom,
    /// All its threads.
    pub threads: Vec<HandedThread>,
    /// The one in focus.
    pub focus: ThreadNumber,
    /// The number that the next new thread will have.
    pub next_number: ThreadNumber,
    /// What has been waited for and not been handled: first stops of new threads, ends.
    pub queue: Vec<Waited>,
    /// When it began.
    pub started: Instant,
    /// [`CpuTime::of_children`] before it began.
    pub cpu_before: CpuTime,
    /// What the reader of a result should know.
    pub warnings: Vec<String>,
    /// What it has been told of files that it knows.
    pub numbers: FileNumbers,
}

/// A thread of a [`Handover`].
#[derive(Debug)]
pub struct HandedThread {
    /// Stopped in the program's own state, between two instructions or inside a system call that it has been interrupted in.
    pub stopped: Stopped,
    /// Its number.
    pub number: ThreadNumber,
    /// What `rdtsc` reads next.
    pub tsc: VirtualTsc,
    /// The program has chosen its CPUs itself.
    pub own_affinity: bool,
    /// Signals that the program has blocked and the kernel does not know to be.
    pub blocked: u64,
    /// Signals that were taken from the kernel and are to be delivered.
    pub held: Vec<SigInfo>,
}

impl Live {
    /// Starts a program; it stands at its first instruction, thread 0 in focus.
    ///
    /// # Errors
    /// See [`BackendError`]; no process is left.
    pub fn launch(command: &Command, options: &EngineOptions) -> Result<Self, BackendError> {
        if options.environment.is_controlled() {
            options.cpus.pin_tracer();
        }
        let cpu_before = CpuTime::of_children();
        let launched = command.launch(tracing(), options.environment, &options.cpus)?;
        let Launched {
            pid,
            stopped,
            executable,
            pids,
            warnings,
        } = launched;
        let thread = HandedThread {
            stopped,
            number: 0,
            tsc: VirtualTsc::default(),
            own_affinity: false,
            blocked: 0,
            held: Vec::new(),
        };
        let mut live = Self::adopt(Handover {
            leader: pid,
            executable,
            environment: options.environment,
            cpus: options.cpus.clone(),
            pids,
            random: VirtualRandom::default(),
            threads: vec![thread],
            focus: 0,
            next_number: 1,
            queue: Vec::new(),
            started: Instant::now(),
            cpu_before,
            warnings,
            numbers: FileNumbers::default(),
        })?;
        live.limit_steps(&options.limits);
        Ok(live)
    }

    /// Takes a process over, at any instruction of any of its threads, all of which are stopped. Nothing that the program can see changes.
    ///
    /// # Errors
    /// See [`BackendError`]; no process is left.
    pub fn adopt(handover: Handover) -> Result<Self, BackendError> {
        let leader = handover.leader;
        let memory = Memory::open(leader)?;
        let sets = status(leader)?;
        let mut live = Self {
            environment: handover.environment,
            cpus: handover.cpus,
            leader,
            executable: handover.executable,
            memory,
            focus: handover.focus,
            threads: FxHashMap::default(),
            next_number: handover.next_number,
            early: FxHashMap::default(),
            expected: FxHashMap::default(),
            children: FxHashSet::default(),
            pids: handover.pids,
            random: handover.random,
            forced: Forced::inherited(&sets),
            decode: DecodeCache::default(),
            halting: false,
            step_limits: None,
            births: Births::default(),
            breakpoints: Breakpoints::default(),
            arrivals: 0,
            found: VecDeque::new(),
            queue: VecDeque::from(handover.queue),
            last_signal: None,
            over: None,
            wall_seconds: 0.0,
            cpu: CpuTime::default(),
            warnings: handover.warnings,
            numbers: handover.numbers,
            started: handover.started,
            cpu_before: handover.cpu_before,
        };
        for thread in handover.threads {
            live.take_over(thread)?;
        }
        live.learn_actions(&sets)?;
        forward_signals(leader).map_err(|errno| crate::Error::Ptrace {
            operation: "sigaction",
            tid: leader,
            errno,
        })?;
        Ok(live)
    }

    fn take_over(&mut self, handed: HandedThread) -> Result<(), BackendError> {
        let mut stopped = handed.stopped;
        stopped.swallow();
        let tid = stopped.tid();
        if handed.blocked != 0 {
            stopped.set_signal_mask(stopped.signal_mask()? | handed.blocked)?;
        }
        let blocked = stopped.signal_mask()? & FORCED;
        if self.environment.is_controlled() {
            let (guarded, warning) = guard(stopped, tracing(), !self.numbers.is_empty())?;
            stopped = guarded;
            if let Some(sentence) = warning {
                self.warn(sentence);
            }
        } else {
            stopped.set_options(tracing())?;
        }
        let mut thread = Thread::new(tid, handed.number, At::Boundary(stopped));
        thread.tsc = handed.tsc;
        thread.own_affinity = handed.own_affinity;
        thread.blocked = blocked;
        for info in handed.held {
            kill(self.leader, tid, info.signal())?;
            thread.sent_again.push(info);
        }
        self.threads.insert(tid, Box::new(thread));
        Ok(())
    }
}
