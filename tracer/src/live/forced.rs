//! `SIGTRAP` and `SIGSEGV` that the kernel forces on a thread for our sake: breakpoints, steps and reads of the time-stamp counter.
//!
//! A signal that is forced while it is blocked or ignored costs the program its action, and is unblocked. So we know what the program has set
//! (the filter asks about every change), and put it back. One thing is not known: what the mask of a running handler adds for these two signals. A
//! breakpoint inside such a handler takes the bit from its mask, until it returns.

use super::Live;
use super::install::{Place, remotely, with_page};
use super::thread::{At, Call, Thread};
use crate::backend::BackendError;
use crate::process::{Status, status};
use crate::ptrace::{Memory, Registers, Stopped};

/// The signals that are forced, as a set.
pub(super) const FORCED: u64 = 1 << (libc::SIGTRAP - 1) | 1 << (libc::SIGSEGV - 1);

/// The kernel's `struct sigaction`: handler, flags, restorer, mask.
type Action = [u8; 32];

/// Size of the kernel's signal set.
const SET: u64 = 8;

/// What the program has set for the forced signals; none is the default.
#[derive(Debug, Clone, Default)]
pub(super) struct Forced {
    trap: Option<Action>,
    segv: Option<Action>,
}

impl Forced {
    /// Of a program that has just been started: what it has inherited.
    pub(super) fn inherited(sets: &Status) -> Self {
        let ignored = |signal| Status::holds(sets.ignored, signal).then(ignoring);
        Self {
            trap: ignored(libc::SIGTRAP),
            segv: ignored(libc::SIGSEGV),
        }
    }

    /// `execve` takes handlers away, and leaves ignored signals ignored.
    pub(super) fn executed(&mut self) {
        for action in [&mut self.trap, &mut self.segv] {
            *action = action.filter(is_ignoring).map(|_| ignoring());
        }
    }

    pub(super) fn set(&mut self, signal: i32, action: Action) {
        let place = match signal {
            libc::SIGTRAP => &mut self.trap,
            _ => &mut self.segv,
        };
        let is_default = handler(&action) == libc::SIG_DFL as u64;
        *place = (!is_default).then_some(action);
    }

    fn get(&self, signal: i32) -> Option<Action> {
        match signal {
            libc::SIGTRAP => self.trap,
            _ => self.segv,
        }
    }

    /// `rt_sigaction` for one of the two, with a new action. (It fails for nothing but what is looked at here.)
    pub(super) fn note_action(&mut self, memory: &Memory, call: &Call) {
        let mut action = [0; 32];
        if call.args[3] == SET && memory.read(call.args[1], &mut action).is_ok() {
            self.set(call.args[0] as i32, action);
        }
    }
}

fn handler(action: &Action) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&action[..8]);
    u64::from_le_bytes(word)
}

fn is_ignoring(action: &Action) -> bool {
    handler(action) == libc::SIG_IGN as u64
}

fn ignoring() -> Action {
    let mut action = [0; 32];
    action[..8].copy_from_slice(&(libc::SIG_IGN as u64).to_le_bytes());
    action
}

impl Live {
    /// Asks the kernel for the handlers of a process that has been running.
    pub(super) fn learn_actions(&mut self, sets: &Status) -> Result<(), BackendError> {
        for signal in [libc::SIGTRAP, libc::SIGSEGV] {
            let Some((&tid, _)) = self.threads.iter().next() else {
                return Ok(());
            };
            if !Status::holds(sets.caught, signal) {
                continue;
            }
            let Some(mut thread) = self.threads.remove(&tid) else {
                return Ok(());
            };
            let result = self.ask_action(&mut thread, signal);
            self.threads.insert(tid, thread);
            result?;
        }
        Ok(())
    }

    fn ask_action(&mut self, thread: &mut Thread, signal: i32) -> Result<(), BackendError> {
        let Some(stopped) = thread.take() else {
            return Ok(());
        };
        let mut action = [0; 32];
        let memory = &self.memory;
        let (stopped, ()) = remotely(stopped, |stopped| {
            with_page(stopped, Place::Anywhere, |stopped, page| {
                let args = [signal as u64, 0, page, SET, 0, 0];
                Place::Anywhere.call(stopped, libc::SYS_rt_sigaction, args)?;
                memory.read(page, &mut action)
            })
        })?;
        thread.at = At::Boundary(stopped);
        self.forced.set(signal, action);
        Ok(())
    }

    /// `rt_sigprocmask` is about to set a mask.
    pub(super) fn note_mask(&mut self, thread: &mut Thread, call: &Call) {
        let Ok(named) = self.memory.read_u64(call.args[1]) else {
            return;
        };
        if call.args[3] != SET {
            return;
        }
        let named = named & FORCED;
        match call.args[0] as i32 {
            libc::SIG_BLOCK => thread.blocked |= named,
            libc::SIG_UNBLOCK => thread.blocked &= !named,
            libc::SIG_SETMASK => thread.blocked = named,
            _ => {}
        }
    }

    /// `rt_sigreturn` is about to put the mask of its frame in force.
    pub(super) fn note_return(&mut self, thread: &mut Thread, registers: &Registers) {
        /// Offset of the mask in `struct ucontext`, which rsp points at.
        const MASK: u64 = 296;
        if let Ok(mask) = self.memory.read_u64(registers.rsp.wrapping_add(MASK)) {
            thread.blocked = mask & FORCED;
        }
    }

    /// After a signal that was forced for our sake: puts back what that has cost the program.
    pub(super) fn put_back(
        &mut self,
        thread: &Thread,
        mut stopped: Stopped,
        signal: i32,
    ) -> Result<Stopped, BackendError> {
        let bit = 1 << (signal - 1);
        let mut blocked = thread.blocked & bit != 0;
        if let Some(action) = self.forced.get(signal) {
            let sets = status(thread.tid)?;
            if !Status::holds(sets.caught | sets.ignored, signal) {
                blocked |= !is_ignoring(&action);
                stopped.swallow();
                stopped = self.set_action(stopped, signal, &action)?;
            }
        }
        if blocked {
            stopped.set_signal_mask(stopped.signal_mask()? | bit)?;
        }
        Ok(stopped)
    }

    fn set_action(
        &mut self,
        stopped: Stopped,
        signal: i32,
        action: &Action,
    ) -> Result<Stopped, BackendError> {
        let place = self.syscall_instruction()?;
        let memory = &self.memory;
        let (stopped, _) = remotely(stopped, |stopped| {
            with_page(stopped, place, |stopped, page| {
                memory.write(page, action)?;
                let args = [signal as u64, page, 0, SET, 0, 0];
                place.call(stopped, libc::SYS_rt_sigaction, args)
            })
        })?;
        Ok(stopped)
    }

    /// A `syscall` instruction in the program's memory. (Other threads may be running: none can be written.)
    fn syscall_instruction(&self) -> Result<Place, BackendError> {
        let mut bytes = Vec::new();
        let code = self.mappings()?;
        for mapping in code.iter().filter(|mapping| mapping.execute) {
            bytes.resize((mapping.end - mapping.start) as usize, 0);
            let read = self.memory.read_some(mapping.start, &mut bytes)?;
            if let Some(at) = bytes[..read]
                .windows(2)
                .position(|pair| pair == [0x0f, 0x05])
            {
                return Ok(Place::At(mapping.start + at as u64));
            }
        }
        Err(BackendError::Engine(
            "the program has no `syscall` instruction by which its signal handler could be put back"
                .to_owned(),
        ))
    }
}
