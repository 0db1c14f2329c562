//! Input that is refused before anything runs: a sentence, a status, nothing printed.

use std::process::{Command, Output, Stdio};

use xtask::guests::Flavour;

use super::small::{HANG, PRINT, kernel};
use super::{FITS, fits, guests, path, skipped, text};

fn refused(output: &Output, status: i32, sentence: &str) {
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{errors}");
    assert!(errors.contains(sentence), "no {sentence:?} in {errors}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_is_no_kernel_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("written");
        path(&file).to_owned()
    };
    let (other, empty) = (write("not-a-kernel", &[7; 4096]), write("empty", b""));
    let folder = path(folder.path()).to_owned();
    let no_kernel = "is not a kernel that can be booted";
    for (arguments, status, sentence) in [
        (vec!["--kernel", &other], 126, no_kernel),
        (vec!["--kernel", &empty], 126, no_kernel),
        (vec!["--kernel", "/bin/true"], 126, no_kernel),
        (vec!["--kernel", &folder], 126, "cannot read kernel"),
        (
            vec!["--kernel", "/nowhere"],
            126,
            "cannot read kernel /nowhere",
        ),
        (
            vec!["--kernel", &other, "--entry", "multiboot"],
            126,
            "no multiboot header",
        ),
        (
            vec!["--kernel", &other, "--memory", "5G"],
            2,
            "at most 3 GiB",
        ),
        (
            vec!["--kernel", &other, "--memory", "lots"],
            2,
            "is no size",
        ),
        (
            vec!["--kernel", &other, "--memory", "64K"],
            2,
            "any kernel needs 1.1 MiB",
        ),
        (
            vec!["--kernel", &other, "--console", "/nowhere/x"],
            125,
            "cannot create /nowhere/x",
        ),
        (
            vec![
                "--kernel",
                &other,
                "--engine",
                "kvm",
                "--max-instructions",
                "5",
            ],
            2,
            "--max-instructions needs the software processor",
        ),
        (
            vec!["--kernel", &other, "--module", "x"],
            2,
            "only a multiboot kernel takes --module",
        ),
    ] {
        refused(&fits(&arguments, None), status, sentence);
    }
}

#[test]
fn a_stock_kernel_that_is_damaged_or_does_not_fit_is_refused() {
    let Some(guests) = guests() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = guests.kernel(Flavour::Cloud);
    let image = std::fs::read(&kernel).expect("fetched");
    let cut = folder.path().join("cut");
    std::fs::write(&cut, &image[..image.len() / 2]).expect("written");
    let mut damaged = image;
    damaged[2_000_000..2_000_400].fill(0xff);
    let holed = folder.path().join("holed");
    std::fs::write(&holed, damaged).expect("written");
    let initrd = guests.small_initrd();
    for (arguments, status, sentence) in [
        (vec!["--kernel", path(&cut)], 126, "it is truncated"),
        (
            vec!["--kernel", path(&holed), "--entry", "kernel"],
            126,
            "the kernel inside is damaged",
        ),
        (
            vec!["--kernel", path(&kernel), "--initrd", "/nowhere"],
            126,
            "cannot read initrd /nowhere",
        ),
        (
            vec!["--kernel", path(&kernel), "--memory", "32M"],
            2,
            "of guest memory, there are 32.0 MiB: give more with --memory",
        ),
        (
            vec!["--kernel", path(&kernel), "--entry", "multiboot"],
            126,
            "no multiboot header",
        ),
        (
            vec![
                "--kernel",
                path(&kernel),
                "--initrd",
                path(&initrd),
                "--memory",
                "68M",
            ],
            2,
            "kernel and initrd need",
        ),
    ] {
        refused(&fits(&arguments, None), status, sentence);
    }
}

/// A machine without /dev/kvm: one whose /dev is empty, in a mount namespace.
#[test]
fn without_kvm_its_engine_is_refused() {
    if !nix::unistd::geteuid().is_root() {
        skipped("hiding /dev/kvm needs root");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = kernel(folder.path(), &[&PRINT[..], &HANG].concat());
    let script = format!(
        "mount -t tmpfs none /dev && exec {FITS} vm --engine kvm --memory 4M --kernel {}",
        kernel.display()
    );
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", &script])
        .stdin(Stdio::null())
        .output()
        .expect("unshare runs");
    if text(&output.stderr).contains("unshare") {
        skipped("no mount namespaces here");
        return;
    }
    refused(&output, 2, "cannot open /dev/kvm");
}

/// A stock kernel on a KVM that has to emulate: it says what it could not emulate, which can take it a minute. On one that runs guests, it boots until it is stopped.
#[test]
fn what_kvm_cannot_run_is_said() {
    let Some(guests) = guests() else {
        return;
    };
    if std::fs::File::open("/dev/kvm").is_err() {
        skipped("no /dev/kvm");
        return;
    }
    let kernel = guests.kernel(Flavour::Cloud);
    let arguments = [
        "--engine",
        "kvm",
        "--timeout",
        "240",
        "--append",
        "console=ttyS0 panic=-1",
        "--kernel",
        path(&kernel),
    ];
    let output = fits(&arguments, None);
    let errors = text(&output.stderr);
    match output.status.code() {
        Some(120) => assert!(
            errors.contains("KVM_EXIT_INTERNAL_ERROR") && errors.contains("at 0x"),
            "{errors}"
        ),
        Some(0 | 124) => assert!(text(&output.stdout).contains("Linux version")),
        status => panic!("{status:?}: {errors}"),
    }
}
