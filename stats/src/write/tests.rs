//! The files of made-up runs, column by column.

use std::fs;
use std::path::PathBuf;

use iced_x86::Register;
use tempfile::TempDir;

use super::*;
use crate::model::{
    Access, ExitInfo, HistogramKind, PageStatistics, Region, RegisterStatistics, ThreadKey,
};
use crate::register::Reg;

/// Two instructions of `add eax, ebx` and a loop branch, with everything filled.
pub(crate) fn sample(level: Level) -> Statistics {
    let mut statistics = Statistics::new(level);
    let add = statistics.instruction_mut(0x1000, &[0x01, 0xd8]);
    add.executions = 3;
    if level == Level::Full {
        for value in [1u32, 2, 3] {
            let bytes = value.to_le_bytes();
            add.operand_mut(1, Access::Read, 32).add_value(&bytes);
            add.operand_mut(0, Access::Written, 32).add_value(&bytes);
        }
    }
    statistics.instruction_mut(0x1002, &[0x75, 0xfc]).executions = 3;
    statistics.instruction_mut(0x2000, &[0x90]);
    let rax = Reg::of(Register::EAX).unwrap();
    statistics.registers.insert(
        rax,
        RegisterStatistics {
            reads: 3,
            writes: 3,
            live_points: 2,
        },
    );
    statistics.add_block(0x1000, 2, 3);
    statistics.add_syscall(60, false);
    statistics.threads.insert(
        ThreadKey {
            process: 0,
            thread: 0,
        },
        6,
    );
    if level == Level::Full {
        let page = PageStatistics {
            reads: 1,
            writes: 2,
            bytes_read: 8,
            bytes_written: 16,
        };
        statistics.pages.insert(0x7ff000, page);
        statistics.regions.push(Region {
            start: 0x7f0000,
            end: 0x800000,
            name: "[stack]".to_owned(),
        });
        statistics.record(HistogramKind::BlockLength, 2, 3);
    }
    statistics
}

fn written(level: Level) -> (TempDir, PathBuf) {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("golden");
    let info = RunInfo {
        exit: ExitInfo::Exited(7),
        ..RunInfo::default()
    };
    write_folder(&dir, &sample(level), &info).unwrap();
    (parent, dir)
}

fn text(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn full_has_every_file_with_its_columns() {
    let (_parent, dir) = written(Level::Full);
    assert_eq!(
        text(&dir, "instructions.csv"),
        "pc,module,offset,symbol,source,bytes,mnemonic,text,executions\n\
         0x1000,,,,,01d8,add,\"add eax, ebx\",3\n\
         0x1002,,,,,75fc,jne,jne 0x1000,3\n"
    );
    assert_eq!(
        text(&dir, "registers.csv"),
        "register,reads,writes,live_fraction\nrax,3,3,0.333333333\n"
    );
    assert_eq!(
        text(&dir, "blocks.csv"),
        "pc,instructions,executions\n0x1000,2,3\n"
    );
    assert_eq!(text(&dir, "mix.csv"), "mnemonic,executions\nadd,3\njne,3\n");
    assert_eq!(
        text(&dir, "memory.csv"),
        "page,region,reads,writes,bytes_read,bytes_written\n0x7ff000,[stack],1,2,8,16\n"
    );
    assert_eq!(
        text(&dir, "syscalls.csv"),
        "number,name,calls,errors\n60,exit,1,0\n"
    );
    assert_eq!(
        text(&dir, "histograms.csv"),
        "histogram,percentile,value,count\nblock_length,100.000000,2,3\n"
    );
    let bits = text(&dir, "operand_bits.csv");
    let rows: Vec<&str> = bits.lines().collect();
    assert_eq!(rows.len(), 1 + 2 * 32);
    assert_eq!(
        rows[..3],
        [
            "pc,operand,access,width,bit,ones,zeros",
            "0x1000,0:eax,written,32,0,2,1",
            "0x1000,0:eax,written,32,1,2,1",
        ]
    );
    assert_eq!(rows[64], "0x1000,1:ebx,read,32,31,0,3");
}

#[test]
fn counts_leaves_out_what_it_does_not_fill() {
    let (_parent, dir) = written(Level::Counts);
    for absent in ["operand_bits.csv", "memory.csv", "histograms.csv"] {
        assert!(!dir.join(absent).exists(), "{absent}");
    }
    assert_eq!(
        text(&dir, "registers.csv"),
        "register,reads,writes,live_fraction\nrax,3,3,\n"
    );
}

#[test]
fn the_summary_can_be_read_back() {
    let (_parent, dir) = written(Level::Full);
    let summary: Summary = serde_json::from_str(&text(&dir, "summary.json")).unwrap();
    assert_eq!(summary.exit, ExitSummary::Exited { status: 7 });
    assert_eq!(summary.schema, SCHEMA);
    assert_eq!(summary.instructions, 6);
    assert!(summary.complete);
}

#[test]
fn a_folder_with_content_is_refused_and_replaced_only_if_it_is_ours() {
    let (parent, dir) = written(Level::Full);
    let statistics = sample(Level::Counts);
    let listing = Listing::new(&statistics);
    let info = RunInfo::default();
    let error = write_folder(&dir, &statistics, &info).unwrap_err();
    assert!(error.to_string().contains("--force"), "{error}");

    write_listed(&dir, Existing::Replace, &statistics, &listing, &info).unwrap();
    assert!(!dir.join("memory.csv").exists());

    fs::write(dir.join("precious.txt"), "mine").unwrap();
    let error = write_listed(&dir, Existing::Replace, &statistics, &listing, &info).unwrap_err();
    assert!(error.to_string().contains("precious.txt"), "{error}");
    assert_eq!(text(&dir, "precious.txt"), "mine");
    assert_eq!(
        fs::read_dir(parent.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );
}

#[test]
fn a_failure_leaves_nothing_behind() {
    let parent = TempDir::new().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write_folder(&file, &sample(Level::Full), &RunInfo::default()).unwrap_err();
    assert!(error.to_string().contains("not a folder"), "{error}");
    let below = file.join("golden");
    let error = write_folder(&below, &sample(Level::Full), &RunInfo::default()).unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1);
}

#[test]
fn a_full_disk_is_named_as_such() {
    let path = Path::new("/dev/full");
    let error = fs::write(path, "x")
        .map_err(|error| WriteError::io(path, error))
        .unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error}");
}

#[test]
fn instructions_of_one_address_share_the_rows_of_their_operands() {
    let mut statistics = sample(Level::Full);
    // sub eax, ebx where add eax, ebx was before.
    let sub = statistics.instruction_mut(0x1000, &[0x29, 0xd8]);
    sub.executions = 1;
    sub.operand_mut(0, Access::Written, 32).add_value(&[0; 4]);
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("golden");
    write_folder(&dir, &statistics, &RunInfo::default()).unwrap();
    assert!(text(&dir, "operand_bits.csv").contains("0x1000,0:eax,written,32,0,2,2\n"));
    assert_eq!(text(&dir, "instructions.csv").lines().count(), 4);
}
