//! Physical memory.

#[expect(
    unsafe_code,
    reason = "guest memory is read and written through one checked pointer"
)]
mod ram;

mod dma;
mod image;
mod private;
mod written;

pub use dma::{Dma, GuestMemory};
pub use image::RamImage;
pub use written::Written;

pub use ram::{Layout, Ram, Scalar};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
