//! IDE: the PCI function of a PIIX3 with two channels, and the ATA disks on them.
//!
//! [`controller`] is the function with its bus masters; [`channel`] the registers of one channel with up to two drives; [`command`] what the drives do;
//! [`identify`] what they say of themselves.

pub mod channel;
pub mod command;
pub mod controller;
pub mod identify;

pub use controller::Ide;
