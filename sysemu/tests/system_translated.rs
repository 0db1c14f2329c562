//! The small kernels of `system.rs` and `outside.rs`, with all of their code translated.

#[path = "outside.rs"]
mod outside;
#[path = "system.rs"]
mod system;
