//! How a [`Live`] comes to be.

use std::collections::VecDeque;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use super::Live;
use super::thread::{At, Thread};
use crate::backend::BackendError;
use crate::engine::EngineOptions;
use crate::process::{Command, CpuTime, Launched, forward_signals};
use crate::ptrace::{Memory, Options};
use crate::step::DecodeCache;

/// What is reported of every thread.
const TRACING: [Options; 7] = [
    Options::SYSGOOD,
    Options::FORK,
    Options::VFORK,
    Options::CLONE,
    Options::EXEC,
    Options::EXIT,
    Options::EXIT_KILL,
];

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
        let tracing = TRACING
            .into_iter()
            .fold(Options::SYSGOOD, |all, option| all | option);
        let launched = command.launch(tracing, options.environment, &options.cpus)?;
        let Launched {
            pid,
            stopped,
            executable,
            pids,
            warnings,
        } = launched;
        let memory = Memory::open(pid)?;
        let thread = Thread::new(pid, 0, At::Boundary(stopped));
        let live = Self {
            environment: options.environment,
            cpus: options.cpus.clone(),
            leader: pid,
            executable,
            memory,
            focus: 0,
            threads: FxHashMap::from_iter([(pid, Box::new(thread))]),
            next_number: 1,
            early: FxHashMap::default(),
            expected: FxHashMap::default(),
            children: FxHashSet::default(),
            pids,
            decode: DecodeCache::default(),
            halting: false,
            queue: VecDeque::new(),
            last_signal: None,
            over: None,
            wall_seconds: 0.0,
            cpu: CpuTime::default(),
            warnings,
            started: Instant::now(),
            cpu_before,
        };
        forward_signals(pid).map_err(|errno| crate::Error::Ptrace {
            operation: "sigaction",
            tid: pid,
            errno,
        })?;
        Ok(live)
    }
}
