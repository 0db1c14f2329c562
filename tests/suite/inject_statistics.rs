//! `fits inject --trace-stats`: what a program executes from a moment on, with and without a fault, against golden runs of all of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fits_injectors::experiment::outcome::Outcome;
use fits_injectors::experiment::record::{Record, Results};
use fits_stats::folder::GoldenFolder;
use fits_stats::listing::instructions;

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// Sums up, with signals on an alternate stack on the way, and writes the sum.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int values[100];
static volatile int handled;
static char stack[65536];
static void handler(int signal) { handled += signal; }
static void *nothing(void *given) { return given; }
__attribute__((noinline)) int sum(const int *v, int n) {
  int s = 0;
  for (int i = 0; i < n; i++) { s += v[i]; if (i % 25 == 0) raise(SIGUSR1); }
  return s;
}
__attribute__((noinline)) int complain(int s) { return printf("corrupt %d\n", s); }
int main(int argc, char **argv) {
  for (int i = 0; i < 100; i++) values[i] = i;
  stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
  struct sigaction action = { .sa_handler = handler, .sa_flags = SA_ONSTACK };
  sigaltstack(&alternate, 0);
  sigaction(SIGUSR1, &action, 0);
  pthread_t thread;
  if (argc > 1 && !strcmp(argv[1], "thread")) pthread_create(&thread, 0, (void *(*)(void *))pause, 0);
  int s = sum(values, 100);
  if (argc > 1 && !strcmp(argv[1], "later")) { pthread_create(&thread, 0, nothing, 0); pthread_join(thread, 0); }
  if (argc > 1 && !strcmp(argv[1], "fork")) { if (fork() == 0) _exit(0); wait(0); }
  if (s != 4950) complain(s);
  printf("%d %d %d\n", s, handled, (int)(random() % 100));
  return 3;
}"#;

/// Makes 6 of the third value.
const SUM: &str = "mem:values+0x8:2@sum";

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(place.path("prog.c"), PROGRAM).unwrap();
        let compiled = Command::new("cc")
            .args(["-g", "-O1", "-w", "-pthread", "-o"])
            .arg(place.path("prog"))
            .arg(place.path("prog.c"))
            .status();
        assert!(compiled.unwrap().success());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Standard output goes to a file, as in an experiment.
    fn fits(&self, words: &[&str]) -> Output {
        let stdout = self.path("stdout");
        let output = Command::new(FITS)
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .output()
            .unwrap();
        Output {
            stdout: fs::read(stdout).unwrap(),
            ..output
        }
    }

    fn inject(&self, out: &str, words: &[&str]) -> Record {
        let mut all = vec!["inject", "--json", "--trace-stats", "--out", out];
        all.extend(words);
        let output = self.fits(&all);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {told}");
        let mut results: Results = serde_json::from_slice(&output.stdout).unwrap();
        results.experiments.remove(0)
    }

    /// The instructions of a golden run of the whole program.
    fn golden(&self, backend: &str, out: &str) -> u64 {
        let output = self.fits(&[
            "golden",
            "--quiet",
            "--stats",
            "counts",
            "--backend",
            backend,
            "--out",
            out,
            "./prog",
        ]);
        assert_eq!(output.status.code(), Some(3));
        let folder = GoldenFolder::open(&self.path(out)).unwrap();
        folder.summary().instructions
    }
}

/// Executions by address and bytes.
type Counts = BTreeMap<(u64, String), u64>;

/// Executions of all instructions.
fn executions(folder: &Path) -> Counts {
    let folder = GoldenFolder::open(folder).unwrap();
    let rows = instructions(&folder).unwrap().into_iter();
    rows.map(|row| ((row.pc, row.bytes), row.executions))
        .collect()
}

#[test]
fn from_the_first_instruction_on_it_is_the_golden_run() {
    let place = Place::new();
    place.golden("dbt", "dbt");
    place.golden("ptrace", "ptrace");
    for backend in ["dbt", "ptrace"] {
        let out = format!("out-{backend}");
        let words = [
            "--backend",
            backend,
            "--dry-run",
            "--fault",
            "reg:rax:3@0",
            "./prog",
        ];
        let record = place.inject(&out, &words);
        let statistics = record.statistics.expect("statistics");
        assert_eq!(statistics.incomplete, None);
        for run in ["golden", "faulty"] {
            let collected = place.path(&out).join("experiments/0").join(run);
            for file in [
                "instructions.csv",
                "registers.csv",
                "blocks.csv",
                "mix.csv",
                "syscalls.csv",
            ] {
                for whole in ["dbt", "ptrace"] {
                    let read = |folder: &Path| fs::read_to_string(folder.join(file)).unwrap();
                    assert!(
                        read(&collected) == read(&place.path(whole)),
                        "{file} of {run} is not that of the golden run under {whole}"
                    );
                }
            }
        }
    }
}

