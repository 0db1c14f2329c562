//! Guests of the repository's `tests/guests`, and small ones in assembly, compiled once for a test program.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

static BUILDING: Mutex<()> = Mutex::new(());

fn folder() -> PathBuf {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("live-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

fn compile(source: &Path, program: &Path, flags: &[&str]) {
    let status = std::process::Command::new("cc")
        .args(flags)
        .args(["-g", "-pthread", "-o"])
        .arg(program)
        .arg(source)
        .arg("-lm")
        .status();
    assert!(status.expect("cc runs").success(), "{source:?} compiles");
}

/// A guest by its name, static.
pub(crate) fn guest(name: &str) -> PathBuf {
    let _building = BUILDING
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let program = folder().join(name);
    if !program.exists() {
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/{name}.c"));
        compile(
            &source,
            &program,
            &["-O2", "-static", "-fno-stack-protector"],
        );
    }
    program
}

/// Instructions without a C library, followed by `exit(0)`.
#[allow(dead_code, reason = "not every test program has such guests")]
pub(crate) fn assembly(text: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let source = folder().join(format!("{number}.S"));
    let exit = "mov $60, %eax\n xor %edi, %edi\n syscall\n";
    std::fs::write(&source, format!(".globl _start\n_start:\n{text}\n{exit}")).expect("source");
    let program = source.with_extension("");
    compile(&source, &program, &["-nostdlib", "-static"]);
    program
}
