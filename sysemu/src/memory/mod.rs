//! Physical memory.

#[expect(
    unsafe_code,
    reason = "guest memory is read and written through one checked pointer"
)]
mod ram;

pub use ram::{Layout, Ram, Scalar};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
