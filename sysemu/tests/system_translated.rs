//! The small kernels of `system.rs`, with all of their code translated.

#[path = "system.rs"]
mod system;
