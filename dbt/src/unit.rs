//! A translated unit as the translator hands it to the runtime: code, exits, and the map back to the guest's state.

use fits_stats::template::{Prefix, UnitId, UnitTemplate};

use crate::mode::Mode;

/// What to translate.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Number of the new unit; the numbers after it are for its [`Unit::sides`].
    pub id: UnitId,
    /// Guest address of the first instruction.
    pub pc: u64,
    /// The part of the basic block that came before, if this continues one.
    pub prefix: Option<Prefix>,
    /// Host address at which the code will lie in the target (64-byte aligned).
    pub host: u64,
    /// What the code does beside the program's own work.
    pub mode: Mode,
    /// `rdtsc` is virtual (off with `--raw-environment`).
    pub virtual_tsc: bool,
}

/// Guest code as the translator sees it.
pub trait GuestCode {
    /// Reads up to `buffer.len()` bytes of executable memory at `pc`; the number of bytes that could be read (0 if none).
    fn read(&self, pc: u64, buffer: &mut [u8]) -> usize;

    /// Whether a unit must begin at `pc`, and no other may go on over it.
    fn is_marked(&self, _pc: u64) -> bool {
        false
    }
}

/// A translated unit.
#[derive(Clone, Debug)]
pub struct Unit {
    /// Its static description for the collector. It has no instructions if the very first one needs the slow path
    /// or can't be fetched; then `code` is empty too, and `exits` holds one [`ExitKind::Slow`].
    pub template: UnitTemplate,
    /// Further templates, one for each way to leave a unit of several blocks before its end: the unit's first instructions,
    /// under the numbers that follow the unit's own.
    pub sides: Vec<UnitTemplate>,
    /// Host code; the unit's entry is its first byte.
    pub code: Vec<u8>,
    /// Length of the guest code in bytes.
    pub guest_bytes: u32,
    /// The ways out.
    pub exits: Vec<Exit>,
    /// Where it can be entered as well (mode `budget`).
    pub warm_entry: Option<WarmEntry>,
    /// Of a region (mode `budget`): the beginnings of its blocks, in the order of its instructions. Empty for other units.
    pub heads: Vec<Head>,
    /// The map from host addresses to guest states, ascending by offset; the first has offset 0.
    pub points: Vec<Point>,
    /// Level `counts`: offset of the first instruction after the one that counts the execution. A thread at or past it
    /// has been counted.
    pub counted_from: u32,
}

/// A way out of a unit: at `trap` stands an `int3`, which the runtime sees as a stop with `rip = host + trap + 1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Offset of the `int3`.
    pub trap: u32,
    /// For a linkable exit: offset of the aligned 4-byte displacement of the `jmp` that leads to the trap and may be
    /// pointed at the target's code instead.
    pub link: Option<u32>,
    /// A second linkable jump, which is taken first and leaves the budget in the register where the unit has it; for targets that have it there too.
    pub warm: Option<Warm>,
    /// The part of a basic block that has been executed when this exit is taken; none if the block has ended. It is the prefix of
    /// whatever is translated next.
    pub prefix: Option<Prefix>,
    /// What comes next. At the trap all instructions of the unit have retired (for [`ExitKind::Syscall`] and
    /// [`ExitKind::Slow`]: all of `template.instructions`), the row (if any) is complete and the cursor past it.
    pub kind: ExitKind,
}

/// A jump that skips giving the budget's register back and taking it again (mode `budget`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warm {
    /// Offset of the aligned 4-byte displacement.
    pub at: u32,
    /// Offset of what it leads to while it is not linked: the way by [`Exit::link`].
    pub otherwise: u32,
}

/// The entry of a unit for who has the budget in the right register already, the guest's value of that one at home, and the guest's r15 in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WarmEntry {
    /// Offset in the unit's code.
    pub offset: u32,
    /// The host register that the budget is in.
    pub cursor: u8,
}

/// The beginning of a block in a region. A thread that is there is between two instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Offset in the unit's code.
    pub offset: u32,
    /// Guest address.
    pub pc: u64,
    /// The host register that the budget is in; the guest's value of that one is at home.
    pub cursor: u8,
    /// So many instructions have been executed that are not yet taken off the budget.
    pub owed: u16,
}

/// What comes after a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitKind {
    /// Guest address known at translation.
    Direct(u64),
    /// The guest address is in [`crate::layout::TARGET`]; guest rcx is in its home.
    Indirect,
    /// The instruction at this guest address is a `syscall`; the unit ends before it. It is the runtime's to execute
    /// and to report as a step that ends the block.
    Syscall(u64),
    /// The instruction at this guest address needs the slow path (a native single-step in the guest's own state).
    Slow(u64),
}

/// From `offset` (until the next point) the thread is executing guest instruction number `instruction` of the unit, all
/// earlier ones having retired. Its guest registers are the host's, except those listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// Offset in the unit's code.
    pub offset: u32,
    /// Which instruction is about to be executed or is being executed.
    pub instruction: u16,
    /// Level `full`: the host register that holds the address of the unit's row.
    pub cursor: u8,
    /// The guest registers that are elsewhere.
    pub moved: Vec<Moved>,
}

/// A guest register that is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Guest register number.
    pub register: u8,
    /// Where its value is.
    pub to: Place,
}

/// Where a guest register's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In its home in the context.
    Home,
    /// In this host register.
    Host(u8),
}
