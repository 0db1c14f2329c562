//! Joining hot blocks changes the time that a run takes, and nothing that it counts.

use std::path::Path;
use std::process::Command;

/// Runs long enough for several rounds of joining at either level: loops in loops, a recursion, and branches that change their mind.
const GUEST: &str = r#"
#include <stdio.h>
static unsigned long state = 1;
static unsigned next(void) { state = state * 6364136223846793005u + 1; return state >> 40; }
static unsigned fib(unsigned n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
int main(void) {
    unsigned long sum = 0;
    for (int phase = 0; phase < 3; phase++)
        for (int i = 0; i < 2000000; i++)
            sum += (next() % 8 < (unsigned)phase * 3) ? i ^ sum : i + 3 * sum;
    printf("%lu %u\n", sum, fib(27));
}
"#;

fn golden(guest: &Path, level: &str, out: &Path) {
    let run = Command::new(env!("CARGO_BIN_EXE_fits"))
        .args(["golden", "--quiet", "--stats", level, "--out"])
        .args([out, guest])
        .output()
        .expect("fits starts");
    assert!(run.status.success(), "{run:?}");
    let summary = std::fs::read_to_string(out.join("summary.json")).expect("a summary");
    assert!(paths(&summary) > 0, "no blocks were joined: {summary}");
}

/// How many paths `summary.json` says were made.
fn paths(summary: &str) -> u64 {
    let (_, rest) = summary
        .split_once("\"paths\": ")
        .expect("a number of paths");
    let digits = rest.find(|letter: char| !letter.is_ascii_digit());
    rest[..digits.expect("an end")].parse().expect("a number")
}

/// The first columns of a table, up to `columns`.
fn table(folder: &Path, name: &str, columns: usize) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(name)).expect("the file is there");
    let cut = |line: &str| {
        line.splitn(columns + 1, ',')
            .take(columns)
            .collect::<Vec<_>>()
            .join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn both_levels_count_the_same_although_they_join_other_blocks() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("guest.c");
    std::fs::write(&source, GUEST).expect("the source is written");
    let guest = folder.path().join("guest");
    let cc = Command::new("cc")
        .args(["-O1", "-static", "-o"])
        .args([&guest, &source])
        .status();
    assert!(cc.expect("cc starts").success());
    let (counts, full) = (folder.path().join("counts"), folder.path().join("full"));
    golden(&guest, "counts", &counts);
    golden(&guest, "full", &full);
    for (name, columns) in [
        ("instructions.csv", 9),
        ("blocks.csv", 3),
        ("mix.csv", 2),
        ("registers.csv", 3),
    ] {
        let (left, right) = (table(&counts, name, columns), table(&full, name, columns));
        let first = left.iter().zip(&right).find(|(left, right)| left != right);
        assert_eq!(first, None, "first difference of {name}");
        assert_eq!(left.len(), right.len(), "{name}");
    }
    // Every instruction of the unit is executed as often as its operands have values.
    let blocks = table(&full, "blocks.csv", 3);
    let retired: u64 = blocks
        .iter()
        .skip(1)
        .map(|line| {
            let numbers: Vec<u64> = line
                .split(',')
                .skip(1)
                .map(|n| n.parse().expect("a number"))
                .collect();
            numbers[0] * numbers[1]
        })
        .sum();
    assert!(retired > 30_000_000, "{retired}");
}
