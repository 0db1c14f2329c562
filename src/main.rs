//! The command line of fits.
fn main() {}
