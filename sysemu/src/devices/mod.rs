//! The chips of the board. Each knows registers by offset and the time it is told, not where it lies; what it raises, the board routes.

pub mod device;
pub mod exit;
pub mod faulty;
pub mod ide;
pub mod ioapic;
pub mod keyboard;
pub mod lapic;
pub mod lines;
pub mod medium;
pub mod network;
pub mod object;
pub mod overlay;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod port92;
pub mod power;
pub mod rtc;
pub mod virtio;

pub use device::{Context, Device};
pub use lines::{Line, Lines};
