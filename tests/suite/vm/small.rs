//! Small kernels of our own, started by multiboot: how a machine ends.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::{fits, path, text};

const LOAD: u32 = 0x10_0000;
/// Where code begins, behind the header.
pub(super) const ENTRY: u32 = LOAD + 32;

/// Prints an H: mov dx, 0x3f8; mov al, 'H'; out dx, al
pub(super) const PRINT: [u8; 7] = [0x66, 0xba, 0xf8, 0x03, 0xb0, b'H', 0xee];
/// jmp to itself
pub(super) const HANG: [u8; 2] = [0xeb, 0xfe];

/// A multiboot kernel in a file: code for 32-bit protected mode.
pub(super) fn kernel(folder: &Path, code: &[u8]) -> PathBuf {
    let (magic, flags) = (0x1bad_b002_u32, 1_u32 << 16);
    let sum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let mut image = Vec::new();
    for word in [magic, flags, sum, LOAD, LOAD, 0, 0, ENTRY] {
        image.extend_from_slice(&word.to_le_bytes());
    }
    image.extend_from_slice(code);
    let file = folder.join("kernel");
    std::fs::write(&file, image).expect("written");
    file
}

/// Status, console and standard error of a machine with that code.
fn run(code: &[u8], flags: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = kernel(folder.path(), &[&PRINT, code].concat());
    let log = folder.path().join("console");
    let mut arguments = vec![
        "--kernel",
        path(&kernel),
        "--memory",
        "4M",
        "--console",
        path(&log),
    ];
    arguments.extend_from_slice(flags);
    let output = fits(&arguments, None);
    // However it ends, what the guest printed is kept.
    assert_eq!(
        std::fs::read(&log).expect("kept"),
        b"H",
        "{}",
        text(&output.stderr)
    );
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_small_kernel_prints_and_passes_its_status_on() {
    // mov dx, 0x501; mov al, 33; out dx, al
    let (status, console, errors) = run(&[0x66, 0xba, 1, 5, 0xb0, 33, 0xee], &[]);
    assert_eq!(
        (status, console.as_str(), errors.as_str()),
        (Some(33), "H", "")
    );
}

#[test]
fn a_module_is_found_by_the_kernel() {
    let folder = tempfile::tempdir().expect("a folder");
    // mov eax, [ebx+24]; mov eax, [eax]; mov al, [eax]; mov dx, 0x501; out dx, al
    let code = [
        0x8b, 0x43, 24, 0x8b, 0x00, 0x8a, 0x00, 0x66, 0xba, 1, 5, 0xee,
    ];
    let kernel = kernel(folder.path(), &code);
    let module = folder.path().join("module");
    std::fs::write(&module, [77]).expect("written");
    let with_text = format!("{},its text", module.display());
    let arguments = [
        "--kernel",
        path(&kernel),
        "--memory",
        "4M",
        "--module",
        &with_text,
    ];
    assert_eq!(fits(&arguments, None).status.code(), Some(77));
}

#[test]
fn a_hung_guest_is_stopped_by_instructions_or_by_time() {
    let (status, console, errors) = run(&HANG, &["--max-instructions", "1000000"]);
    assert_eq!((status, console.as_str()), (Some(124), "H"));
    assert!(
        errors.contains("stopped after 1000000 instructions, at 0x100027 (--max-instructions)"),
        "{errors}"
    );
    let started = Instant::now();
    let (status, _, errors) = run(&HANG, &["--timeout", "1"]);
    assert_eq!(status, Some(124));
    assert!(errors.contains("stopped after 1 seconds and"), "{errors}");
    assert!(started.elapsed().as_secs() < 60);
}

#[test]
fn a_triple_fault_says_where() {
    // ud2, without a table of interrupts
    let (status, _, errors) = run(&[0x0f, 0x0b], &[]);
    assert_eq!(status, Some(120));
    assert!(errors.contains("triple fault at 0x100027"), "{errors}");
}

#[test]
fn an_instruction_that_is_not_implemented_is_named_with_its_bytes() {
    // lgdt [ptr]; ljmp 8:0, a task; ptr: limit 15, base table; table: null, an available task-state segment
    let table = ENTRY + 7 + 14 + 6;
    let mut code = vec![0x0f, 0x01, 0x15];
    code.extend_from_slice(&(ENTRY + 7 + 14).to_le_bytes());
    code.extend_from_slice(&[0xea, 0, 0, 0, 0, 8, 0]);
    code.extend_from_slice(&[15, 0]);
    code.extend_from_slice(&table.to_le_bytes());
    code.extend_from_slice(&[0; 8]);
    code.extend_from_slice(&[0x67, 0, 0, 0, 0, 0x89, 0, 0]);
    let (status, _, errors) = run(&code, &[]);
    assert_eq!(status, Some(120), "{errors}");
    assert!(
        errors.contains("at 0x10002e: ea 00 00 00 00 08 00"),
        "{errors}"
    );
}

#[test]
fn a_halted_guest_is_done() {
    // cli; hlt
    let (status, _, errors) = run(&[0xfa, 0xf4], &[]);
    assert_eq!(status, Some(0));
    assert!(errors.contains("halted with interrupts off"), "{errors}");
}

#[test]
fn signals_end_it_with_their_own_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = kernel(folder.path(), &[&PRINT[..], &HANG].concat());
    let child = std::process::Command::new(super::FITS)
        .args(["vm", "--kernel", path(&kernel), "--memory", "4M"])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("fits starts");
    std::thread::sleep(std::time::Duration::from_secs(2));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::SIGTERM).expect("it runs");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(143), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("stopped by signal 15"));
    assert_eq!(output.stdout, b"H");
}
