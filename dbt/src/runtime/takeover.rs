//! Taking a process over that another tracer of ours has brought to a moment, and counting what it executes from there on: the reverse of
//! `handover`.
//!
//! The process has run natively so far, so its stack pointer and its instruction pointer may hold anything (a fault may have put it there). What is
//! ours is mapped with the help of a `syscall` instruction that lies somewhere in its code, and of a few bytes of its writable memory, which are
//! put back.

use fits_stats::protocol::Step;
use fits_tracer::backend::{BackendError, RunOptions};
use fits_tracer::engine::{Collected, EngineOptions, HowEnded};
use fits_tracer::live::{HandedThread, Handover, Live};
use fits_tracer::process::{Mapping, maps};
use fits_tracer::ptrace::{Memory, Stopped, kill};

use super::backend::Run;
use super::collector::Collector;
use super::error::{Result, RuntimeError};
use super::limits::Allowance;
use super::supervisor::Supervisor;
use super::thread::{Doing, Thread};
use crate::mode::Mode;

/// Bytes that are borrowed.
pub(super) const BORROWED: u64 = 64;

const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// `struct stack_t`: its size; that there is no alternate stack.
const STACK_BYTES: usize = 24;
const STACK_DISABLED: i32 = 2;

/// What is known of a process that was taken over, until it goes on.
#[derive(Debug)]
pub(super) struct Adopted {
    handed: HandedThread,
    /// Addresses of instructions that it has executed since the moment that counts.
    executed: Vec<u64>,
}

/// Where things can be done in a process in which nothing of ours is mapped yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Foothold {
    /// A `syscall` instruction.
    pub(super) syscall: u64,
    /// [`BORROWED`] bytes that can be written.
    pub(super) scratch: u64,
    /// An address in code.
    code: u64,
}

impl Foothold {
    fn find(maps: &[Mapping], memory: &Memory) -> Option<Self> {
        let mut bytes = Vec::new();
        let code = maps.iter().filter(|one| one.execute && one.read);
        let syscall = code.clone().find_map(|one| {
            bytes.clear();
            bytes.resize((one.end - one.start) as usize, 0);
            let read = memory.read_some(one.start, &mut bytes).ok()?;
            let at = bytes[..read].windows(2).position(|pair| pair == SYSCALL)?;
            Some(one.start + at as u64)
        })?;
        let scratch = maps
            .iter()
            .find(|one| one.read && one.write && !one.shared)?
            .start;
        let code = code.clone().next()?.start;
        Some(Self {
            syscall,
            scratch,
            code,
        })
    }
}

/// Lets the process of a [`Live`] go on to its end, and tells the statistics process what it executes.
pub(super) fn collect(
    live: Live,
    executed: &[u64],
    options: &EngineOptions,
    run_options: &RunOptions,
    stats: Collector<'_>,
) -> std::result::Result<Collected, BackendError> {
    let handover = live.hand_over()?;
    let leader = handover.leader;
    let adopted = Run::adopt(handover, executed, run_options, stats);
    let mut run = adopted.inspect_err(|_| {
        // It has not ended, and nobody else has it.
        let _ = kill(leader, leader, libc::SIGKILL);
    })?;
    run.supervisor.allowance = Allowance::new(options.limits);
    let ended = run
        .go_on()?
        .ok_or_else(|| BackendError::Engine("a run that seeks nothing has stopped".to_owned()))?;
    let how = run.supervisor.allowance.ended_for;
    Ok(Collected {
        how: how.unwrap_or(HowEnded::Ended(ended)),
        outcome: run.outcome(ended),
    })
}

impl<'a> Run<'a> {
    fn adopt(
        handover: Handover,
        executed: &[u64],
        options: &'a RunOptions,
        stats: Collector<'a>,
    ) -> std::result::Result<Self, BackendError> {
        let mut supervisor =
            Supervisor::new(options, Mode::Counts, stats, handover.leader, handover.pids)?;
        supervisor.warnings = handover.warnings;
        supervisor.random = handover.random;
        supervisor.next_number = handover.next_number;
        let mut threads = handover.threads;
        supervisor.adopted = threads.pop().map(|handed| Adopted {
            handed,
            executed: executed.to_vec(),
        });
        Ok(Self {
            supervisor,
            executable: handover.executable,
            started: handover.started,
            cpu_before: handover.cpu_before,
            stopped: None,
        })
    }
}

impl Supervisor<'_> {
    /// Lets a process go on that was taken over.
    pub(super) fn start_adopted(&mut self, adopted: Adopted) -> Result<()> {
        let Adopted { handed, executed } = adopted;
        let mut stopped = handed.stopped;
        let Some(area) = self.areas.take() else {
            return Ok(());
        };
        let unsupported = || RuntimeError::Unsupported {
            what: "taking over a program without a `syscall` instruction".to_owned(),
            pc: 0,
        };
        let memory = Memory::open(stopped.tid())?;
        let foothold = Foothold::find(&maps(stopped.tid())?, &memory).ok_or_else(unsupported)?;
        self.foothold = Some(foothold);
        self.guarded = self.options.environment.is_controlled();
        let mut thread = Box::new(Thread::new(stopped.tid(), handed.number, area));
        thread.doing = Doing::Native;
        thread.own_affinity = handed.own_affinity;
        thread.area.set_next_tsc(handed.tsc.upcoming());
        thread.alternate = alternate(&mut stopped, &memory, foothold)?;
        self.open_stream(&mut thread)?;
        let result = self.go_on_adopted(&mut thread, stopped, foothold.code, &executed);
        self.threads.insert(thread.tid, thread);
        self.unless_gone(result)
    }

    fn go_on_adopted(
        &mut self,
        thread: &mut Thread,
        mut stopped: Stopped,
        code: u64,
        executed: &[u64],
    ) -> Result<()> {
        let guest = stopped.registers()?;
        self.settle_in(thread, &mut stopped, code)?;
        for &pc in executed {
            let bytes = self.code.instruction(pc);
            let decoded = self.decode.decode(pc, &bytes);
            let Some(decoded) = decoded else { continue };
            if decoded.bytes == SYSCALL {
                return Err(RuntimeError::Unsupported {
                    what: "collecting statistics from within a system call on".to_owned(),
                    pc,
                });
            }
            let ends_block = decoded.facts.ends_block;
            let step = Step {
                pc,
                bytes: decoded.bytes.clone(),
                values: Vec::new(),
                memory: Vec::new(),
            };
            self.retired(thread, step, ends_block)?;
        }
        self.proceed(thread, stopped, guest)
    }
}

/// The alternate signal stack of a thread.
fn alternate(
    stopped: &mut Stopped,
    memory: &Memory,
    foothold: Foothold,
) -> Result<std::ops::Range<u64>> {
    let mut saved = [0; STACK_BYTES];
    memory.read(foothold.scratch, &mut saved)?;
    let args = [0, foothold.scratch, 0, 0, 0, 0];
    let answer = stopped.remote_syscall_at(foothold.syscall, libc::SYS_sigaltstack, args)?;
    let mut told = [0; STACK_BYTES];
    memory.read(foothold.scratch, &mut told)?;
    memory.write(foothold.scratch, &saved)?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&told[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let disabled = word(8) as i32 & STACK_DISABLED != 0;
    if answer != 0 || disabled {
        return Ok(0..0);
    }
    Ok(word(0)..word(0).saturating_add(word(16)))
}
