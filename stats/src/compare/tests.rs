//! Comparisons of made-up golden folders.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::model::{Level, OutputHash, RunInfo};
use crate::write::{tests::sample, write_folder};

struct Pair {
    _parent: TempDir,
    a: PathBuf,
    b: PathBuf,
}

impl Pair {
    fn new(level_a: Level, level_b: Level) -> Self {
        let parent = TempDir::new().unwrap();
        let (a, b) = (parent.path().join("a"), parent.path().join("b"));
        write_folder(&a, &sample(level_a), &RunInfo::default()).unwrap();
        write_folder(
            &b,
            &sample(level_b),
            &RunInfo {
                pid: 5,
                ..RunInfo::default()
            },
        )
        .unwrap();
        Pair {
            _parent: parent,
            a,
            b,
        }
    }

    fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.b.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is in {name}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    fn compare(&self) -> Comparison {
        compare(&self.a, &self.b, 10).unwrap()
    }

    fn file(&self, name: &str) -> FileComparison {
        let comparison = self.compare();
        let differing: Vec<_> = comparison
            .files
            .into_iter()
            .filter(|file| file.status != Status::Equal)
            .collect();
        assert_eq!(
            differing.len(),
            1,
            "only one file was changed: {differing:?}"
        );
        assert_eq!(differing[0].file, name);
        differing.into_iter().next().unwrap()
    }
}

#[test]
fn equal_runs_are_equal_whatever_may_differ() {
    let pair = Pair::new(Level::Full, Level::Full);
    let comparison = pair.compare();
    assert!(comparison.equal);
    assert_eq!(comparison.files.len(), FILES.len());
    assert_eq!(comparison.files[3].rows, 64);
    assert!(comparison.to_text().ends_with("equal in all 9 files\n"));
    assert_eq!(comparison.to_csv(), "file,status,key,column,a,b\n");
}

#[test]
fn a_changed_value_is_found_by_its_key() {
    let pair = Pair::new(Level::Full, Level::Full);
    pair.edit(
        "operand_bits.csv",
        "0x1000,1:ebx,read,32,7,0,3",
        "0x1000,1:ebx,read,32,7,1,2",
    );
    let file = pair.file("operand_bits.csv");
    assert_eq!((file.changed, file.only_in_a, file.only_in_b), (1, 0, 0));
    assert_eq!(file.differences.len(), 2);
    assert_eq!(
        file.differences[0],
        Difference {
            key: "0x1000 1:ebx read 32 7".to_owned(),
            column: Some("ones"),
            a: Some("0".to_owned()),
            b: Some("1".to_owned()),
        }
    );
    let text = pair.compare().to_text();
    assert!(
        text.contains("    0x1000 1:ebx read 32 7: zeros 3 | 2\n"),
        "{text}"
    );
    assert!(text.ends_with("1 of 9 files differ\n"));
}

#[test]
fn a_missing_row_is_not_a_difference_of_all_that_follow() {
    let pair = Pair::new(Level::Counts, Level::Counts);
    pair.edit(
        "instructions.csv",
        "0x1000,,,,,01d8,add,\"add eax, ebx\",3\n",
        "",
    );
    let file = pair.file("instructions.csv");
    assert_eq!((file.changed, file.only_in_a, file.only_in_b), (0, 1, 0));
    assert_eq!(file.rows, 2);
    assert_eq!(file.differences[0].key, "0x1000 01d8");
    assert_eq!(
        file.differences[0].a.as_deref(),
        Some("mnemonic add, text add eax, ebx, executions 3")
    );
}

#[test]
fn the_order_of_rows_does_not_matter() {
    let pair = Pair::new(Level::Full, Level::Full);
    let path = pair.b.join("operand_bits.csv");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    lines[1..].reverse();
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    assert!(pair.compare().equal);
}

#[test]
fn exits_and_outputs_are_compared() {
    let pair = Pair::new(Level::Counts, Level::Counts);
    pair.edit(
        "summary.json",
        "\"kind\": \"unknown\"",
        "\"kind\": \"exited\", \"status\": 1",
    );
    let file = pair.file("summary.json");
    assert_eq!(file.differences[0].key, "exit");
    assert_eq!(file.differences[0].b.as_deref(), Some("status 1"));
}

