//! Which host registers a unit may use for itself.
//!
//! A unit of mode `full` needs a *cursor*, the address of its row, and a *scratch* register; one of mode `budget` has its budget in place
//! of the cursor. At its boundaries the cursor is in r15. A unit that doesn't use r15 leaves it there; another one moves it to a register that none of its
//! instructions uses. Where too few are free, the unit is cut before the instruction that takes the last one.

use super::decode::{Block, Guest};
use crate::mode::Mode;
use fits_stats::register::Reg;
use fits_stats::template::{ROW_ALIGN, ROW_HEADER, ROW_LIMIT};
use iced_x86::{OpKind, Register};

/// Encoding number of rcx.
pub(super) const RCX: u8 = 1;
/// Encoding number of rsp.
pub(super) const RSP: u8 = 4;
/// Encoding number of r15, the cursor at unit boundaries.
pub(super) const R15: u8 = 15;

/// Where a unit that uses the guest's r15 keeps its budget, the first choice first: compiled code keeps what lives long elsewhere, so many units
/// agree, and go from one to the other without giving it back.
const BUDGET_REGISTERS: [u8; 13] = [11, 10, 9, 8, 14, 13, 12, 5, 7, 6, 3, 2, 0];

/// A set of general registers by encoding number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(u16);

impl Set {
    pub(super) fn insert(&mut self, register: u8) {
        self.0 |= 1 << register;
    }

    pub(super) fn contains(self, register: u8) -> bool {
        self.0 & (1 << register) != 0
    }

    pub(super) fn union(self, other: Set) -> Set {
        Set(self.0 | other.0)
    }

    /// Registers outside the set that a unit could take: neither rsp nor r15. Old registers last, since code with
    /// short encodings comes and goes by them.
    fn free(self) -> impl Iterator<Item = u8> {
        (0..15u8)
            .rev()
            .filter(move |&register| register != RSP && !self.contains(register))
    }

    /// One that any encoding can name.
    pub(super) fn first_free_low(self) -> Option<u8> {
        self.free().find(|&register| register < 8)
    }

    pub(super) fn first_free(self) -> Option<u8> {
        self.free().next()
    }
}

/// The instructions of a unit and the registers that it may use.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) block: Block,
    /// Where the cursor, or the budget, is inside the unit (modes `full` and `budget`).
    pub(super) cursor: u8,
    /// Free for capturing values (level `full`).
    pub(super) scratch: u8,
}

impl Plan {
    /// The unit uses the guest's r15 (modes `full` and `budget`).
    pub(super) fn displaces_cursor(&self) -> bool {
        self.cursor != R15
    }

    /// The guest's r15 changes in the unit.
    pub(super) fn writes_r15(&self) -> bool {
        self.block
            .guests
            .iter()
            .any(|guest| guest.facts.writes.iter().any(|reg| reg.index() == 15))
    }
}

/// General registers that an instruction uses, for values or addresses.
pub(super) fn used(guest: &Guest) -> Set {
    let mut set = Set::default();
    for reg in guest.facts.reads.iter().chain(&guest.facts.writes) {
        if reg.index() < 16 {
            set.insert(reg.index() as u8);
        }
    }
    for register in [
        guest.instruction.memory_base(),
        guest.instruction.memory_index(),
    ] {
        if let Some(number) = general(register) {
            set.insert(number);
        }
    }
    if leaves_indirectly(guest) {
        set.insert(RCX);
    }
    set
}

/// The encoding number of a general register or of a part of one.
pub(super) fn general(register: Register) -> Option<u8> {
    Reg::of(register)
        .filter(|reg| reg.index() < 16)
        .map(|reg| reg.index() as u8)
}

/// The instruction is a branch to an address that only execution knows.
pub(super) fn leaves_indirectly(guest: &Guest) -> bool {
    let branch = guest.facts.ends_block;
    branch
        && !matches!(
            guest.instruction.op0_kind(),
            OpKind::NearBranch64 | OpKind::NearBranch32
        )
}

/// The most that an instruction can add to a row, in bytes.
fn row_need(guest: &Guest) -> usize {
    let values = guest
        .facts
        .operands
        .iter()
        .map(|operand| usize::from(operand.bytes).max(8) * operand.accesses().count());
    // Two registers for each address, and the count of a repetition before and after.
    values.sum::<usize>() + 16 * guest.facts.memory.len() + 16
}

/// Picks the registers, and cuts the block where they run out.
pub(super) fn assign(mut block: Block, mode: Mode) -> Plan {
    let mut all = Set::default();
    let scratches = match mode {
        Mode::Counts => {
            return Plan {
                block,
                cursor: R15,
                scratch: RCX,
            };
        }
        Mode::Full => 1,
        Mode::Budget => {
            // For the count.
            all.insert(RCX);
            0
        }
    };
    let mut fits = 0;
    let mut row = ROW_HEADER + ROW_ALIGN;
    for guest in &block.guests {
        let with = all.union(used(guest));
        if mode == Mode::Full {
            row += row_need(guest);
        }
        if row > ROW_LIMIT || with.free().count() < scratches + usize::from(with.contains(R15)) {
            break;
        }
        all = with;
        fits += 1;
    }
    block.truncate(fits);
    let mut free = all.free();
    let scratch = match mode {
        Mode::Full => free.next().unwrap_or(RCX),
        _ => RCX,
    };
    let cursor = match mode {
        _ if !all.contains(R15) => R15,
        Mode::Budget => BUDGET_REGISTERS
            .into_iter()
            .find(|&register| !all.contains(register))
            .unwrap_or(R15),
        _ => free.next().unwrap_or(R15),
    };
    drop(free);
    Plan {
        block,
        cursor,
        scratch,
    }
}
