//! The small kernels of `outside.rs`, with all of their code translated.

#[path = "outside.rs"]
mod outside;
