//! Wiring: which chip is at which address, and which line leads where.

pub mod attached;
pub mod console;
pub mod hardware;
pub mod map;
pub mod pc;
pub mod place;
