//! `fits inject` as a whole: outcomes, what is refused, replays, lists, comparison.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{EndRecord, Record, Results};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// A folder with a program in it.
struct Place {
    folder: tempfile::TempDir,
}

/// Adds up, checks itself if asked to, and writes a file.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int values[100];
__attribute__((noinline)) int sum(const int *v, int n) {
  int s = 0;
  for (int i = 0; i < n; i++) s += v[i];
  return s;
}
__attribute__((noinline)) void complain(void) { puts("sum is corrupt"); exit(9); }
static int check(int s) { return s != 4950; }
int main(int argc, char **argv) {
  int c;
  for (int i = 0; i < 100; i++) values[i] = i;
  int s = sum(values, 100);
  if (argc > 1 && !strcmp(argv[1], "check") && check(s)) complain();
  if (argc > 1 && !strcmp(argv[1], "abort") && check(s)) abort();
  if (argc > 1 && !strcmp(argv[1], "wait") && check(s)) pause();
  if (argc > 1 && !strcmp(argv[1], "spin") && check(s)) for (;;) ;
  if (argc > 1 && !strcmp(argv[1], "copy")) while ((c = getchar()) != EOF) putchar(c);
  printf("sum %d\n", s);
  FILE *f = fopen("out.txt", "w");
  fprintf(f, "%s\n", s > 1000 ? "large" : "small");
  fclose(f);
  return 3;
}"#;

/// Makes 6 of the third value, which is 2: the sum is 4954 in place of 4950.
const SUM: &str = "mem:values+0x8:2@sum";

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(place.path("prog.c"), PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .args(["-g", "-O1", "-o"])
            .arg(place.path("prog"))
            .arg(place.path("prog.c"))
            .status();
        assert!(compiled.unwrap().success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn fits(&self, words: &[&str]) -> Output {
        let mut command = Command::new(FITS);
        command
            .args(words)
            .current_dir(self.folder.path())
            .stdin(std::process::Stdio::null());
        command.output().unwrap()
    }

    /// `fits inject --json`.
    fn inject(&self, words: &[&str]) -> Results {
        let all: Vec<_> = ["inject", "--json"].iter().chain(words).copied().collect();
        let output = self.fits(&all);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        let results: Results = serde_json::from_slice(&output.stdout).unwrap();
        // The folder is as it was.
        let mut names: Vec<_> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("out"))
            .collect();
        names.retain(|name| !name.starts_with("out-"));
        assert!(names.is_empty(), "{names:?}");
        results
    }

    fn one(&self, words: &[&str]) -> Record {
        let mut results = self.inject(words);
        assert_eq!(results.experiments.len(), 1);
        results.experiments.remove(0)
    }

    /// Fails with this exit status and one sentence that says this.
    fn refused(&self, words: &[&str], status: i32, part: &str) {
        let all: Vec<_> = ["inject"].iter().chain(words).copied().collect();
        let output = self.fits(&all);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{words:?}: {told}");
        assert!(told.contains(part), "{words:?}: {part} is not in: {told}");
        assert!(output.stdout.is_empty(), "{words:?}");
    }
}

