//! virtio devices (Virtual I/O Device specification 1.1): [`transport`] is a PCI function, in whose place behind registers stands one of
//! [`block`] and [`net`]. Rings are those of the virtio-queue crate.

pub mod block;
pub mod net;
pub mod transport;

pub use block::Block;
pub use net::Net;
pub use transport::{Driven, Virtio};
