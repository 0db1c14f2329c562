//! Both backends about the same random faults, by `tests/agreement/run`: a few in every run of the tests, many with `FITS_LONG=1`.

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
