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
    let compute = guest.path().join("compute");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/exact_compute.c");
    let built = Command::new("cc")
        .args(["-O1", "-g", "-o"])
        .arg(&compute)
        .arg(source)
        .status();
    assert!(built.expect("cc runs").success());
    let text = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let compute = compute.to_str().expect("a path in UTF-8");
    let programs: [&[&str]; 3] = [
        &[compute],
        &["/usr/bin/gzip", "-c", text],
        &["/usr/bin/mawk", "{n+=NF}END{print(n)}", text],
    ];
    for program in programs {
        let output = Command::new(script)
            .args([env!("CARGO_BIN_EXE_fits"), "36", "5"])
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
