//! A process taken from one place to another: what a stopped process is, written down, and a freshly launched one made equal to it.
//!
//! - `account`: the system calls that a program has made so far, and whether all that they have done is understood here.
//! - `standing`: a process that stands at a moment, as whoever has brought it there shows it.
//! - `capture`: its state as a [`Checkpoint`]; `descriptors`, `regions`: the parts of that which are about files and about memory.
//! - `store`: a checkpoint in a file.
//! - `restore`: a [`super::Live`] in the state of a checkpoint; `plan`: the system calls that takes; `batch`: many system calls at one stop.
//! - `engine`: [`CheckpointEngine`], which begins where a checkpoint was taken.
//!
//! Only what is understood is taken along: everything else is refused with a sentence ([`Refused`]), and the program begins afresh.
//! The design is in `docs/design/checkpoints.md`.

mod account;
mod batch;
mod capture;
mod descriptors;
mod engine;
mod plan;
mod regions;
mod restore;
mod standing;
mod store;
mod told;

pub use account::Account;
pub use capture::{Checkpoint, Refused};
pub use engine::{CheckpointEngine, Surroundings};
pub use standing::Standing;
pub use store::{read, write};
pub use told::Told;
