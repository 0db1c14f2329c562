//! `fits vm`: stock Debian kernels on the software processor, every way to boot them, small kernels of our own, and what is refused.
//!
//! The guests are those of `cargo xtask guests`.

mod bad_input;
mod boots;
mod golden;
mod small;
mod stages;
mod terminal;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use xtask::guests::{self, Guests};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// Says, in a way that the test runner doesn't swallow, that something is not tested here.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// Kernels and initial RAM disks; none where they can't be had.
pub(crate) fn guests() -> Option<Guests> {
    let folder = guests::folder(&xtask::checkout());
    match guests::fetch(&folder, &mut |_| ()) {
        Ok(guests) => Some(guests),
        Err(error) => {
            skipped(&format!("no guests: {error}"));
            None
        }
    }
}

pub(crate) fn fits(arguments: &[&str], typed: Option<&Path>) -> Output {
    let input = match typed {
        Some(path) => Stdio::from(std::fs::File::open(path).expect("the input is there")),
        None => Stdio::null(),
    };
    Command::new(FITS)
        .arg("vm")
        .args(arguments)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(input)
        .output()
        .expect("fits starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
