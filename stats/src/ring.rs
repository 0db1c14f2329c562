//! The streams: shared memory through which the rows of translated code reach the statistics process.
//!
//! One memory file for the whole run holds a control area and, for each *slot*, [`CHUNKS`] chunks with a
//! hole behind each. A slot serves one thread of the target at a time. Translated code fills a chunk with
//! rows; when the next row would touch the hole (which the target maps inaccessible) it traps, the
//! supervisor *publishes* the chunk and points the thread to the next one. The statistics process takes
//! published chunks in the order of publication and hands each back when it has counted it.
//!
//! - [`layout`]: where everything lies in the file.
//! - [`shm`]: the mapping; the only unsafe code here.
//! - [`producer`]: the supervisor's end, used through [`crate::client::StatsProcess`].
//! - [`consumer`]: the end of the statistics process.
//! - [`event`]: events as rows between the rows of translated code.
//!
//! Nothing here waits: who must wait does so on the control socket, which also tells of the other's death.

pub mod consumer;
mod control;
pub mod event;
pub mod layout;
pub mod producer;
#[expect(
    unsafe_code,
    reason = "the one place where the shared memory is touched"
)]
pub mod shm;

pub use layout::{CHUNKS, Cursor, HOLE, Layout, MAX_SLOTS};

#[cfg(test)]
mod tests;
