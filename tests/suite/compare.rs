//! `fits compare` and `fits report` as they are typed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fits_stats::model::{ExitInfo, Level, RunInfo, Statistics, ThreadKey};
use fits_stats::write::write_folder;
use tempfile::TempDir;

fn fits(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fits"))
        .args(args)
        .output()
        .unwrap()
}

fn golden(parent: &TempDir, name: &str, executions: u64) -> PathBuf {
    let mut statistics = Statistics::new(Level::Counts);
    statistics.instruction_mut(0x1000, &[0x90]).executions = executions;
    statistics.threads.insert(
        ThreadKey {
            process: 0,
            thread: 0,
        },
        executions,
    );
    let dir = parent.path().join(name);
    let info = RunInfo {
        exit: ExitInfo::Exited(0),
        ..RunInfo::default()
    };
    write_folder(&dir, &statistics, &info).unwrap();
    dir
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn equal_runs_exit_with_0() {
    let parent = TempDir::new().unwrap();
    let (a, b) = (golden(&parent, "a", 5), golden(&parent, "b", 5));
    let output = fits(&["compare", text(&a), text(&b)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .ends_with("equal in all 6 files\n")
    );
}

#[test]
fn different_runs_exit_with_1_in_every_format() {
    let parent = TempDir::new().unwrap();
    let (a, b) = (golden(&parent, "a", 5), golden(&parent, "b", 6));
    for (flag, expected) in [
        (None, "0x1000 90: executions 5 | 6\n"),
        (
            Some("--csv"),
            "instructions.csv,differs,0x1000 90,executions,5,6\n",
        ),
        (Some("--json"), "\"key\": \"0x1000 90\""),
    ] {
        let args: Vec<_> = ["compare", text(&a), text(&b)]
            .into_iter()
            .chain(flag)
            .collect();
        let output = fits(&args);
        assert_eq!(output.status.code(), Some(1), "{flag:?}");
        let stdout = String::from_utf8(output.stdout).unwrap();
        assert!(stdout.contains(expected), "{flag:?}: {stdout}");
    }
}

#[test]
fn what_cannot_be_compared_exits_with_2_and_one_sentence() {
    let parent = TempDir::new().unwrap();
    let a = golden(&parent, "a", 5);
    let broken = golden(&parent, "broken", 5);
    fs::remove_file(broken.join("mix.csv")).unwrap();
    for (b, expected) in [
        (parent.path().join("none"), "does not exist\n"),
        (parent.path().to_owned(), "it has no summary.json\n"),
        (a.join("mix.csv"), "it is not a folder\n"),
        (broken, "is not whole: mix.csv is missing\n"),
    ] {
        let output = fits(&["compare", text(&a), text(&b)]);
        assert_eq!(output.status.code(), Some(2), "{b:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.starts_with("fits: ") && stderr.ends_with(expected),
            "{stderr}"
        );
        assert_eq!(stderr.lines().count(), 1);
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn the_report_goes_into_the_folder_or_where_it_is_wanted() {
    let parent = TempDir::new().unwrap();
    let a = golden(&parent, "a", 5);
    let output = fits(&["report", text(&a)]);
    assert_eq!(output.status.code(), Some(0));
    let page = fs::read_to_string(a.join("report.html")).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));

    let elsewhere = parent.path().join("no/such/report.html");
    let output = fits(&["report", text(&a), "--output", text(&elsewhere)]);
    assert_eq!(output.status.code(), Some(125));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("fits: cannot write ")
    );

    // A report in a golden folder does not keep it from being compared.
    assert_eq!(
        fits(&["compare", text(&a), text(&a)]).status.code(),
        Some(0)
    );
}
