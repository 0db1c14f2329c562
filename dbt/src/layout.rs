//! Where things lie in the target: the fixed addresses and offsets that emitted code relies on.
//!
//! Every thread of the target has a *thread area* at a fixed far address, reached through its `gs` base. All offsets
//! below are relative to that base and fit a 32-bit displacement.

/// First thread area. Linux never places anything here by itself: it is below the bottom-up mapping base
/// (0x2aaa…) and far above executables and below the top-down mapping base.
pub const THREAD_AREAS: u64 = 0x2a00_0000_0000;

/// Distance between thread areas.
pub const THREAD_STRIDE: u64 = 1 << 28;

/// Homes of the 16 general registers, 8 bytes each, in encoding order (rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi,
/// r8 … r15): where the guest's value is while translated code uses the host register for itself.
pub const HOMES: i32 = 0x000;

/// The home of general register number `register`.
pub const fn home(register: u8) -> i32 {
    HOMES + 8 * register as i32
}

/// Guest address of the target of the last indirect branch.
pub const TARGET: i32 = 0x80;

/// The virtual time-stamp counter: the value that the next `rdtsc` returns (8 bytes).
pub const TSC: i32 = 0x88;

/// How much one `rdtsc` adds to the virtual time-stamp counter.
pub const TSC_STEP: i32 = 10_000;

/// Where it starts.
pub const TSC_START: u64 = 0x1_0000_0000;

/// The row cursor while the thread is outside translated code (level `full`; 8 bytes).
pub const CURSOR: i32 = 0x90;

/// Number of the unit that the last indirect branch was in (level `counts`; 4 bytes): it may turn out to be one that faults.
pub const SOURCE: i32 = 0x98;

/// The addresses that may be non-canonical: between those of programs and those of the kernel. (With five levels of page tables some of
/// them are canonical, which does no harm here.)
pub const WILD: std::ops::Range<u64> = 1 << 47..0xffff_8000_0000_0000;

/// 512 bytes, 16-byte aligned, for `fxsave64` (level `full`, x87 operands).
pub const FXSAVE: i32 = 0x200;

/// Bytes of the context that all of the above lies in.
pub const CONTEXT_BYTES: u64 = 0x1000;

/// Bits of a guest address that index the lookup table.
pub const LOOKUP_BITS: u32 = 16;

/// Host entries for indirect jumps, calls and returns: `1 << LOOKUP_BITS` addresses of 8 bytes, indexed by the low bits of the
/// guest address. Every entry is valid to jump to: the entry code checks [`TARGET`] (see `translate::jump_entry`), and entries
/// of nothing point to the zone's miss stub. All threads map the same pages here, read-only.
pub const LOOKUP: i32 = 0x18_0000;

/// Bytes of the lookup table.
pub const LOOKUP_BYTES: u64 = 8 << LOOKUP_BITS;

/// Execution counters of units (level `counts`): 8 bytes for each unit number.
pub const COUNTERS: i32 = 0x20_0000;

/// The chunks of the thread's stream (level `full`) begin here. A row is written from its start on, so that a unit may run into
/// the guard behind a chunk in the middle of its row: at such a fault the runtime copies the row's bytes so far to the start of
/// the next chunk, points the cursor register ([`crate::unit::Point::cursor`]) there, and resumes at the faulting store.
pub const STREAM: i32 = 0x400_0000;

/// Mode `budget`: as many bytes above this as the thread may execute instructions points its budget register. The memory below, as much as
/// [`BUDGET_GUARD`], is never mapped: the touch of a unit that the budget does not suffice for faults.
pub const BUDGET: i32 = STREAM + BUDGET_GUARD as i32;

/// Bytes below [`BUDGET`] without memory; more than a unit has instructions.
pub const BUDGET_GUARD: u64 = 4096;

/// The largest budget, and the memory for it.
pub const BUDGET_BYTES: u64 = 1 << 22;

const _: () = assert!(LOOKUP as u64 + LOOKUP_BYTES == COUNTERS as u64);
const _: () =
    assert!(COUNTERS as u64 + 8 * fits_stats::template::UNIT_LIMIT as u64 <= STREAM as u64);
