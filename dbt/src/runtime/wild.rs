//! Wild branches: to addresses that no code of a program can have.
//!
//! Natively such a branch does not retire: the processor raises the fault at the branch itself. Translated, it has been taken when it
//! misses the lookup table. So it is taken back, and executed once more, natively.
//! What is not restored is the word below the stack pointer that a wild call overwrites.

use fits_stats::template::{ROW_ALIGN, UnitId};
use fits_tracer::ptrace::{Registers, general};

use super::error::{Result, RuntimeError};
use super::guest::{R15, RCX, state};
use super::supervisor::Supervisor;
use super::thread::Thread;
use super::traps::{Left, at_home};
use crate::layout::WILD;
use crate::mode::Mode;

impl Supervisor<'_> {
    /// Whether a thread has left its unit by a branch to where no code can be.
    pub(super) fn is_wild(&self, thread: &Thread, left: Left) -> bool {
        self.is_indirect(left) && WILD.contains(&thread.area.target())
    }

    /// The guest's state before the branch that a thread has just taken. What retired before it in its unit is reported.
    pub(super) fn before_wild_branch(
        &mut self,
        thread: &mut Thread,
        host: &Registers,
    ) -> Result<Registers> {
        let target = thread.area.target();
        let lost = || RuntimeError::Unsupported {
            what: "a branch to a non-canonical address from an unknown place".to_owned(),
            pc: target,
        };
        let (mut machine, mut moved) = (*host, vec![at_home(RCX)]);
        if self.mode.takes_r15() {
            moved.push(at_home(R15));
        }
        let id = if self.mode == Mode::Full {
            self.leave_rows(thread, host.r15)?;
            self.last_row(thread).ok_or_else(lost)?
        } else {
            thread.area.source()
        };
        let (id, last) = self.cache.last_of(id).ok_or_else(lost)?;
        let unit = self.cache.unit(id).ok_or_else(lost)?;
        let executed = unit.executed_before(last);
        let pc = *unit.instructions.get(usize::from(last)).ok_or_else(lost)?;
        // By how much the unit has moved what is in r15.
        let advance = match self.mode {
            Mode::Budget => (u64::from(executed) + 1).wrapping_neg(),
            Mode::Counts | Mode::Full => u64::from(unit.row_bytes),
        };
        let prefix = unit.prefix;
        let bytes = self.code.instruction(pc);
        let branch = self.decode.decode(pc, &bytes).ok_or_else(lost)?;
        let increment = i64::from(branch.instruction.stack_pointer_increment());
        *general(&mut machine, RSP) = host.rsp.wrapping_sub(increment as u64);
        self.leave_rows(thread, host.r15.wrapping_sub(advance))?;
        thread.prefix = prefix;
        self.interrupted(thread, id, executed, true)?;
        Ok(state(thread, &machine, &moved, pc))
    }

    /// The unit of the row before the thread's cursor.
    fn last_row(&self, thread: &Thread) -> Option<UnitId> {
        let rows = self.stats.rows()?.written(thread.cursor?);
        let (mut at, mut last) = (0, None);
        while let Some(header) = rows.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            let header = u32::from_le_bytes(*header);
            let bytes = ROW_ALIGN * (header & 0x3ff) as usize;
            if bytes == 0 {
                break;
            }
            last = Some(header >> 10);
            at += bytes;
        }
        last
    }
}

const RSP: u8 = 4;
