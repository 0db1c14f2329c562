//! Devices that users write: in Rust, as a [`UserDevice`], or as a process of its own that speaks a protocol over a socket.
//!
//! `device` is the interface, `attached` puts a device on the board, `channel` joins several behind one range of addresses; `remote` is a device
//! whose other half is a process, `serve` is that other half for a device in Rust, and `wire` what they say to each other
//! (`docs/device-protocol.md`). `place` says where on the board a device is.

mod attached;
mod channel;
mod device;
mod place;
mod remote;
mod serve;
mod wire;

pub use attached::attach;
pub use channel::Channel;
pub use device::{Board, Fault, UserDevice};
pub use place::{Placement, RemotePlacement};
pub use remote::Remote;
pub use serve::serve;
