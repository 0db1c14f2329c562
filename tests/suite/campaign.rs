//! `fits campaign` as a whole, on real programs: the same table however it is carried out, and sentences where it cannot be.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// A folder with an input, a list of faults, and a campaign.
struct Place {
    folder: tempfile::TempDir,
}

/// Numbers that look random and are not.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

impl Place {
    /// With a campaign of `count` register faults in `program`, within its first `instructions`.
    fn new(program: &str, arguments: &[&str], count: u64, instructions: u64) -> Self {
        const REGISTERS: [&str; 14] = [
            "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12",
            "r13", "xmm0",
        ];
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut numbers = Numbers(count);
        let lines: Vec<String> = (0..1500)
            .map(|number| format!("{} {number}\n", numbers.below(100_000)))
            .collect();
        fs::write(place.path("input.txt"), lines.concat()).unwrap();
        let faults: Vec<String> = (0..count)
            .map(|_| {
                let register = REGISTERS[numbers.below(14) as usize];
                let (bit, index) = (numbers.below(64), numbers.below(instructions));
                format!("reg:{register}:{bit}@{index}\n")
            })
            .collect();
        fs::write(place.path("faults.txt"), faults.concat()).unwrap();
        let campaign = format!(
            "program = \"{program}\"\narguments = {arguments:?}\n[sampling]\nkind = \"list\"\nfile = \"faults.txt\"\n"
        );
        fs::write(place.path("campaign.toml"), campaign).unwrap();
        place
    }

