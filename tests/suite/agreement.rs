//! The same faults by several ways: both backends about random ones, by `tests/agreement/run` (a few in every run of the tests, many with
//! `FITS_LONG=1`); gdb about faults at an address, by `tests/witness/witness.py`.

use std::process::Command;

#[test]
fn both_backends_agree_about_random_faults() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agreement/run");
    let long = std::env::var_os("FITS_LONG").is_some();
    let mut command = Command::new(script);
    command.arg(env!("CARGO_BIN_EXE_fits"));
    if long {
        command.args(["140", "1"]);
    } else {
        command.args(["12", "7", "gzip", "signals", "compute"]);
    }
    let output = command.output().expect("the script runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let agreeing = text
        .lines()
        .filter(|line| line.contains("experiments agree"))
        .count();
    assert_eq!(agreeing, if long { 12 } else { 3 }, "{text}");
}

#[test]
fn gdb_is_a_witness() {
    let gdb = Command::new("gdb").arg("--version").output();
    assert!(gdb.is_ok(), "there is no gdb: tests/install gets it");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/witness/witness.py");
    let guest = tempfile::tempdir().expect("a folder");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/exact_compute.c");
    let build = |name: &str, flags: &[&str]| {
        let path = guest.path().join(name);
        let mut command = Command::new("cc");
        command.args(flags).arg("-g").arg("-o").arg(&path);
        assert!(command.arg(source).status().expect("cc runs").success());
        path.into_os_string()
            .into_string()
            .expect("a path in UTF-8")
    };
    let dynamic = build("dynamic", &["-O1"]);
    // Its start-up code looks for the vDSO, which is there for gdb alone.
    let static_ = build("static", &["-O2", "-static-pie"]);
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let programs: [&[&str]; 4] = [
        &[&dynamic],
        &[&static_],
        &["/usr/bin/gzip", "-c", text],
        &["/usr/bin/mawk", "{n+=NF}END{print(n)}", text],
    ];
    for program in programs {
        let output = Command::new(script)
            .args([env!("CARGO_BIN_EXE_fits"), "36", "12"])
            .args(program)
            .output()
            .expect("the script runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("36 faults, 0 differ"),
            "{program:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
