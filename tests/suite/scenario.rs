//! The scenario client in `python/`, and the client library and shell of the machine protocol from PyPI, both against `fits vm`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs the tests of a file of `python/tests` with an interpreter.
fn unittest(python: &Path, name: &str) {
    let output = Command::new(python)
        .args(["-m", "unittest", "-v", name])
        .current_dir(root().join("python/tests"))
        .env("PYTHONPATH", root().join("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("FITS", env!("CARGO_BIN_EXE_fits"))
        .output()
        .expect("python3 runs");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("SKIPPED"), "{said}");
    assert!(said.contains("\nOK"), "{said}");
}

#[test]
fn the_scenario_client_does_what_is_documented() {
    unittest(Path::new("python3"), "test_framework");
}

#[test]
fn devices_are_written_in_python() {
    unittest(Path::new("python3"), "test_device");
}

/// An interpreter that has the client library; none where it cannot be had, which is said in a way that the test runner doesn't swallow.
fn with_library() -> Option<PathBuf> {
    let folder = root().join("target/python-qmp");
    let python = folder.join("bin/python3");
    let has = |python: &Path| {
        Command::new(python)
            .args(["-c", "import qemu.qmp"])
            .output()
            .is_ok_and(|output| output.status.success())
    };
    if has(&python) {
        return Some(python);
    }
    let steps = [
        ("python3".into(), vec!["-m", "venv", folder.to_str()?]),
        (
            folder.join("bin/pip"),
            vec![
                "install",
                "--quiet",
                "--timeout",
                "20",
                "--retries",
                "1",
                "qemu.qmp==0.0.6",
            ],
        ),
    ];
    for (program, arguments) in steps {
        let done = Command::new(&program).args(arguments).output();
        let why = match done {
            Ok(output) if output.status.success() => continue,
            Ok(output) => text(&output),
            Err(error) => error.to_string(),
        };
        let line = why.lines().last().unwrap_or_default();
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: the client library qemu.qmp cannot be installed: {line}"
        );
        return None;
    }
    Some(python)
}

#[test]
fn the_client_library_and_shell_drive_a_machine_unchanged() {
    if let Some(python) = with_library() {
        unittest(&python, "test_library");
    }
}
