//! Giving a process away: the reverse of [`Live::adopt`].
//!
//! The guard rails stay up: whoever takes it over is asked about system calls that the filter knows (tracing option `SECCOMP` is set), and
//! may let them go on. The time-stamp counter stays disabled for the program.

use std::mem::{offset_of, take};

use super::state::is_interrupted;
use super::thread::At;
use super::{HandedThread, Handover, Live};
use crate::backend::BackendError;
use crate::engine::HowEnded;
use crate::ptrace::Stopped;

/// The debug register that puts breakpoints in force.
const DEBUG7: usize = offset_of!(libc::user, u_debugreg) + 7 * 8;

impl Live {
    /// Gives the process away, which stands between two instructions.
    ///
    /// # Errors
    /// [`BackendError::Unsupported`] where more would have to be handed over: other threads, children, a system call or a signal that is under way.
    /// No process is left.
    pub fn hand_over(mut self) -> Result<Handover, BackendError> {
        let registers = self.registers()?;
        let refused = |what: &str| BackendError::Unsupported {
            what: format!("collecting statistics of {what}"),
            pc: registers.rip,
            backend: "dbt",
        };
        if self.threads.len() != 1 || !self.early.is_empty() || !self.expected.is_empty() {
            return Err(refused("a program with more than one thread"));
        }
        if !self.children.is_empty() {
            return Err(refused("a program with children"));
        }
        if !self.queue.is_empty() || !self.found.is_empty() {
            return Err(refused("a program to which something happens just now"));
        }
        let Some(mut thread) = take(&mut self.threads).into_values().next() else {
            return Err(refused("a program that has ended"));
        };
        let quiet = thread.pending.is_none()
            && thread.call.is_none()
            && thread.announced.is_none()
            && thread.sent_again.is_empty();
        let stopped = match std::mem::replace(&mut thread.at, At::Running) {
            At::Boundary(stopped) if quiet && !is_interrupted(&stopped.registers()?) => stopped,
            other => {
                thread.at = other;
                self.threads.insert(thread.tid, thread);
                return Err(refused(
                    "a thread that is in a system call, or about to enter a signal handler,",
                ));
            }
        };
        forget_breakpoints(&stopped)?;
        // Whoever has it now ends it.
        self.over = Some(HowEnded::WallLimit);
        Ok(Handover {
            leader: self.leader,
            executable: take(&mut self.executable),
            environment: self.environment,
            cpus: self.cpus.clone(),
            pids: self.pids.take(),
            random: take(&mut self.random),
            threads: vec![HandedThread {
                stopped,
                number: thread.number,
                tsc: thread.tsc.clone(),
                own_affinity: thread.own_affinity,
                // They are in the kernel's mask.
                blocked: 0,
                held: Vec::new(),
            }],
            focus: thread.number,
            next_number: self.next_number,
            queue: Vec::new(),
            started: self.started,
            cpu_before: self.cpu_before,
            warnings: take(&mut self.warnings),
            numbers: take(&mut self.numbers),
        })
    }
}

fn forget_breakpoints(stopped: &Stopped) -> Result<(), BackendError> {
    Ok(stopped.set_user_word(DEBUG7, 0)?)
}