#[test]
fn outputs_are_compared_where_both_were_hashed() {
    let parent = TempDir::new().unwrap();
    let run = |name: &str, outputs: &[(&str, &str)]| {
        let outputs = outputs.iter().map(|(name, sha256)| OutputHash {
            name: (*name).to_owned(),
            sha256: (*sha256).to_owned(),
            bytes: 1,
        });
        let info = RunInfo {
            outputs: outputs.collect(),
            ..RunInfo::default()
        };
        let dir = parent.path().join(name);
        write_folder(&dir, &sample(Level::Counts), &info).unwrap();
        dir
    };
    let a = run("a", &[("stdout", "11"), ("/a/file", "22")]);
    let same = run("same", &[("/b/file", "22")]);
    let other = run("other", &[("stdout", "12")]);
    assert!(compare(&a, &same, 1).unwrap().equal);
    let found = compare(&a, &other, 9).unwrap().files.remove(0);
    let keys: Vec<_> = found
        .differences
        .iter()
        .map(|difference| &*difference.key)
        .collect();
    assert_eq!(keys, ["output file", "output stdout"]);
    assert_eq!((found.changed, found.only_in_a), (1, 1));
}

#[test]
fn levels_are_compared_in_what_both_fill() {
    let pair = Pair::new(Level::Counts, Level::Full);
    let comparison = pair.compare();
    assert!(!comparison.equal);
    for file in &comparison.files {
        let full_only = ["operand_bits.csv", "memory.csv", "histograms.csv"].contains(&file.file);
        let expected = if full_only {
            Status::OnlyInB
        } else {
            Status::Equal
        };
        assert_eq!(file.status, expected, "{}", file.file);
    }
}

#[test]
fn only_as_many_differences_are_kept_as_asked_for() {
    let pair = Pair::new(Level::Full, Level::Full);
    let path = pair.b.join("operand_bits.csv");
    fs::write(&path, "pc,operand,access,width,bit,ones,zeros\n").unwrap();
    let file = pair.file("operand_bits.csv");
    assert_eq!(file.only_in_a, 64);
    assert_eq!(file.differences.len(), 10);
    assert!(pair.compare().to_text().contains("and 54 more\n"));
}

#[test]
fn json_says_the_same_as_the_text() {
    let pair = Pair::new(Level::Counts, Level::Counts);
    pair.edit("mix.csv", "jne,3", "jne,4");
    let json: serde_json::Value = serde_json::from_str(&pair.compare().to_json()).unwrap();
    assert_eq!(json["equal"], false);
    let file = json["files"]
        .as_array()
        .unwrap()
        .iter()
        .find(|file| file["file"] == "mix.csv");
    let file = file.unwrap();
    assert_eq!(file["status"], "differs");
    assert_eq!(file["differences"][0]["key"], "jne");
    assert_eq!(file["differences"][0]["b"], "4");
    let csv = pair.compare().to_csv();
    assert!(
        csv.contains("mix.csv,differs,jne,executions,3,4\n"),
        "{csv}"
    );
}

#[test]
fn lost_and_damaged_files_are_named() {
    let pair = Pair::new(Level::Full, Level::Full);
    let message = |a: &Path, b: &Path| compare(a, b, 1).unwrap_err().to_string();
    pair.edit("blocks.csv", "pc,instructions,executions", "pc,executions");
    assert!(message(&pair.a, &pair.b).ends_with("its columns are not pc,instructions,executions"));
    pair.edit("blocks.csv", "pc,executions", "pc,instructions,executions");
    pair.edit("blocks.csv", "0x1000,2,3", "0x1000,2");
    let found = message(&pair.a, &pair.b);
    assert!(
        found.contains("blocks.csv") && found.contains("fields"),
        "{found}"
    );
    fs::remove_file(pair.b.join("blocks.csv")).unwrap();
    assert!(message(&pair.a, &pair.b).ends_with("is not whole: blocks.csv is missing"));
    assert!(message(&pair.a, Path::new("/no/such")).ends_with("/no/such does not exist"));
}
