//! How a kernel is started: its image, command line, initial RAM disk and tables in memory, the processor where its protocol says.
//!
//! `load` decides which protocol: `linux` (64-bit), `pvh` or `multiboot`. `bzimage` and `elf` read the files, `start` is the state of the
//! processor for either engine, `symbols` the kernel's own table of symbols.

mod acpi;
mod bzimage;
pub mod cpio;
mod elf;
mod error;
mod linux;
mod load;
mod multiboot;
mod pvh;
mod start;
pub mod symbols;

pub use error::BootError;
pub use load::{Boot, Entry, Module, load, prepare};
pub use start::Start;
