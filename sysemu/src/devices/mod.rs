//! The chips of the board. Each knows registers by offset and the time it is told, not where it lies; what it raises, the board routes.

pub mod ioapic;
pub mod keyboard;
pub mod lapic;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