#[test]
fn the_outcomes() {
    let place = Place::new();
    for backend in ["dbt", "ptrace"] {
        let outcome = |options: &[&str], argument: &str| {
            let mut words = vec!["--backend", backend];
            words.extend(options);
            words.extend(["--", "./prog", argument]);
            let record = place.one(&words);
            (record.outcome, record)
        };
        // The loader begins with ah at 0.
        let (masked, record) = outcome(&["--fault", "reg:ah:stuck0:all@0"], "");
        assert_eq!(masked, Outcome::Masked, "{record:?}");
        assert_eq!(record.end, Some(EndRecord::Exited { status: 3 }));
        let (crash, record) = outcome(&["--reg", "rdi", "--bit", "40", "--at", "sum"], "");
        assert_eq!(crash, Outcome::Crash);
        let Some(EndRecord::Signaled {
            signal: 11,
            site,
            address: Some(_),
            ..
        }) = &record.end
        else {
            panic!("{record:?}");
        };
        assert_eq!(site.symbol.as_deref(), Some("sum"));
        assert!(site.source.as_deref().unwrap().contains("prog.c:"));
        assert_eq!(record.activated, "yes");
        let injection = &record.injections[0];
        assert_eq!(
            (injection.mask.as_str(), injection.times),
            ("0x0000010000000000", 1)
        );
        assert_eq!(injection.site.symbol.as_deref(), Some("sum"));
        let (sdc, record) = outcome(&["--fault", SUM], "");
        assert_eq!(sdc, Outcome::Sdc, "{record:?}");
        assert_eq!(record.differences[0].name, "stdout");
        assert_eq!(
            record.reason,
            "stdout differs from byte 7 on: 0x34 in place of 0x30"
        );
        for (options, argument) in [
            (&["--detect-exit", "7,9"][..], "check"),
            (&["--detect-output", "is cor+upt"], "check"),
            (&["--detect-symbol", "complain"], "check"),
            (&["--detect-symbol", "complain", "--window", "0"], "check"),
            (&["--detect-exit", "134"], "abort"),
        ] {
            let mut words = options.to_vec();
            words.extend(["--fault", SUM]);
            let (detected, record) = outcome(&words, argument);
            assert_eq!(detected, Outcome::Detected, "{options:?} {record:?}");
        }
        assert_eq!(outcome(&["--fault", SUM], "check").0, Outcome::Crash);
        assert_eq!(outcome(&["--fault", SUM], "abort").0, Outcome::Crash);
        let patience = ["--hang-floor", "0.3", "--fault", SUM];
        assert_eq!(outcome(&patience, "spin").0, Outcome::Hang);
        let (hang, record) = outcome(&patience, "wait");
        assert_eq!(hang, Outcome::Hang);
        let limit = "wall".to_owned();
        assert_eq!(record.end, Some(EndRecord::Limit { limit }));
    }
}

#[test]
fn a_comparison_of_the_users_own() {
    let place = Place::new();
    let same = "cmp $1/files/out.txt $2/files/out.txt && true";
    let script = place.path("compare.sh");
    fs::write(&script, format!("{same}\n")).unwrap();
    let command = format!("sh {}", script.display());
    let record = place.one(&["--compare", &command, "--fault", SUM, "./prog"]);
    assert_eq!(record.outcome, Outcome::Masked);
    let record = place.one(&["--compare", "false", "--fault", SUM, "./prog"]);
    assert_eq!(record.outcome, Outcome::Sdc);
    place.refused(
        &["--compare", "no-such-comparison", "--fault", SUM, "./prog"],
        125,
        "cannot be run",
    );
}

#[test]
fn nothing_injected_is_masked() {
    let place = Place::new();
    for (backend, isolate) in [("dbt", "auto"), ("ptrace", "auto"), ("dbt", "off")] {
        let words = [
            "--backend",
            backend,
            "--isolate",
            isolate,
            "--dry-run",
            "--verify-reference",
        ];
        let mut words = words.to_vec();
        words.extend([
            "--fault",
            SUM,
            "--fault",
            "reg:rsp:60@20,from=main",
            "./prog",
        ]);
        let results = place.inject(&words);
        let record = &results.experiments[0];
        assert_eq!(record.outcome, Outcome::Masked, "{record:?}");
        // That it works where it is allowed is tested in `inject_sandbox`.
        let isolation = &results.isolation;
        assert_eq!(
            isolation.namespaces,
            isolate == "auto" && isolation.why_not.is_none()
        );
        assert_eq!(results.reference.reproducible, Some(true));
        assert_eq!(results.reference.outputs.len(), 3);
    }
}

