//! Registers whose fate is decided long after the fault: found out natively, as `tests/guests/ahead.S` needs it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{EndRecord, Record, Results};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

fn guest(folder: &Path) -> PathBuf {
    let program = folder.join("ahead");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/guests/ahead.S");
    let compiled = Command::new("cc")
        .args(["-nostdlib", "-static", "-Wl,--no-warn-rwx-segments", "-o"])
        .args([&program, Path::new(source)])
        .status();
    assert!(compiled.expect("cc runs").success());
    program
}

/// Faults at one instruction of the guest with so many arguments, its own name included.
fn experiments(words: &[&str], at: &str, places: &[&str], arguments: usize) -> Vec<Record> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(FITS);
    command.args(["inject", "--json"]).args(words);
    let faults: Vec<String> = (places.iter())
        .map(|place| format!("{place}@{at}\n"))
        .collect();
    let list = folder.path().join("faults");
    std::fs::write(&list, faults.concat()).expect("written");
    command.arg("--faults").arg(&list).arg(guest(folder.path()));
    let output = command
        .args(vec!["x"; arguments - 1])
        .stdin(Stdio::null())
        .current_dir(folder.path())
        .output()
        .expect("fits runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let results: Results = serde_json::from_slice(&output.stdout).expect("results");
    assert_eq!(results.experiments.len(), places.len());
    results.experiments
}

fn activated(records: &[Record]) -> Vec<&str> {
    records.iter().map(|it| it.activated.as_str()).collect()
}

/// Overwritten; read; read, a vector register; and one that nothing touches until the end.
const PLACES: [&str; 4] = ["reg:r12:3", "reg:r13:3", "reg:xmm7:3", "reg:r14:3"];

#[test]
fn what_happens_after_a_long_loop_is_known() {
    for arguments in [1, 2, 5] {
        let records = experiments(&["--early-stop"], "begin", &PLACES, arguments);
        let told = activated(&records);
        assert_eq!(told[..3], ["no", "yes", "yes"], "{arguments}");
        let [overwritten, read, vector, untouched] = &records[..] else {
            panic!("there are four");
        };
        assert_eq!(overwritten.outcome, Outcome::Masked);
        assert!(overwritten.end.is_none() && overwritten.rejoined.is_some());
        let reason = &overwritten.reason;
        assert!(reason.contains("again after at least "), "{reason}");
        assert!(overwritten.cpu_seconds < 1.0);
        for one in [read, vector] {
            assert_eq!(
                (one.outcome, one.latency),
                (Outcome::Crash, None),
                "{one:?}"
            );
        }
        assert_eq!(untouched.outcome, Outcome::Masked);
        assert!(untouched.end.is_some());
    }
}

/// Without an early stop all run to their ends, and as much is known.
#[test]
fn as_much_is_known_without_an_early_stop() {
    let records = experiments(&[], "begin", &PLACES, 2);
    assert_eq!(activated(&records)[..3], ["no", "yes", "yes"]);
    assert!(
        records
            .iter()
            .all(|it| it.end.is_some() && it.rejoined.is_none())
    );
    let records = experiments(&["--window", "0"], "begin", &PLACES, 2);
    assert_eq!(activated(&records), ["unknown"; 4]);
}

#[test]
fn bits_beside_those_that_are_read_are_not_read() {
    let records = experiments(&["--early-stop"], "begin", &["reg:r13:3", "reg:r13:9"], 4);
    assert_eq!(activated(&records), ["yes", "yes"]);
    // The high bit is read once, the low one 101 times: 8 times 101 is 0x328, of which both bytes are told in one.
    let statuses: Vec<_> = records.iter().map(|it| it.end.clone()).collect();
    let exited = |status| Some(EndRecord::Exited { status });
    assert_eq!(statuses, [exited(0x28 | 8), exited(2)]);
}

/// More ways than debug registers, a handler for a signal that may come at any moment, and code that may change: nothing is assumed.
#[test]
fn where_anything_may_come_nothing_is_said() {
    for (arguments, at) in [(3, "begin"), (6, "begin"), (7, "again")] {
        let records = experiments(
            &["--early-stop"],
            at,
            &["reg:r12:3", "reg:r13:3"],
            arguments,
        );
        assert_eq!(activated(&records), ["unknown"; 2], "{arguments}");
        assert_eq!(records[0].rejoined, None);
    }
}
