//! How a kernel is started: its image, command line, initial RAM disk and tables in memory, the processor where its protocol says.

mod acpi;
pub mod cpio;
pub mod linux;
