//! PCI: configuration space, functions, the bus that finds them, and the bridges of a PIIX chipset.

pub mod bridges;
pub mod bus;
pub mod config;
pub mod function;

pub use bus::{PciBus, Window};
pub use config::{Bar, Config, Identity};
pub use function::{Function, PciDevice};
