//! `fits golden` as a user sees it: streams, exit status, messages, the folder, `--verify`, and what is made from the command line.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fits_stats::folder::GoldenFolder;

const BACKENDS: [&str; 2] = ["dbt", "ptrace"];

fn fits(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn flags_after_the_program_are_the_program_s() {
    let folder = tempfile::tempdir().unwrap();
    for words in [
        &["golden", "--quiet", "--out", "g", "gzip", "--version"][..],
        &["golden", "--quiet", "--out", "h", "sort", "--help"],
        &[
            "inject",
            "--at",
            "5",
            "--reg",
            "rax",
            "--bit",
            "1",
            "--dry-run",
            "gzip",
            "--quiet",
            "--version",
        ],
    ] {
        let output = fits(folder.path(), words);
        let told = text(&output.stdout);
        assert!(
            output.status.success(),
            "{words:?}: {told}{}",
            text(&output.stderr)
        );
        assert!(
            !told.contains("fits-golden") && !told.contains("fits golden"),
            "{words:?}: {told}"
        );
    }
    for name in ["g", "h"] {
        GoldenFolder::open(&folder.path().join(name)).unwrap();
    }
    // Before it they are those of fits, and unknown ones are said to be unknown.
    let output = fits(folder.path(), &["golden", "--nonsense", "gzip"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("unexpected argument '--nonsense'"));
}

#[test]
fn the_program_s_streams_and_exit_status_are_its_own() {
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
        command
            .args(["golden", "--quiet", "--backend", backend, "sh", "-c"])
            .arg("read line; echo \"out $line\"; echo err >&2; exit 42")
            .current_dir(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"in\n").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(42));
        assert_eq!(text(&output.stdout), "out in\n");
        assert_eq!(text(&output.stderr), "err\n");
        let golden = GoldenFolder::open(&folder.path().join("fits-golden-sh")).unwrap();
        assert_eq!(golden.summary().backend.name(), backend);
        assert!(golden.summary().instructions > 10_000);
    }
}

#[test]
fn the_summary_is_on_standard_error() {
    let folder = tempfile::tempdir().unwrap();
    let output = fits(
        folder.path(),
        &["golden", "--stats", "counts", "echo", "hello"],
    );
    assert_eq!(text(&output.stdout), "hello\n");
    let summary = text(&output.stderr);
    assert!(
        summary.contains("exit status 0") && summary.contains("Results in fits-golden-echo"),
        "{summary}"
    );
    assert!(
        !folder
            .path()
            .join("fits-golden-echo/operand_bits.csv")
            .exists()
    );
}

#[test]
fn a_file_that_the_output_goes_to_is_hashed() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
    command.args([
        "golden", "--quiet", "--stats", "counts", "--out", "out", "echo", "abc",
    ]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    command.stdout(fs::File::create(folder.path().join("stdout")).unwrap());
    assert!(command.status().unwrap().success());
    let summary = fs::read_to_string(folder.path().join("out/summary.json")).unwrap();
    // SHA-256 of "abc\n".
    let hash = "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb";
    assert!(summary.contains(hash), "{summary}");
}

#[test]
fn a_reproducible_program_is_verified_and_another_is_not() {
    let folder = tempfile::tempdir().unwrap();
    // When other tests run programs at the same time, the two runs may get different process numbers.
    let verified = (0..20).any(|_| {
        let output = fits(
            folder.path(),
            &[
                "golden", "--quiet", "--verify", "--force", "--out", "a", "echo", "x",
            ],
        );
        let error = text(&output.stderr);
        let reproducible = error.contains("reproducible: two runs gave the same statistics");
        assert_eq!(
            output.status.code(),
            Some(if reproducible { 0 } else { 123 }),
            "{error}"
        );
        reproducible
    });
    assert!(verified, "echo was never found to be reproducible");
    let script =
        "i=$(($(date +%N | sed 's/^0*//') % 1000)); while [ $i -gt 0 ]; do i=$((i - 1)); done";
    let output = fits(
        folder.path(),
        &[
            "golden", "--quiet", "--verify", "--out", "b", "sh", "-c", script,
        ],
    );
    assert_eq!(output.status.code(), Some(123), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("not reproducible: the first differing"),
        "{}",
        text(&output.stderr)
    );
    for backend in BACKENDS {
        let script = "i=$(($(date +%N | sed 's/^0*//') % 3000 + 1)); printf %${i}s x";
        let output = fits(
            folder.path(),
            &[
                "golden",
                "--quiet",
                "--verify",
                "--force",
                "--stats",
                "counts",
                "--backend",
                backend,
                "--out",
                "b",
                "sh",
                "-c",
                script,
            ],
        );
        assert_eq!(output.status.code(), Some(123), "{}", text(&output.stderr));
        assert!(
            text(&output.stderr)
                .contains("not reproducible: the first differing system call is number "),
            "{}",
            text(&output.stderr)
        );
    }
    let names: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names.len(), 2, "the second run's folder is gone: {names:?}");
}

