//! What is booted: a stock Debian kernel, and an initial RAM disk with a shell and the loops.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fits_sysemu::boot::cpio::Archive;
use xtask::guests::{self, Flavour};

const INIT: &str = "#!/bin/sh\nmount -t proc proc /proc\nexec sh\n";

/// Files that an emulator is given.
pub(crate) struct Guest {
    /// The small kernel, which emulators unpack.
    pub(crate) kernel: PathBuf,
    /// The kernel for everything, which unpacks itself.
    pub(crate) full: PathBuf,
    pub(crate) initrd: PathBuf,
}

/// Fetches the kernel, compiles the loops, makes the RAM disk.
pub(crate) fn build(scratch: &Path) -> Result<Guest> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = guests::folder(&xtask::checkout());
    let fetched = guests::fetch(&folder, &mut |_| ()).context("cannot fetch the kernel")?;
    let loops = scratch.join("vm_loops");
    run(Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&loops)
        .arg(here.join("guests/vm_loops.c")))?;
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let mut archive = Archive::default();
    for path in ["bin", "dev", "proc"] {
        archive.directory(path);
    }
    archive.file("bin/busybox", 0o755, &read(&fetched.busybox())?);
    for name in ["sh", "mount", "poweroff"] {
        archive.link(&format!("bin/{name}"), "busybox");
    }
    archive.file("bin/vm_loops", 0o755, &read(&loops)?);
    archive.character_device("dev/console", 5, 1);
    archive.file("init", 0o755, INIT.as_bytes());
    let initrd = scratch.join("initrd");
    std::fs::write(&initrd, archive.finish()).context("cannot write the RAM disk")?;
    Ok(Guest {
        kernel: fetched.kernel(Flavour::Cloud),
        full: fetched.kernel(Flavour::Full),
        initrd,
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}: {told}", output.status);
    }
    Ok(())
}
