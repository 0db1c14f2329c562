//! The page of a made-up run.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::model::{ExitInfo, Level, RunInfo};
use crate::write::{tests::sample, write_folder};

fn golden(level: Level) -> (TempDir, PathBuf) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("golden");
    let info = RunInfo {
        program: "/bin/<b>".to_owned(),
        exit: ExitInfo::Exited(7),
        warnings: vec!["not </script> reproducible".to_owned()],
        ..RunInfo::default()
    };
    write_folder(&dir, &sample(level), &info).unwrap();
    (parent, dir)
}

fn embedded(page: &str) -> serde_json::Value {
    let start = page.find("id=\"data\">").unwrap() + "id=\"data\">".len();
    let end = start + page[start..].find("</script>").unwrap();
    serde_json::from_str(&page[start..end]).unwrap()
}

#[test]
fn the_page_is_self_contained() {
    let (_parent, dir) = golden(Level::Full);
    let page = render(&dir).unwrap();
    for outside in ["http://", "https://", "<link", " src=", "@import", "url("] {
        let found = page
            .replace("http://www.w3.org/2000/svg", "")
            .contains(outside);
        assert!(!found, "{outside}");
    }
    assert!(page.contains("<h1>&lt;b&gt;</h1>"));
    assert!(page.contains("not &lt;/script&gt; reproducible"));
}

#[test]
fn listings_and_pictures_are_embedded() {
    let (_parent, dir) = golden(Level::Full);
    let data = embedded(&render(&dir).unwrap());
    let rows = data["functions"][0]["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0][2], "add eax, ebx");
    assert_eq!(rows[0][4], 3);
    let operands = rows[0][5].as_array().unwrap();
    assert_eq!(operands[0][0], "0:eax");
    assert_eq!(operands[0][2], 3);
    let levels = operands[0][3].as_str().unwrap();
    assert_eq!(levels.len(), 32);
    assert!(
        levels.starts_with("000000") && levels.ends_with("rr"),
        "{levels}"
    );
    let registers = data["registers"].as_array().unwrap();
    let names: Vec<_> = registers
        .iter()
        .map(|register| register["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["rax", "rbx"]);
    assert_eq!(registers[0]["written"][0], serde_json::json!([2, 1]));
}

#[test]
fn counts_says_what_was_not_collected() {
    let (_parent, dir) = golden(Level::Counts);
    let page = render(&dir).unwrap();
    assert_eq!(page.matches("with <code>--stats full</code>").count(), 4);
}

#[test]
fn damaged_numbers_are_named_by_file_and_line() {
    let (_parent, dir) = golden(Level::Full);
    let path = dir.join("blocks.csv");
    std::fs::write(&path, "pc,instructions,executions\n0x1000,two,3\n").unwrap();
    let message = render(&dir).unwrap_err().to_string();
    assert!(
        message.ends_with("blocks.csv: column 2 of line 2 is not what golden runs write there"),
        "{message}"
    );
    assert!(render(Path::new("/no/such")).is_err());
}