#[test]
fn wrong_input_is_refused_before_anything_runs() {
    let place = Place::new();
    for (fault, part) in [
        ("reg:rox:3@5", "unknown register 'rox'; did you mean rax"),
        ("reg:rax:64@5", "rax has 64 bits, 0 to 63"),
        ("reg:rax:3", "'@' and the moment are missing"),
        ("reg:rax:3@summ", "symbol 'summ' is in no symbol table"),
        ("reg:rax:3@100000000", "is beyond the end"),
        ("reg:rax:3@5,thread=4", "the program has 1 thread"),
        ("reg:rax:3@time=99", "is beyond the end"),
    ] {
        place.refused(&["--fault", fault, "./prog"], 2, part);
    }
    place.refused(&["./prog"], 2, "there is no fault");
    place.refused(
        &["--raw-environment", "--fault", SUM, "./prog"],
        2,
        "addresses are others in every run",
    );
    place.refused(&["--bit", "3", "./prog"], 2, "required");
    place.refused(
        &["--reg", "rax", "--mem", "sp", "./prog"],
        2,
        "cannot be used with",
    );
    place.refused(
        &["--fault", "reg:rax:3@5", "--single-step", "./prog"],
        2,
        "goes with --backend ptrace",
    );
    place.refused(
        &["--fault", SUM, "--detect-output", "(", "./prog"],
        2,
        "regex parse error",
    );
    place.refused(&["--fault", SUM, "no-such-program"], 127, "no such program");
    place.refused(&["--fault", SUM, "./prog.c"], 126, "may not be executed");
    place.refused(
        &["--fault", SUM, "--detect-output", "sum", "./prog"],
        125,
        "matches 'sum'",
    );
    place.refused(
        &["--fault", SUM, "--max-file", "0", "./prog"],
        125,
        "larger than --max-file",
    );
}

#[test]
fn a_program_that_is_not_reproducible_makes_an_experiment_invalid() {
    let place = Place::new();
    // How far it has come after a number of instructions is left to chance.
    let program = r#"
#include <fcntl.h>
#include <unistd.h>
int main(void) {
  unsigned turns = 0;
  if (read(open("/dev/urandom", O_RDONLY), &turns, 2) != 2) return 1;
  while (turns--) __asm__ volatile ("nop");
  __asm__ volatile (".rept 900000; nop; .endr");
  return 0;
}"#;
    fs::write(place.path("chance.c"), program).unwrap();
    let compiled = Command::new("cc")
        .args(["-O1", "-o"])
        .arg(place.path("chance"))
        .arg(place.path("chance.c"))
        .status();
    assert!(compiled.unwrap().success());
    fs::write(place.path("faults"), "reg:r12:3@700000\nreg:r12:3@0\n").unwrap();
    let results = place.inject(&["--faults", "faults", "./chance"]);
    let [beyond, first] = &results.experiments[..] else {
        panic!("{results:?}");
    };
    assert_eq!(beyond.outcome, Outcome::Invalid, "{beyond:?}");
    assert!(
        beyond.reason.contains("is not reproducible") && beyond.reason.contains("--verify"),
        "{}",
        beyond.reason
    );
    // Others are not held up.
    assert_eq!(first.outcome, Outcome::Masked, "{first:?}");
}

#[test]
fn moments_are_found_by_index_without_a_controlled_start() {
    let place = Place::new();
    for backend in ["dbt", "ptrace"] {
        let words = [
            "--raw-environment",
            "--backend",
            backend,
            "--dry-run",
            "--fault",
            "reg:rax:3@20000",
            "./prog",
        ];
        let record = place.one(&words);
        assert_eq!(record.outcome, Outcome::Masked, "{backend}: {record:?}");
        assert_eq!(record.injections[0].index, 20_000);
    }
    let words = [
        "--raw-environment",
        "--trace",
        "--fault",
        "reg:rax:3@20000",
        "./prog",
    ];
    place.refused(&words, 2, "address by address");
}

#[test]
fn a_reference_run_can_be_limited() {
    let place = Place::new();
    let words = [
        "--reference-limit",
        "0.5",
        "--fault",
        SUM,
        "--",
        "sleep",
        "60",
    ];
    place.refused(&words, 125, "longer than --reference-limit");
}

#[test]
fn what_does_not_come_about_is_told_apart_and_counted() {
    let place = Place::new();
    let list = "# a comment\nreg:rax:3@sum:2\nmem:0x10:1@sum # not mapped\n\nreg:rdi:40@sum reg:rsi:1@sum\n";
    fs::write(place.path("list"), list).unwrap();
    let results = place.inject(&["--faults", "list", "./prog"]);
    let outcomes: Vec<_> = results
        .experiments
        .iter()
        .map(|record| record.outcome)
        .collect();
    assert_eq!(
        outcomes,
        [Outcome::NotReached, Outcome::Invalid, Outcome::Crash]
    );
    assert!(
        results.experiments[1].reason.contains("0x10"),
        "{:?}",
        results.experiments[1]
    );
    assert_eq!(results.experiments[2].injections.len(), 2);
    assert_eq!(results.counts[&Outcome::Invalid], 1);
    let output = place.fits(&["inject", "--exit-code", "--faults", "list", "./prog"]);
    assert_eq!(output.status.code(), Some(15));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("  crash             1   100.0 %"), "{text}");
    fs::write(place.path("list"), "reg:rax:3@5\nreg:rax@5\n").unwrap();
    place.refused(
        &["--faults", "list", "./prog"],
        2,
        "list, line 2: fault 'reg:rax@5'",
    );
}

