//! A process that runs natively and can be stopped, looked at, changed, stepped, and let run to its end, while it sees what a controlled
//! run shows it.
//!
//! - `thread`: what is known of one thread.
//! - `start`: [`Live::launch`], and [`Live::adopt`] of a process that another tracer of ours has brought somewhere.
//! - `release`: [`Live::hand_over`], the reverse of that.
//! - `state`: what can be looked at and changed while it is stopped.
//! - `events`: the loop over stops, and what each means while the process runs natively.
//! - `family`: threads, children, `execve`.
//! - `halt`: resuming and stopping all threads.
//! - `filter`, `install`, `guard`: the guard rails: which system calls the tracer is asked about, how that is set up, what it answers.
//! - `forced`: signals that the kernel forces on the program for our sake.
//! - `breakpoints`, `arrive`: debug registers, and running natively to an instruction, an access, a birth.
//! - `frames`: what signal frames tell of exceptions.
//! - `stepping`: one instruction at a time.
//! - `walk`: stepping through a program, and what lies where.
//! - `engine`: [`PtraceEngine`].
//! - `finish`: to the end, under limits.
//! - [`checkpoint`]: a process taken from one place to another.
//!
//! One thread is *in focus*: registers are its, and it is the one that is stepped. Between two calls all threads are stopped. Only one `Live`
//! of an operating-system thread may run at a time; others may exist, stopped.

mod arrive;
mod breakpoints;
pub mod checkpoint;
mod engine;
mod events;
mod family;
mod filter;
mod finish;
mod forced;
mod frames;
mod guard;
mod halt;
mod install;
pub mod numbers;
mod release;
mod start;
mod state;
mod stepping;
mod thread;
mod walk;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Instant;

use fits_stats::protocol::{Crash, ThreadNumber};
use nix::unistd::Pid;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::engine::{HowEnded, Limits};
use crate::process::{CpuPlan, CpuTime, Environment, PidPlan, VirtualRandom};
use crate::ptrace::{Memory, Stopped, Waited};
use crate::step::DecodeCache;
use numbers::FileNumbers;
use thread::Thread;

pub use arrive::Watched;
pub use breakpoints::Watch;
pub use engine::PtraceEngine;
pub use start::{HandedThread, Handover};
pub use walk::Goal;

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// One instruction has retired.
    Retired,
    /// The handler of this signal has been entered: the thread is at its first instruction. The instruction that was to be stepped has not
    /// retired.
    Handler {
        /// The signal.
        signal: i32,
    },
    /// The thread or the whole process has ended; its last instruction has retired if that was a system call.
    Ended,
}

/// A process that runs natively under ptrace. Dropping it kills the process and everything traced with it.
#[derive(Debug)]
pub struct Live {
    environment: Environment,
    cpus: CpuPlan,
    leader: Pid,
    executable: PathBuf,
    memory: Memory,
    focus: ThreadNumber,
    threads: FxHashMap<Pid, Box<Thread>>,
    next_number: ThreadNumber,
    /// Stopped for the first time before the stop of its maker.
    early: FxHashMap<Pid, Stopped>,
    /// Made, but not stopped for the first time yet: a thread that will have this number.
    expected: FxHashMap<Pid, family::Birth>,
    /// Processes made by it, and theirs, which run free but stay traced.
    children: FxHashSet<Pid>,
    pids: PidPlan,
    random: VirtualRandom,
    forced: forced::Forced,
    decode: DecodeCache,
    /// All threads are being stopped: a new one stays stopped.
    halting: bool,
    /// What becomes of new threads.
    births: family::Births,
    breakpoints: breakpoints::Breakpoints,
    /// How often the instruction with the breakpoint has been arrived at.
    arrivals: u64,
    /// What has happened meanwhile and is still to be told.
    found: VecDeque<events::Happened>,
    /// For a step over a system call.
    step_limits: Option<Limits>,
    /// Waited for, but not handled yet.
    queue: VecDeque<Waited>,
    /// The last signal that a thread was given.
    last_signal: Option<Crash>,
    over: Option<HowEnded>,
    wall_seconds: f64,
    cpu: CpuTime,
    warnings: Vec<String>,
    /// What it has been told of files that it knows.
    numbers: FileNumbers,
    started: Instant,
    cpu_before: CpuTime,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.kill_everything();
    }
}
