//! `fits vm`: a stock Debian kernel on the software processor, and what is refused.
//!
//! The guest is fetched by `tests/fetch-guest` into `target/guests`. A boot is 1.35 thousand million instructions, 7 seconds on a free
//! processor.

use fits_sysemu::boot::cpio::Archive;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const INIT: &str = "#!/bin/sh\nmount -t proc proc /proc\necho READY\nexec sh\n";
const TYPED: &str =
    "uname -a\nls /proc | head -3\ncat /proc/interrupts\necho $((6 * 7))\npoweroff -f\n";

/// Kernel and initial RAM disk; none where they can't be had, which is said.
fn guest(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cache = root.join("target/guests");
    let fetched = Command::new(root.join("tests/fetch-guest"))
        .arg(&cache)
        .output()
        .expect("bash runs");
    if !fetched.status.success() {
        println!(
            "SKIPPED: the guest cannot be fetched: {}",
            String::from_utf8_lossy(&fetched.stderr)
        );
        return None;
    }
    let busybox = std::fs::read(cache.join("busybox")).expect("busybox was fetched");
    let mut archive = Archive::default();
    for path in ["bin", "dev", "proc"] {
        archive.directory(path);
    }
    archive.file("bin/busybox", 0o755, &busybox);
    for name in ["sh", "mount", "uname", "ls", "head", "cat", "poweroff"] {
        archive.link(&format!("bin/{name}"), "busybox");
    }
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, INIT.as_bytes());
    let initrd = folder.join("initrd");
    std::fs::write(&initrd, archive.finish()).expect("the initrd is written");
    Some((cache.join("vmlinuz"), initrd))
}

fn fits(arguments: &[&str], typed: Option<&Path>) -> Output {
    let input = match typed {
        Some(path) => Stdio::from(std::fs::File::open(path).expect("the input is there")),
        None => Stdio::null(),
    };
    Command::new(env!("CARGO_BIN_EXE_fits"))
        .arg("vm")
        .args(arguments)
        .stdin(input)
        .output()
        .expect("fits starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_stock_kernel_boots_to_a_shell_and_powers_off_twice_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some((kernel, initrd)) = guest(folder.path()) else {
        return;
    };
    let typed = folder.path().join("typed");
    std::fs::write(&typed, TYPED).expect("the input is written");
    let run = || {
        fits(
            &[
                "--kernel",
                kernel.to_str().expect("a path"),
                "--initrd",
                initrd.to_str().expect("a path"),
                "--append",
                "console=ttyS0 panic=-1",
                "--max-instructions",
                "6000000000",
                "--summary",
            ],
            Some(&typed),
        )
    };
    let (one, two) = (run(), run());
    let console = text(&one.stdout);
    assert_eq!(one.status.code(), Some(0), "{}{console}", text(&one.stderr));
    for expected in [
        "READY",
        "/ # ",
        "IO-APIC   4-edge      ttyS0",
        "\n42\r",
        "reboot: Power down",
    ] {
        assert!(console.contains(expected), "no {expected:?} in {console}");
    }
    for unexpected in ["Oops", "BUG:", "WARNING:", "Call Trace"] {
        assert!(!console.contains(unexpected), "{unexpected:?} in {console}");
    }
    assert_eq!(text(&one.stderr), text(&two.stderr));
    assert_eq!(console, text(&two.stdout));
}

#[test]
fn what_is_no_kernel_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("not-a-kernel");
    std::fs::write(&file, vec![7; 4096]).expect("written");
    let path = file.to_str().expect("a path");
    for (arguments, status, sentence) in [
        (
            vec!["--kernel", path],
            126,
            "is not a kernel that can be booted",
        ),
        (
            vec!["--kernel", "/nowhere"],
            126,
            "cannot read kernel /nowhere",
        ),
        (
            vec!["--kernel", path, "--initrd", "/nowhere"],
            126,
            "cannot read initrd /nowhere",
        ),
        (vec!["--kernel", path, "--memory", "5G"], 2, "at most 3 GiB"),
        (vec!["--kernel", path, "--memory", "lots"], 2, "is no size"),
    ] {
        let output = fits(&arguments, None);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(sentence),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty());
    }
}