#[test]
fn a_replay_does_the_same() {
    let place = Place::new();
    for fault in [
        "reg:rax:random@random,from=main",
        SUM,
        "mem:stack:random:0-7@sum",
    ] {
        let first = place.one(&["--seed", "7", "--fault", fault, "./prog"]);
        let mut words: Vec<&str> = first.replay.split(' ').collect();
        assert_eq!(words[..2], ["fits", "inject"]);
        words.retain(|word| !["fits", "inject"].contains(word));
        let again = place.one(&words);
        let told = |record: &Record| {
            let changes: Vec<_> = record
                .injections
                .iter()
                .map(|one| {
                    (
                        one.pc.clone(),
                        one.place.clone(),
                        one.before.clone(),
                        one.after.clone(),
                    )
                })
                .collect();
            (
                record.outcome,
                record.reason.clone(),
                record.end.clone(),
                record.differences.clone(),
                changes,
            )
        };
        assert_eq!(told(&first), told(&again), "{}", first.replay);
        assert_eq!(first.replay, again.replay);
    }
}

#[test]
fn standard_input_is_the_same_for_every_run() {
    let place = Place::new();
    fs::write(place.path("in"), "some input\n").unwrap();
    let words = ["--stdin", "in", "--fault", SUM, "--", "./prog", "copy"];
    let results = place.inject(&words);
    let record = &results.experiments[0];
    // Behind the input that was copied.
    assert_eq!(
        record.reason,
        "stdout differs from byte 18 on: 0x34 in place of 0x30"
    );
    assert!(results.standard_input.path.ends_with("/in"));
    let mut command = Command::new(FITS);
    let piped = command
        .args([
            "inject", "--json", "--stdin", "-", "--fault", SUM, "--", "./prog", "copy",
        ])
        .current_dir(place.folder.path())
        .stdin(fs::File::open(place.path("in")).unwrap())
        .output()
        .unwrap();
    let piped: Results = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(piped.experiments[0].reason, record.reason);
    assert_eq!(piped.standard_input.sha256, results.standard_input.sha256);
}

