//! Mode `budget`: each unit takes as many instructions from the thread's budget as it executes, and can't begin when too few are left.
//!
//! The budget is an address: in r15 at the boundaries of units, so much above the guard below the thread's *budget area* as instructions
//! are left. A unit touches the byte that its last instruction would use up, which faults when the budget does not reach so far;
//! on its way out it moves the address down. Both change no flags and no register of the guest.

use super::TranslateError;
use super::counting;
use super::registers::{Plan, R15};
use super::writer::Writer;
use crate::unit::{Place, WarmEntry};

/// Emits the unit.
pub(super) fn body(writer: &mut Writer, plan: &Plan) -> Result<(), TranslateError> {
    writer.point(0);
    let instructions = plan.block.guests.len() as i32;
    if instructions > 0 {
        take_cursor(writer, plan);
        if plan.displaces_cursor() {
            writer.warm_entry = Some(WarmEntry {
                offset: writer.asm.offset(),
                cursor: plan.cursor,
            });
        }
        writer.asm.store(plan.cursor, -instructions, plan.cursor, 1);
    }
    // Whoever joins units needs to know which are hot; a unit that was joined is known to be.
    counting::instructions(writer, plan, plan.block.starts.is_empty())
}

/// Moves the cursor out of r15, if the unit needs it for the guest.
pub(super) fn take_cursor(writer: &mut Writer, plan: &Plan) {
    if plan.displaces_cursor() {
        writer.asm.save(plan.cursor);
        writer.displace(0, plan.cursor, Place::Home);
        writer.asm.mov(plan.cursor, R15);
        writer.cursor_in(0, plan.cursor);
        writer.asm.restore(R15);
        writer.settle(0, R15);
    }
}
