//! `fits vm campaign` on a small kernel of ours (`tests/kernels/witness.S`): the same seed gives the same tables with one worker and with two, each row can be
//! repeated by hand, and what is wrong is refused before anything is written.

use std::path::{Path, PathBuf};
use std::process::Output;

use crate::machine_faults::{fits, text, witness_kernel};

/// Where the kernel has printed its first lines.
const SNAPSHOT_AT: &str = "2000";
const COUNT: usize = 60;

fn snapshot(folder: &Path) -> PathBuf {
    let path = folder.join("snapshot");
    let kernel = witness_kernel();
    let taken = fits(&[
        "vm",
        "--kernel",
        name(kernel),
        "--memory",
        "64M",
        "--snapshot",
        name(&path),
        "--snapshot-at",
        SNAPSHOT_AT,
        "--snapshot-stop",
    ]);
    assert_eq!(taken.status.code(), Some(0), "{}", text(&taken.stderr));
    path
}

fn name(path: &Path) -> &str {
    path.to_str().expect("a path")
}

fn campaign(snapshot: &Path, out: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["vm", "campaign", "--restore", name(snapshot)];
    arguments.extend(["--out", name(out)]);
    arguments.extend(more);
    fits(&arguments)
}

fn drawn<'a>(seed: &'a str, workers: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["-n", "60", "--kinds", "register,flag,control"];
    arguments.extend(["--seed", seed, "--workers", workers]);
    arguments
}

/// The tables and the rows.
fn results(out: &Path) -> (String, String) {
    let read = |file| std::fs::read_to_string(out.join(file)).expect("a file of results");
    (read("tables.txt"), read("experiments.csv"))
}

#[test]
fn the_same_seed_gives_the_same_table_whatever_the_workers() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = snapshot(folder.path());
    let run = |seed, workers, out: &str| {
        let out = folder.path().join(out);
        let output = campaign(&snapshot, &out, &drawn(seed, workers));
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let (tables, rows) = results(&out);
        assert_eq!(text(&output.stdout), tables);
        (tables, rows, out)
    };
    let (tables, rows, out) = run("1", "1", "one");
    let (tables_again, rows_again, _) = run("1", "2", "two");
    assert_eq!((&tables, &rows), (&tables_again, &rows_again));
    assert_ne!(rows, run("2", "2", "other").1);
    assert_eq!(rows.lines().count(), COUNT + 1, "{rows}");
    let json = std::fs::read(out.join("campaign.json")).expect("read");
    let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(COUNT));
    let shares = json["tables"]["all"].as_array().expect("outcomes");
    let counts: u64 = shares.iter().filter_map(|one| one["count"].as_u64()).sum();
    assert_eq!(counts, COUNT as u64);
    // Some faults must show, and some must not.
    assert!(shares.len() > 1, "{tables}");
    by_hand(&snapshot, folder.path(), &json);
}

/// A fault that changed an output changes it by `fits vm --restore --fault` too, and without the fault nothing changes.
fn by_hand(snapshot: &Path, folder: &Path, json: &serde_json::Value) {
    let rows = json["rows"].as_array().expect("rows");
    let wrong = rows.iter().find(|row| row["outcome"] == "sdc");
    let fault = wrong.and_then(|row| row["fault"].as_str()).expect("an sdc");
    let run = |more: &[&str]| {
        let mut arguments = vec!["vm", "--restore", name(snapshot)];
        arguments.extend(["--max-instructions", "10000000"]);
        arguments.extend(more);
        text(&fits(&arguments).stdout)
    };
    let golden = std::fs::read_to_string(folder.join("one/console.txt")).expect("read");
    assert_eq!(run(&[]), golden);
    assert_ne!(run(&["--fault", fault]), golden, "{fault}");
}

#[test]
fn faults_by_hand_are_judged_one_by_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = snapshot(folder.path());
    let faults = folder.path().join("faults");
    std::fs::write(
        &faults,
        "# two\nreg:rip:62@2500\nreg:rax:0@4000000000 # too late\n",
    )
    .expect("written");
    let out = folder.path().join("out");
    let output = campaign(&snapshot, &out, &["--faults", name(&faults)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let (_, rows) = results(&out);
    let mut rows = rows.lines().skip(1);
    let first = rows.next().expect("a row");
    assert!(
        !first.contains("masked") && !first.contains("invalid"),
        "{first}"
    );
    assert!(rows.next().is_some_and(|row| row.contains("not-reached")));
    assert_eq!(rows.next(), None);
}

#[test]
fn what_is_wrong_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let snapshot = snapshot(folder.path());
    let faults = folder.path().join("faults");
    std::fs::write(&faults, "\nreg:rax:99@1\n").expect("written");
    let image = folder.path().join("image");
    std::fs::write(&image, [0; 4096]).expect("written");
    let nobody = folder.path().join("nobody");
    std::fs::write(&nobody, "device:toaster:dead/permanent@2500\n").expect("written");
    let cases: [(&[&str], &str); 8] = [
        (
            &["--faults", name(&nobody)],
            "has no device toaster; there are lapic",
        ),
        (&["--kinds", "tape"], "the kinds are register"),
        (&["--kinds", "disk"], "reads no disk"),
        (&["--kinds", "network"], "no frame"),
        (&["--faults", name(&faults)], "faults:2"),
        (&["--disk", name(&image)], "a disk that it lacks"),
        (&["--net", "socket=/tmp/x"], "does not repeat"),
        (&["--max-instructions", "10"], "does not end within 10"),
    ];
    let out = folder.path().join("out");
    for (more, said) in cases {
        let output = campaign(&snapshot, &out, more);
        assert_ne!(output.status.code(), Some(0), "{more:?}");
        let sentence = text(&output.stderr);
        assert!(sentence.contains(said), "{more:?}: {sentence}");
        assert!(!out.exists(), "{more:?}");
    }
    let there = campaign(&snapshot, folder.path(), &[]);
    assert!(text(&there.stderr).contains("exists already"));
}
