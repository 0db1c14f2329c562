//! The statistics process of fits.
fn main() {}