#[test]
fn both_backends_are_compared() {
    let place = Place::new();
    let list = format!("{SUM}\nreg:rdi:40@sum\nreg:rax:random@random\nreg:rcx:3@sum:5\n");
    fs::write(place.path("list"), list).unwrap();
    for backend in ["dbt", "ptrace"] {
        let out = format!("out-{backend}");
        let words = [
            "inject",
            "--backend",
            backend,
            "--faults",
            "list",
            "--out",
            &out,
            "./prog",
        ];
        let output = place.fits(&words);
        assert!(output.status.success(), "{output:?}");
        assert!(place.path(&out).join("golden/files/out.txt").exists());
        assert!(place.path(&out).join("faulty-0/stdout").exists());
    }
    let output = place.fits(&["compare", "out-dbt", "out-ptrace"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.ends_with("all 4 experiments agree\n"), "{text}");
    // A list in which something else came out.
    let file = place.path("out-ptrace").join("experiments.json");
    let changed = fs::read_to_string(&file)
        .unwrap()
        .replacen("\"sdc\"", "\"masked\"", 1);
    fs::write(place.path("changed"), changed).unwrap();
    let output = place.fits(&["compare", "out-dbt", "changed"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(
        text.contains("outcome") && text.contains("fits inject --backend ptrace"),
        "{text}"
    );
    assert!(
        text.ends_with("1 of 4 experiments differ, 0 are in one list only\n"),
        "{text}"
    );
    let json = place.fits(&["compare", "--json", "out-dbt", "changed"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(value["disagreements"][0]["a"], "sdc");
    let csv = place.fits(&["compare", "--csv", "out-dbt", "changed"]);
    // The outcome, and how it ended: a masked run ends as without a fault. And the head.
    assert_eq!(String::from_utf8(csv.stdout).unwrap().lines().count(), 3);
}

#[test]
fn a_golden_folder_saves_counting_and_must_agree() {
    let place = Place::new();
    let golden = place.fits(&[
        "golden",
        "--quiet",
        "--stats",
        "counts",
        "--out",
        "out-golden",
        "./prog",
    ]);
    assert_eq!(golden.status.code(), Some(3));
    fs::remove_file(place.path("out.txt")).unwrap();
    let words = [
        "--golden",
        "out-golden",
        "--fault",
        "reg:rax:1@random",
        "./prog",
    ];
    let with = place.inject(&words);
    assert_eq!(with.reference.instructions.len(), 1);
    let without = place.inject(&["--fault", "reg:rax:1@random", "./prog"]);
    assert_eq!(with.reference.instructions, without.reference.instructions);
    assert_eq!(
        with.experiments[0].injections[0].index,
        without.experiments[0].injections[0].index
    );
    let wrong = [
        "--golden",
        "out-golden",
        "--fault",
        SUM,
        "--",
        "./prog",
        "check",
    ];
    place.refused(&wrong, 2, "with other arguments");
    let wrong = ["--golden", "out-golden", "--fault", SUM, "--", "true"];
    place.refused(&wrong, 2, "golden run of another program");
    let beyond = [
        "--golden",
        "out-golden",
        "--fault",
        "reg:rax:1@99999999",
        "./prog",
    ];
    place.refused(&beyond, 2, "is beyond the end");
}

#[test]
fn a_trace_tells_where_the_path_parts_and_what_differs() {
    let place = Place::new();
    let record = place.one(&["--trace", "--fault", SUM, "./prog", "check"]);
    let trace = record.trace.expect("a trace");
    let states = &trace.divergence.states;
    assert_eq!(states[0].distance, 0);
    assert_eq!(states[0].memory_bytes, Some(1));
    assert!(states[0].registers.is_empty(), "{states:?}");
    // The wrong sum is in a register before it decides anything.
    assert!(states.iter().any(|state| !state.registers.is_empty()));
    let parting = trace.divergence.first.expect("the check fails");
    assert_ne!(parting.golden, parting.faulty);
    let lines = trace.lines.expect("lines");
    assert!(
        lines
            .common
            .iter()
            .any(|line| line.place.starts_with("main ")),
        "{lines:?}"
    );
    assert!(
        lines
            .faulty
            .iter()
            .any(|line| line.place.starts_with("complain ")),
        "{lines:?}"
    );
    // The adjust flag decides nothing.
    let record = place.one(&["--trace=500", "--fault", "reg:af@sum", "./prog"]);
    let divergence = record.trace.expect("a trace").divergence;
    assert_eq!((divergence.first, divergence.compared), (None, 500));
    assert_eq!(divergence.states[0].registers, ["rflags"]);
    assert_eq!(
        divergence.states.last().map(|state| state.distance),
        Some(100)
    );
}

#[test]
fn experiments_become_a_page() {
    let place = Place::new();
    let words = [
        "--trace", "--out", "out-page", "--fault", SUM, "--", "./prog", "check",
    ];
    place.inject(&words);
    let output = place.fits(&["report", "out-page"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out-page/report.html\n"
    );
    let page = fs::read_to_string(place.path("out-page/report.html")).unwrap();
    // The line of the source in which the fault comes, the one before it, and where the wrong path leads.
    for line in [
        "for (int i = 0; i &lt; n; i++) s += v[i];",
        "int s = sum(values, 100);",
        "void complain(void)",
    ] {
        assert!(page.contains(line), "{line}");
    }
    // Both outputs, from the first byte that differs.
    assert!(page.contains("sum <mark>4</mark>") && page.contains("sum <mark>i</mark>"));
    assert!(page.contains("Before</dt><dd><code>0x0<mark>2</mark>"));
    let damaged = place.path("out-page/experiments.json");
    fs::write(damaged, "{\"schema\": 2}").unwrap();
    let output = place.fits(&["report", "out-page"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("format 2"));
}
