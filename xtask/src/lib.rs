//! What is done to a checkout beside building it. Tests use it as a library, people by `cargo xtask`.

pub mod guests;

use std::path::{Path, PathBuf};

/// The folder that all of this is checked out in.
#[must_use]
pub fn checkout() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}
