//! A whole x86-64 PC in software: a deterministic processor, memory, devices, and the way a kernel is started.

#![expect(
    clippy::precedence,
    reason = "fields of registers are shifted and masked everywhere, as in the manuals"
)]

pub mod board;
pub mod boot;
pub mod bus;
pub mod cpu;
pub mod devices;
pub mod engine;
pub mod kvm;
pub mod machine;
pub mod memory;
pub mod qmp;
pub mod snapshot;
mod unix_listener;
pub mod user;
