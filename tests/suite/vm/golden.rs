//! Golden runs of a kernel: a stretch of a boot, counted.

use std::process::{Command, Stdio};

use xtask::guests::Flavour;

use super::{FITS, fits, guests, path, text};

fn rows(folder: &std::path::Path, name: &str) -> Vec<csv::StringRecord> {
    let mut reader = csv::Reader::from_path(folder.join(name)).expect("the file is there");
    reader.records().map(|row| row.expect("a row")).collect()
}

fn number(row: &csv::StringRecord, column: usize) -> u64 {
    row[column].parse().expect("a number")
}

#[test]
fn a_golden_run_is_of_a_program_or_of_a_kernel() {
    for (words, sentence) in [
        (&["golden"][..], "<PROG|--vm <VM-FLAGS>...>"),
        (&["golden", "--vm"], "a value is required for '--vm"),
        (
            &["golden", "--verify", "--vm", "--kernel", "k"],
            "cannot be used with",
        ),
        (
            &["golden", "--vm", "--kernel", "/no/kernel"],
            "cannot read kernel /no/kernel",
        ),
        (
            &["golden", "--vm", "--nonsense"],
            "unexpected argument '--nonsense'",
        ),
    ] {
        let output = Command::new(FITS)
            .args(words)
            .output()
            .expect("fits starts");
        assert!(!output.status.success(), "{words:?}");
        let said = text(&output.stderr);
        assert!(said.contains(sentence), "{words:?}: {said}");
    }
}

#[test]
fn a_stretch_of_a_boot_is_counted_by_function() {
    const FROM: u64 = 60_000_000;
    const COUNTED: u64 = 200_000;
    let Some(guests) = guests() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kernel = guests.kernel(Flavour::Cloud);
    let run = |name: &str, level: &str| {
        let out = folder.path().join(name);
        let output = fits(
            &[
                "--kernel",
                path(&kernel),
                "--golden",
                path(&out),
                "--stats",
                level,
                "--golden-from",
                &FROM.to_string(),
                "--max-instructions",
                &(FROM + COUNTED).to_string(),
            ],
            None,
        );
        assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
        out
    };
    let (full, counts) = (run("full", "full"), run("counts", "counts"));
    let instructions = rows(&full, "instructions.csv");
    let executed: u64 = instructions.iter().map(|row| number(row, 8)).sum();
    assert_eq!(executed, COUNTED);
    let named = |row: &&csv::StringRecord| row[1].contains("vmlinux") && !row[3].is_empty();
    let with_function: u64 = instructions
        .iter()
        .filter(named)
        .map(|row| number(row, 8))
        .sum();
    assert!(
        with_function * 100 >= 95 * COUNTED,
        "{with_function} of {COUNTED}"
    );
    let by_blocks = |row: &csv::StringRecord| number(row, 1) * number(row, 2);
    let in_blocks: u64 = rows(&full, "blocks.csv").iter().map(by_blocks).sum();
    assert_eq!(in_blocks, COUNTED);
    let summary = std::fs::read_to_string(full.join("summary.json")).expect("there");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["backend"], "soft");
    assert_eq!(summary["privilege"]["kernel"], COUNTED);
    assert_eq!(rows(&full, "mix.csv"), rows(&counts, "mix.csv"));
    assert!(full.join("operand_bits.csv").exists() && !counts.join("operand_bits.csv").exists());
    let spelled = folder.path().join("spelled");
    let output = Command::new(FITS)
        .args(["golden", "--stats", "counts", "--out", path(&spelled)])
        .args(["--vm", "--kernel", path(&kernel)])
        .args(["--golden-from", &FROM.to_string()])
        .args(["--max-instructions", &(FROM + COUNTED).to_string()])
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .output()
        .expect("fits starts");
    assert_eq!(output.status.code(), Some(124), "{}", text(&output.stderr));
    assert_eq!(rows(&spelled, "blocks.csv"), rows(&counts, "blocks.csv"));
    let regions = rows(&full, "memory.csv");
    assert!(regions.iter().any(|row| &row[1] == "[kernel]"));
}
