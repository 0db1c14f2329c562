//! One instruction executed by itself: decoded, its operand values taken before and after, reported as a
//! [`fits_stats::protocol::Step`]. The ptrace backend does nothing else; the translator uses it where it can't translate.
//!
//! - `decoded`: [`Decoded`], an instruction and where its operand values are; [`DecodeCache`].
//! - `pending`: [`Pending`], an instruction about to execute.
//! - `values`: registers by their iced-x86 names.
//! - `virtual_read`: instructions that read what is virtual in a controlled run.
//! - `touches`: whether an instruction touches a place in memory.
//! - `block`: [`BlockTracker`], where basic blocks end.

mod block;
mod decoded;
mod pending;
mod touches;
mod values;
mod virtual_read;

pub use block::BlockTracker;
pub use decoded::{DecodeCache, Decoded, Kind};
pub use pending::{MemoryValue, Pending};
pub use touches::{run_down, touches};
pub use values::View;
pub use virtual_read::virtual_read;