#[test]
fn from_a_moment_on_it_is_the_rest_of_the_golden_run() {
    let place = Place::new();
    let all = place.golden("dbt", "whole");
    let whole = executions(&place.path("whole"));
    let mut before: Option<(u64, Counts)> = None;
    // Also within a signal handler, and right at a system call.
    for (number, fault) in [
        "reg:rax:3@sum",
        "reg:rax:3@handler:2",
        "reg:rax:3@call=getrandom",
        "reg:rax:3@call=write",
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("out-{number}");
        let record = place.inject(&out, &["--dry-run", "--fault", fault, "./prog"]);
        assert_eq!(record.outcome, Outcome::Masked, "{record:?}");
        let statistics = record
            .statistics
            .unwrap_or_else(|| panic!("{fault}: {:?}", record.warnings));
        assert_eq!(statistics.incomplete, None, "{fault}");
        let index = record.injections[0].index;
        assert_eq!(statistics.retired.golden + index, all, "{fault}");
        assert_eq!(statistics.retired.faulty + index, all, "{fault}");
        assert!(statistics.instructions.is_empty() && statistics.registers.is_empty());
        let folders = ["golden", "faulty"].map(|run| format!("{out}/experiments/0/{run}"));
        let compared = place.fits(&["compare", &folders[0], &folders[1]]);
        assert!(compared.status.success(), "{fault}");
        let rest = executions(&place.path(&folders[0]));
        // No instruction more often than in the whole run, nor than from an earlier moment on; together as many less as lie between.
        for (key, count) in &rest {
            assert!(*count <= whole[key], "{fault}: {key:x?}");
        }
        if let Some((earlier, more)) = before.filter(|(earlier, _)| *earlier < index) {
            assert!(rest.iter().all(|(key, count)| *count <= more[key]));
            let sum = |counts: &Counts| counts.values().sum::<u64>();
            assert_eq!(sum(&more) - sum(&rest), index - earlier, "{fault}");
        }
        before = Some((index, rest));
    }
}

#[test]
fn a_fault_shows_in_what_is_executed() {
    let place = Place::new();
    let record = place.inject("out-sum", &["--fault", SUM, "./prog"]);
    assert_eq!(record.outcome, Outcome::Sdc);
    let statistics = record.statistics.expect("statistics");
    assert_eq!(statistics.incomplete, None);
    let complain = statistics
        .functions
        .iter()
        .find(|one| one.name == "complain");
    let complain = complain.expect("it complains").executions;
    assert!(complain.golden == 0 && complain.faulty > 0);
    let new = statistics
        .instructions
        .iter()
        .filter(|one| one.executions.golden == 0);
    assert!(statistics.only_faulty > 0 && new.count() > 0);
    assert!(statistics.retired.faulty > statistics.retired.golden);
    assert!(statistics.registers.iter().any(|one| one.register == "rdi"));
    let folders = ["golden", "faulty"].map(|run| format!("out-sum/experiments/0/{run}"));
    assert_eq!(
        place
            .fits(&["compare", &folders[0], &folders[1]])
            .status
            .code(),
        Some(1)
    );
    let page = place.fits(&["report", "out-sum"]);
    assert!(page.status.success());
    let page = fs::read_to_string(place.path("out-sum/report.html")).unwrap();
    assert!(
        page.contains("What was executed from the fault on")
            && page.contains("complain <small>prog</small>")
    );
    // Registers that hold nothing sensible any more: of a run that ends by a signal at once, nothing is executed, or little.
    for (out, fault) in [("out-rip", "reg:rip:40@sum"), ("out-rsp", "reg:rsp:40@sum")] {
        let record = place.inject(out, &["--fault", fault, "./prog"]);
        assert_eq!(record.outcome, Outcome::Crash);
        let statistics = record
            .statistics
            .unwrap_or_else(|| panic!("{fault}: {:?}", record.warnings));
        assert_eq!(statistics.incomplete, None, "{fault}");
        // Without an instruction there is nothing to step, and no latency.
        let latency = record.latency.unwrap_or(0);
        assert_eq!(statistics.retired.faulty, latency, "{fault}");
    }
    // The skipped instruction is not counted, the one whose result is changed is.
    let skipped = place.inject("out-skip", &["--fault", "skip@sum", "./prog"]);
    let first = |out: &str| {
        let counts = executions(&place.path(out).join("experiments/0/faulty"));
        let pc = u64::from_str_radix(&skipped.injections[0].pc[2..], 16).unwrap();
        counts
            .iter()
            .find(|((at, _), _)| *at == pc)
            .map_or(0, |(_, count)| *count)
    };
    assert_eq!(first("out-skip"), 0);
    let changed = place.inject("out-changed", &["--fault", "wreg:random@sum", "./prog"]);
    assert!(changed.statistics.is_some(), "{:?}", changed.warnings);
    assert_eq!(first("out-changed"), 1);
}

#[test]
fn what_cannot_be_collected_is_said() {
    let place = Place::new();
    let refused = |words: &[&str], sentence: &str| {
        let output = place.fits(&[&["inject", "--json", "--trace-stats"], words].concat());
        let results: Results = serde_json::from_slice(&output.stdout).unwrap();
        let record = &results.experiments[0];
        assert_eq!(record.statistics, None);
        let told = record.warnings.join("\n");
        assert!(
            told.contains("no statistics: ") && told.contains(sentence),
            "{told}"
        );
    };
    refused(
        &["--fault", SUM, "./prog", "thread"],
        "more than one thread",
    );
    refused(&["--fault", SUM, "./prog", "fork"], "starting a process");
    refused(
        &["--fault", "reg:r12:stuck1:3/permanent@sum", "./prog"],
        "a fault that lasts",
    );
    // A thread that begins later is counted.
    let record = place.inject(
        "out-later",
        &["--dry-run", "--fault", SUM, "./prog", "later"],
    );
    assert!(record.statistics.is_some(), "{:?}", record.warnings);
}