/// The code cache is emptied whenever it is full, here after every few units: more are translated, and the same is counted.
#[test]
fn a_code_cache_that_is_full_is_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let words = [
        "golden",
        "--quiet",
        "--stats",
        "counts",
        "--out",
        "usual",
        "/usr/bin/expr",
        "6",
        "+",
        "7",
    ];
    let mut small = words.to_vec();
    small[5] = "small";
    small.splice(6..6, ["--code-cache", "1"]);
    let runs = [fits(folder.path(), &words), fits(folder.path(), &small)];
    for run in &runs {
        assert_eq!(text(&run.stdout), "13\n", "{}", text(&run.stderr));
    }
    let open = |name| GoldenFolder::open(&folder.path().join(name)).unwrap();
    let units = |name| open(name).summary().translated.unwrap().units;
    assert!(
        units("small") > units("usual") + units("usual") / 4,
        "{} and {} units: it was never emptied",
        units("usual"),
        units("small")
    );
    for file in [
        "instructions.csv",
        "blocks.csv",
        "registers.csv",
        "mix.csv",
        "syscalls.csv",
    ] {
        let read = |name| fs::read(folder.path().join(name).join(file)).unwrap();
        assert!(read("usual") == read("small"), "{file} differs");
    }
}

/// At level `counts`; operand bits are compared by the exact cases, which see to equal process numbers.
#[test]
fn both_backends_count_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for backend in BACKENDS {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fits"));
        command
            .args([
                "golden",
                "--quiet",
                "--stats",
                "counts",
                "--backend",
                backend,
                "--out",
                backend,
            ])
            .args(["echo", "same"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(folder.path());
        assert!(command.status().unwrap().success());
    }
    let [dbt, ptrace] = BACKENDS.map(|backend| folder.path().join(backend));
    let comparison = fits_stats::compare::compare(&ptrace, &dbt, 5).unwrap();
    assert!(comparison.equal, "{}", comparison.to_text());
}

#[test]
fn followed_children_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let script = "(exit 3); exit $?";
    let output = fits(
        folder.path(),
        &[
            "golden",
            "--quiet",
            "--backend",
            "ptrace",
            "--follow-forks",
            "--out",
            "out",
            "sh",
            "-c",
            script,
        ],
    );
    assert_eq!(output.status.code(), Some(3));
    let golden = GoldenFolder::open(&folder.path().join("out")).unwrap();
    assert_eq!(golden.summary().threads.len(), 2);
}

#[test]
fn a_raw_environment_is_not_controlled() {
    let folder = tempfile::tempdir().unwrap();
    let output = fits(
        folder.path(),
        &[
            "golden",
            "--quiet",
            "--raw-environment",
            "--backend",
            "ptrace",
            "--out",
            "out",
            "true",
        ],
    );
    assert!(output.status.success());
    let summary = fs::read_to_string(folder.path().join("out/summary.json")).unwrap();
    assert!(summary.contains("\"controlled\": false"), "{summary}");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = fits(folder.path(), &["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("golden"));
    }
    assert!(fits(folder.path(), &["man", "pages"]).status.success());
    let page = fs::read_to_string(folder.path().join("pages/fits-golden.1")).unwrap();
    assert!(page.contains("raw\\-environment") && page.contains("Exit status"));
    for command in ["golden", "compare", "report", "completions", "man"] {
        let output = fits(folder.path(), &[command, "--help"]);
        assert!(text(&output.stdout).contains("Usage: fits"), "{command}");
    }
}