    fn gzip(count: u64) -> Self {
        Self::new("gzip", &["-c", "input.txt"], count, 400_000)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(FITS);
        command
            .arg("campaign")
            .args(words)
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn fits(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// What it prints, when it ends with this status.
    fn ends(&self, words: &[&str], status: i32) -> (String, String) {
        let output = self.fits(words);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let (out, err) = (text(output.stdout), text(output.stderr));
        assert_eq!(output.status.code(), Some(status), "{words:?}: {out}{err}");
        (out, err)
    }

    fn refused(&self, words: &[&str], status: i32, part: &str) {
        let (_, told) = self.ends(words, status);
        assert!(told.contains(part), "{words:?}: {part} is not in: {told}");
    }

    /// Everything about each experiment that does not depend on when and how it was carried out.
    fn table(&self, name: &str) -> Vec<Vec<String>> {
        const LASTING: [&str; 19] = [
            "number",
            "fault",
            "outcome",
            "known",
            "thread",
            "moment",
            "pc",
            "changed",
            "mask",
            "instruction",
            "symbol",
            "source",
            "reason",
            "exit_status",
            "signal",
            "limit",
            "activated",
            "latency",
            "replay",
        ];
        let (text, _) = self.ends(&["export", name], 0);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().unwrap().clone();
        let places = LASTING.map(|name| header.iter().position(|one| one == name).unwrap());
        let rows = reader.records().map(Result::unwrap);
        rows.map(|row| places.map(|place| row[place].to_owned()).to_vec())
            .collect()
    }

    fn outcomes(&self, name: &str) -> Vec<String> {
        let table = self.table(name);
        table.into_iter().map(|row| row[2].clone()).collect()
    }

    /// Starts it, and waits until it has kept some experiments.
    fn start(&self, words: &[&str], experiments: u64) -> Child {
        let words: Vec<&str> = words
            .iter()
            .chain(&["--progress", "json"])
            .copied()
            .collect();
        let mut child = self.command(&words).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        for line in lines {
            let line = line.unwrap_or_default();
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else {
                child.wait().unwrap();
                panic!("{words:?}: {line}");
            };
            if value["done"].as_u64() >= Some(experiments) {
                return child;
            }
        }
        let ended = child.wait().unwrap();
        panic!("{words:?} ended with {ended} before {experiments} experiments");
    }
}

fn kill(process: u32, signal: nix::sys::signal::Signal) {
    let process = nix::unistd::Pid::from_raw(process.cast_signed());
    nix::sys::signal::kill(process, signal).unwrap();
}

/// Workers of a process of fits.
fn workers(of: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{of}/task/{of}/children"));
    let threads = fs::read_dir(format!("/proc/{of}/task")).unwrap();
    let mut all = children.unwrap_or_default();
    for thread in threads.flatten() {
        all.push_str(&fs::read_to_string(thread.path().join("children")).unwrap_or_default());
        all.push(' ');
    }
    let mut found: Vec<u32> = all
        .split_whitespace()
        .map(|text| text.parse().unwrap())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn the_table_does_not_depend_on_how_many_work_on_it() {
    let place = Place::gzip(60);
    let (table, _) = place.ends(&["run", "campaign.toml", "--out", "one", "--jobs", "1"], 0);
    assert!(table.contains("share (95 % interval)"), "{table}");
    place.ends(&["run", "campaign.toml", "--out", "two", "--jobs", "2"], 0);
    let one = place.table("one");
    assert_eq!(one.len(), 60);
    assert_eq!(one, place.table("two"));
    // They are real: several outcomes, all of them known.
    let mut outcomes = place.outcomes("one");
    outcomes.sort();
    outcomes.dedup();
    assert!(
        outcomes.len() >= 3 && !outcomes[0].is_empty(),
        "{outcomes:?}"
    );
    let golden = place.path("one/golden/summary.json");
    assert!(golden.is_file());
    assert!(!place.path("one/scratch").exists());
    // It says the same as single experiments do.
    let replay = one.iter().find(|row| row[2] == "sdc").unwrap();
    // Without a shell, which adds variables of its own: the environment decides how many instructions the loader needs.
    let again = Command::new(FITS)
        .args(replay[18].split(' ').skip(1))
        .current_dir(place.folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(told.contains(&format!("sdc, {}", replay[12])), "{told}");
}

#[test]
fn killed_twenty_times_it_ends_with_the_same_table() {
    const KILLS: usize = 20;
    let place = Place::new("sort", &["-n", "input.txt"], 100, 900_000);
    place.ends(&["run", "campaign.toml", "--out", "whole"], 0);
    place.ends(&["plan", "campaign.toml", "--out", "killed"], 0);
    let mut numbers = Numbers(7);
    let mut kept = Vec::new();
    for _ in 0..KILLS {
        let mut child = place.command(&["resume", "killed"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + numbers.below(350)));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was done stays as it was, and more is done.
        let (text, _) = place.ends(&["export", "killed", "--format", "json"], 0);
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let done: Vec<String> = all
            .iter()
            .filter(|one| !one["record"].is_null())
            .map(ToString::to_string)
            .collect();
        assert!(kept.iter().all(|one| done.contains(one)));
        kept = done;
    }
    place.ends(&["resume", "killed"], 0);
    assert_eq!(place.table("killed"), place.table("whole"));
}

/// A shell starts what is in the background with SIGINT ignored, and gzip looks at that: the planning process and the workers once differed in it.
#[test]
fn what_the_caller_ignores_changes_nothing() {
    let place = Place::gzip(12);
    for (out, before) in [("plain", ":"), ("ignoring", "trap '' INT HUP QUIT TERM")] {
        let ran = Command::new("sh")
            .args(["-c", &format!("{before}; exec \"$0\" \"$@\"")])
            .args([FITS, "campaign", "run", "campaign.toml", "--out", out])
            .current_dir(place.path("."))
            .output()
            .unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    assert_eq!(place.table("ignoring"), place.table("plain"));
    let (text, _) = place.ends(&["export", "ignoring", "--format", "json"], 0);
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(all.iter().all(|one| one["start"] == "checkpoint"), "{text}");
}

#[test]
fn where_runs_begin_changes_nothing() {
    let place = Place::gzip(40);
    let starts = |name: &str| {
        let (text, _) = place.ends(&["export", name, "--format", "json"], 0);
        let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut starts: Vec<String> = all.iter().map(|one| one["start"].to_string()).collect();
        starts.dedup();
        starts
    };
    let mut tables = Vec::new();
    for start in ["fresh", "checkpoint"] {
        let words = ["run", "campaign.toml", "--start", start, "--out", start];
        place.ends(&words, 0);
        assert_eq!(starts(start), [format!("\"{start}\"")]);
        tables.push(place.table(start));
    }
    assert_eq!(tables[0], tables[1]);
    // Several threads begin afresh, and that is said where nothing else is wanted.
    let words = [
        "run",
        "--start",
        "checkpoint",
        "--out",
        "threads",
        "--sampling",
        "list",
        "--fault",
        "reg:rax:3@1000,thread=1",
        "--",
        "sort",
        "--parallel=2",
        "-S1M",
        "input.txt",
    ];
    let output = place.fits(&words);
    assert_ne!(output.status.code(), Some(0));
}

#[test]
fn an_exhaustive_campaign_runs_what_is_not_known() {
    const PROGRAM: &str = r#"
#include <stdio.h>
__attribute__((noinline)) int weigh(int a, int b) { int c = a * 3; c += b; return c & 0xff; }
int main(int argc, char **argv) { printf("%d\n", weigh(argc, 7)); }"#;
    let place = Place::gzip(1);
    fs::write(place.path("prog.c"), PROGRAM).unwrap();
    let compiled = Command::new("cc")
        .args(["-O1", "-o", "prog", "prog.c"])
        .current_dir(place.folder.path())
        .status();
    assert!(compiled.unwrap().success());
    let words = [
        "run",
        "--out",
        "all",
        "--sampling",
        "exhaustive",
        "--pruning",
        "def-use",
        "--validate-pruning",
        "20",
        "--function",
        "weigh",
        "--registers",
        "rax,rdi,rcx",
        "--",
        "./prog",
    ];
    let (table, _) = place.ends(&words, 0);
    assert!(
        table.contains("weighted share of the fault space"),
        "{table}"
    );
    let (status, _) = place.ends(&["status", "all", "--json"], 0);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert!(
        status["known"]["overwritten"].as_u64() > Some(0),
        "{status}"
    );
    assert!(status["known"]["run"].as_u64() > Some(0), "{status}");
    let (text, _) = place.ends(&["export", "all", "--format", "json"], 0);
    let all: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let validated = all.iter().filter(|one| !one["validated"].is_null());
    assert!(validated.count() > 0);
    // The weights are the whole space: every bit of three registers at every instruction.
    let weight: f64 = all.iter().map(|one| one["weight"].as_f64().unwrap()).sum();
    assert!(weight > 0.0 && weight % 192.0 == 0.0, "{weight}");
}

#[test]
fn three_parts_merged_are_the_whole() {
    let place = Place::new(
        "sqlite3",
        &[
            ":memory:",
            "create table t(a, b); insert into t values (1, 'x'), (2, 'y'), (3, 'z'); select sum(a), max(b) from t;",
        ],
        36,
        900_000,
    );
    place.ends(&["run", "campaign.toml", "--out", "whole"], 0);
    for shard in ["1/3", "2/3", "3/3"] {
        let out = format!("part-{}", &shard[..1]);
        let words = ["resume", "whole", "--shard", shard, "--out", &out];
        place.ends(&words, 0);
        assert_eq!(
            place
                .outcomes(&out)
                .iter()
                .filter(|one| !one.is_empty())
                .count(),
            12
        );
    }
    // One is missing.
    let (_, told) = place.ends(&["merge", "two", "part-1", "part-3"], 1);
    assert!(told.contains("12 of the plan's points"), "{told}");
    assert!(told.contains("(1, 4, 7"), "{told}");
    place.ends(&["merge", "three", "part-1", "part-3", "part-2"], 0);
    assert_eq!(place.table("three"), place.table("whole"));
    place.ends(&["resume", "two"], 0);
    assert_eq!(place.table("two"), place.table("whole"));
    place.ends(&["status", "three"], 0);
    // Parts of something else.
    let other = place.path("other.toml");
    let text = fs::read_to_string(place.path("campaign.toml")).unwrap();
    fs::write(&other, format!("seed = 5\n{text}")).unwrap();
    place.ends(&["plan", "other.toml", "--out", "other"], 0);
    place.refused(
        &["merge", "four", "part-1", "other"],
        2,
        "are not parts of one campaign: the campaign is another",
    );
}

#[test]
fn a_signal_stops_it_and_it_goes_on() {
    use nix::sys::signal::Signal;
    let place = Place::gzip(80);
    place.ends(&["run", "campaign.toml", "--out", "whole"], 0);
    place.ends(&["plan", "campaign.toml", "--out", "part"], 0);
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = place.start(&["resume", "part", "--jobs", "1"], 1);
        // A second one is told who is at it.
        let holder = format!("in use by process {} on ", child.id());
        place.refused(&["resume", "part"], 5, &holder);
        let (status, _) = place.ends(&["status", "part", "--json"], 1);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        assert!(status["holder"].as_str().unwrap().contains("process"));
        kill(child.id(), signal);
        let before = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(3));
        assert!(before.elapsed() < Duration::from_secs(10));
    }
    place.ends(&["status", "part"], 1);
    // The right goes with its holder, however that ends.
    let mut child = place.start(&["resume", "part", "--jobs", "1"], 3);
    child.kill().unwrap();
    child.wait().unwrap();
    place.ends(&["resume", "part"], 0);
    assert_eq!(place.table("part"), place.table("whole"));
}

#[test]
fn workers_that_die_or_hang_change_nothing() {
    use nix::sys::signal::Signal;
    let place = Place::gzip(70);
    place.ends(&["run", "campaign.toml", "--out", "whole"], 0);
    for (name, signal) in [("killed", Signal::SIGKILL), ("halted", Signal::SIGSTOP)] {
        // What a run of gzip may take beyond its own time is ten times this.
        let text = fs::read_to_string(place.path("campaign.toml")).unwrap();
        let text = format!("{text}[limits]\nhang-floor = 0.1\n");
        fs::write(place.path("impatient.toml"), text).unwrap();
        place.ends(&["plan", "impatient.toml", "--out", name], 0);
        let mut child = place.start(&["resume", name, "--jobs", "2", "--silence", "1"], 1);
        let victims = workers(child.id());
        assert!(!victims.is_empty());
        for worker in victims {
            kill(worker, signal);
        }
        let before = Instant::now();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        let taken = before.elapsed();
        assert!(taken < Duration::from_secs(60), "{taken:?}");
        let outcomes = place.outcomes(name);
        assert_eq!(outcomes, place.outcomes("whole"), "{name}");
    }
}

#[test]
fn files_that_change_end_it_before_a_wrong_result() {
    let place = Place::new("./own-gzip", &["-c", "input.txt"], 60, 400_000);
    let gzip = Command::new("sh")
        .args(["-c", "command -v gzip"])
        .output()
        .unwrap();
    let gzip = String::from_utf8(gzip.stdout).unwrap();
    let real = fs::canonicalize(gzip.trim()).unwrap();
    let own = place.path("own-gzip");
    let copy = |from: &Path| {
        let _ = fs::remove_file(&own);
        fs::copy(from, &own).unwrap();
    };
    copy(&real);
    place.ends(&["run", "campaign.toml", "--out", "whole"], 0);
    place.ends(&["plan", "campaign.toml", "--out", "part"], 0);
    let child = place.start(&["resume", "part", "--jobs", "1"], 2);
    copy(Path::new("/bin/true"));
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(125));
    place.refused(&["resume", "part"], 2, "own-gzip: it has changed since");
    fs::remove_file(&own).unwrap();
    place.refused(&["resume", "part"], 2, "own-gzip, which is gone");
    copy(&real);
    place.ends(&["resume", "part"], 0);
    assert_eq!(place.table("part"), place.table("whole"));
    // Another question.
    let file = place.path("part/campaign.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("seed = 0", "seed = 1")).unwrap();
    place.refused(
        &["resume", "part"],
        2,
        "was planned with another campaign.toml",
    );
    fs::write(&file, text).unwrap();
    fs::write(place.path("input.txt"), "other").unwrap();
    place.refused(&["resume", "part"], 2, "input.txt: it has changed since");
}

#[test]
fn wrong_input_gets_a_sentence() {
    let place = Place::gzip(4);
    place.refused(&["resume", "nowhere"], 2, "is not the folder of a campaign");
    place.refused(&["status", "."], 2, "is not the folder of a campaign");
    place.refused(
        &["run", "campaign.toml", "--out", "."],
        2,
        "a campaign needs a folder of its own",
    );
    place.ends(&["plan", "campaign.toml", "--out", "one"], 0);
    place.refused(
        &["plan", "campaign.toml", "--out", "one"],
        2,
        "holds a campaign already",
    );
    place.refused(&["resume", "one", "--shard", "4/3"], 2, "from 1 to N");
    place.refused(&["resume", "one", "--jobs", "0"], 2, "jobs");
    place.refused(&["run", "gone.toml", "--out", "two"], 125, "gone.toml");
    fs::write(place.path("one/campaign.db"), "nonsense").unwrap();
    place.refused(&["resume", "one"], 2, "is not the database of a campaign");
    let cut = fs::read_to_string(place.path("campaign.toml")).unwrap();
    fs::write(
        place.path("wrong.toml"),
        format!("backend = \"gdb\"\n{cut}"),
    )
    .unwrap();
    place.refused(
        &["run", "wrong.toml", "--out", "three"],
        2,
        "wrong.toml:1: ",
    );
    fs::write(place.path("faults.txt"), "reg:rax:64@5\n").unwrap();
    place.refused(
        &["run", "campaign.toml", "--out", "four"],
        2,
        "rax has 64 bits",
    );
    assert!(!place.path("four/campaign.db").exists());
    place.ends(&["init", "new.toml"], 0);
    place.refused(&["init", "new.toml"], 125, "new.toml");
}

#[test]
fn a_campaign_is_exported() {
    let place = Place::gzip(12);
    place.ends(&["run", "campaign.toml", "--out", "one"], 0);
    let (text, _) = place.ends(&["export", "one", "--format", "json"], 0);
    let objects: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let table = place.table("one");
    assert_eq!(objects.len(), table.len());
    for (object, row) in objects.iter().zip(&table) {
        assert_eq!(object["outcome"], row[2].as_str());
        assert_eq!(object["record"]["outcome"], row[2].as_str());
        assert_eq!(object["start"], "checkpoint");
        assert_eq!(object["module"].is_null(), object["instruction"].is_null());
    }
    let file = place.path("one.parquet");
    let words = ["export", "one", "--format", "parquet", "-o", "one.parquet"];
    place.ends(&words, 0);
    let bytes = fs::read(&file).unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    place.refused(&["export", "one", "--format", "xml"], 2, "parquet");
}

#[test]
fn a_report_says_what_the_database_says() {
    let place = Place::gzip(40);
    place.ends(&["plan", "campaign.toml", "--out", "one"], 0);
    place.refused(&["report", "one"], 2, "has no results yet");
    place.ends(&["resume", "one"], 0);
    let words = ["report", "one", "--raw-fit", "0.001", "--bits", "1024"];
    let (files, _) = place.ends(&words, 0);
    assert!(files.lines().all(|file| place.path(file).is_file()) && files.contains(".html"));
    let page = fs::read_to_string(place.path("one/report/report.html")).unwrap();
    assert!(page.contains("40 experiments") && page.contains("Mean time to failure"));
    let outcomes = place.outcomes("one");
    let mut reader = csv::Reader::from_path(place.path("one/report/outcomes.csv")).unwrap();
    for row in reader.records().map(Result::unwrap) {
        let counted = outcomes.iter().filter(|one| **one == row[0]).count();
        assert_eq!(row[1], counted.to_string(), "{}", &row[0]);
    }
    let experiments = fs::read_to_string(place.path("one/report/experiments.csv")).unwrap();
    assert_eq!(experiments.lines().count(), 41);
    place.refused(
        &["report", "one", "--raw-fit=0", "--bits", "8"],
        2,
        "larger than 0",
    );
    place.refused(&["report", "gone"], 2, "is not the folder of a campaign");
}

#[test]
fn backends_are_compared_experiment_by_experiment() {
    let place = Place::gzip(30);
    place.ends(&["run", "campaign.toml", "--out", "one"], 0);
    let text = fs::read_to_string(place.path("campaign.toml")).unwrap();
    fs::write(
        place.path("other.toml"),
        format!("backend = \"ptrace\"\n{text}"),
    )
    .unwrap();
    place.ends(&["run", "other.toml", "--out", "two"], 0);
    let (told, _) = place.ends(&["compare", "one", "two"], 0);
    assert!(
        told.contains("30 of 30 experiments have the same outcome"),
        "{told}"
    );
    let (json, _) = place.ends(&["compare", "one", "two", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["pairs"]["agreeing"], 30);
    // Another plan has no pairs, but shares.
    let three = Place::gzip(20);
    three.ends(&["run", "campaign.toml", "--out", "three"], 0);
    let other = three.path("three").display().to_string();
    let (told, _) = place.ends(&["compare", "one", &other], 0);
    assert!(
        !told.contains("the same plan") && told.contains("failure"),
        "{told}"
    );
}
