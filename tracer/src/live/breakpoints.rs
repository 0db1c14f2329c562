//! The debug registers: breakpoints on instructions and on data.

use std::mem::offset_of;

use nix::unistd::Pid;

use super::Live;
use crate::backend::BackendError;
use crate::error::Result;
use crate::ptrace::Stopped;

/// How many there are.
pub(super) const SLOTS: usize = 4;

/// The one for [`Live::arrive`]; data breakpoints may take it while no arrival is waited for.
const CODE_SLOT: usize = SLOTS - 1;

const STATUS: usize = 6;
const CONTROL: usize = 7;

/// A place in memory to be watched: for loads, stores, or, where it is neither, for the instruction that begins there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// Its address, a multiple of `bytes`.
    pub address: u64,
    /// Its size: 1, 2, 4 or 8.
    pub bytes: u8,
    /// Loads are told.
    pub reads: bool,
    /// Stores are told.
    pub writes: bool,
}

impl Watch {
    /// The instruction at this address, told before it begins.
    #[must_use]
    pub fn code(address: u64) -> Self {
        Self {
            address,
            bytes: 1,
            reads: false,
            writes: false,
        }
    }

    fn check(&self) -> Result<(), BackendError> {
        let Self { address, bytes, .. } = *self;
        let code = !self.reads && !self.writes;
        let sizes: &[u8] = if code { &[1] } else { &[1, 2, 4, 8] };
        if sizes.contains(&bytes) && address.is_multiple_of(u64::from(bytes)) {
            return Ok(());
        }
        Err(BackendError::Engine(format!(
            "{bytes} bytes at {address:#x} cannot be watched: a watch has 1, 2, 4 or 8 bytes (one that waits for an instruction 1) and begins at a multiple of that"
        )))
    }

    /// The bits of the control register for this breakpoint in `slot`. The processor knows no breakpoint on loads alone.
    fn control(&self, slot: usize) -> u64 {
        let kind = match (self.reads, self.writes) {
            (true, _) => 0b11,
            (false, true) => 0b01,
            (false, false) => 0b00,
        };
        let length = match self.bytes {
            1 => 0b00,
            2 => 0b01,
            4 => 0b11,
            _ => 0b10,
        };
        enabled(slot) | (kind | length << 2) << (16 + 4 * slot)
    }
}

fn enabled(slot: usize) -> u64 {
    1 << (2 * slot)
}

/// What is set in the debug registers of all threads.
#[derive(Debug, Default)]
pub(super) struct Breakpoints {
    pub(super) watches: Vec<Watch>,
    /// The instruction that an arrival at is waited for, and in which thread.
    pub(super) code: Option<(Pid, u64)>,
}

impl Breakpoints {
    /// Sets the debug registers of a thread.
    pub(super) fn apply(&self, stopped: &Stopped) -> Result<()> {
        let mut control = 0;
        // First none: an address is checked against the kind that is in force.
        stopped.set_user_word(register(CONTROL), 0)?;
        for (slot, watch) in self.watches.iter().enumerate() {
            stopped.set_user_word(register(slot), watch.address)?;
            control |= watch.control(slot);
        }
        if let Some((tid, address)) = self.code
            && tid == stopped.tid()
        {
            stopped.set_user_word(register(CODE_SLOT), address)?;
            control |= enabled(CODE_SLOT);
        }
        stopped.set_user_word(register(CONTROL), control)
    }

    /// Which breakpoints the thread has just hit: data by their index, the instruction.
    pub(super) fn hit(&self, stopped: &Stopped) -> Result<Hit> {
        let status = stopped.user_word(register(STATUS))?;
        let data = (0..self.watches.len()).filter(|slot| status >> slot & 1 == 1);
        let waited_for = self.code.is_some_and(|(tid, _)| tid == stopped.tid());
        Ok(Hit {
            data: data.fold(0, |set, slot| set | 1 << slot),
            code: waited_for && status >> CODE_SLOT & 1 == 1,
        })
    }
}

/// Breakpoints that a thread has hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Hit {
    /// Data breakpoints, as a set of indices.
    pub(super) data: u8,
    /// The instruction is about to begin.
    pub(super) code: bool,
}

impl Hit {
    pub(super) fn any(self) -> bool {
        self.code || self.data != 0
    }
}

fn register(number: usize) -> usize {
    offset_of!(libc::user, u_debugreg) + 8 * number
}

impl Live {
    /// Watches these places from here on, at most four, in all threads, those that will be made included; none: no longer any. What the kernel
    /// does in a system call is not seen.
    ///
    /// # Errors
    /// When a place cannot be watched, or there are too many.
    pub fn watch(&mut self, watches: &[Watch]) -> Result<(), BackendError> {
        if watches.len() > SLOTS {
            return Err(BackendError::Engine(format!(
                "{} places cannot be watched: the processor has {SLOTS} debug registers",
                watches.len()
            )));
        }
        watches.iter().try_for_each(Watch::check)?;
        self.breakpoints.watches = watches.to_vec();
        self.apply_breakpoints()
    }

    /// Sets the debug registers of all threads, which are stopped.
    pub(super) fn apply_breakpoints(&mut self) -> Result<(), BackendError> {
        for thread in self.threads.values().filter(|thread| !thread.leaving) {
            if let Some(stopped) = thread.stopped() {
                super::events::forgive_gone(
                    self.breakpoints.apply(stopped).map_err(Into::into),
                    (),
                )?;
            }
        }
        Ok(())
    }

    /// Sets the breakpoint on an instruction for the focused thread, or takes it away.
    pub(super) fn set_code_breakpoint(&mut self, address: Option<u64>) -> Result<(), BackendError> {
        if address.is_some() && self.breakpoints.watches.len() > CODE_SLOT {
            return Err(BackendError::Engine(
                "all four debug registers watch memory: an arrival at an instruction needs one of them".to_owned(),
            ));
        }
        let tid = self.focus_tid();
        self.breakpoints.code = match (address, tid) {
            (Some(address), Ok(tid)) => Some((tid, address)),
            _ => None,
        };
        self.apply_breakpoints()
    }
}
