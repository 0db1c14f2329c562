//! Controlled processes: what is started, how, and what Linux tells about it.
//!
//! - `command`: [`Command`], what the user asked for; `elf`: whether it can be run at all.
//! - `launch`: from a [`Command`] to a traced process stopped before its first instruction.
//! - `environment`: the controlled start (semantics, section 1), applied at every `execve`.
//! - `auxv`: the auxiliary vector on the initial stack; `pids`: reproducible process numbers; `cpus`: who runs where.
//! - `maps`, `status`: the memory map and `/proc/PID/status`.
//! - `sys`: the unsafe part: `clone3`, the child before `execve`, forwarded signals.

mod auxv;
mod command;
mod cpus;
mod elf;
mod environment;
mod launch;
mod maps;
mod pids;
mod status;
#[expect(
    unsafe_code,
    reason = "clone3, the child before execve, and a signal handler"
)]
mod sys;

pub use auxv::{AuxEntry, InitialStack};
pub use command::{Command, ResourceLimit, Stdio};
pub use cpus::CpuPlan;
pub use elf::check as check_executable;
pub use environment::{Environment, RANDOM, VirtualRandom, VirtualTsc, virtual_cpuid};
pub(crate) use launch::abandon;
pub use launch::{Launched, StartError};
pub use maps::{Mapping, maps, parse_maps};
pub use pids::PidPlan;
pub use status::{Status, cpu_seconds, descendants, sleeps, status, thread_group};
pub use sys::{
    CpuTime, Ticker, end_forwarding, forward_signals, restore_signals, same_open_file, time_stamp,
};
