//! The control socket: QEMU's machine protocol (QMP), and the commands of its fault-injection framework in both of their generations.
//!
//! `address` and `server` are sockets and clients; `stream` cuts what they send into JSON values, `parse` makes an `action` of each, and
//! `control`, on the machine's side, carries it out between two instructions; `message` is what goes back. See `docs/qmp.md`.

pub mod action;
pub mod address;
mod arguments;
pub mod carrier;
pub mod control;
mod execute;
mod memory;
pub mod message;
mod monitor;
pub mod objects;
pub mod parse;
pub mod schedule;
pub mod server;
mod snapshots;
mod stream;
pub mod trace;

pub use address::Address;
pub use carrier::Carrier;
pub use control::{Control, Ended};
pub use server::Server;
pub use trace::{Level, Trace};
