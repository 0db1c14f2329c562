//! The console on a real terminal: every key is the guest's, Ctrl-A x quits, and the terminal is as before.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::small::kernel;
use super::{FITS, skipped, text};

#[test]
fn ctrl_a_x_quits_and_the_terminal_is_as_before() {
    if Command::new("script").arg("--version").output().is_err() {
        skipped("no script(1), which makes terminals");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // again: mov dx, 0x3fd; in al, dx; test al, 1; jz again; mov dx, 0x3f8; in al, dx; out dx, al; jmp again; with the port's receiver switched on
    let code = [
        0x66, 0xba, 0xf9, 0x03, 0xb0, 1, 0xee, 0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 1, 0x74, 0xf7,
        0x66, 0xba, 0xf8, 0x03, 0xec, 0xee, 0xeb, 0xef,
    ];
    let kernel = kernel(folder.path(), &code);
    let inside = format!(
        "stty -g; {FITS} vm --memory 4M --kernel {}; echo status $?; stty -g",
        kernel.display()
    );
    let mut child = Command::new("script")
        .args(["-qec", &inside, "/dev/null"])
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let mut keys = child.stdin.take().expect("a pipe");
    std::thread::sleep(Duration::from_secs(2));
    // Ctrl-C is a key as any other.
    keys.write_all(b"ab\x03c").expect("typed");
    std::thread::sleep(Duration::from_secs(2));
    keys.write_all(b"\x01x").expect("typed");
    std::thread::sleep(Duration::from_secs(2));
    drop(keys);
    let output = child.wait_with_output().expect("it ends");
    let printed = text(&output.stdout);
    let lines: Vec<&str> = printed.lines().collect();
    assert!(printed.contains("ab\x03c"), "{printed:?}");
    assert!(printed.contains("status 0"), "{printed:?}");
    assert_eq!(lines.first(), lines.last(), "{printed:?}");
}
