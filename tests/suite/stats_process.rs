//! The statistics process as its supervisor sees it: answers, streams, and every way to end early.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fits_stats::client::{ClientError, Cpus, StatsProcess};
use fits_stats::model::{Level, RunInfo};
use fits_stats::protocol::{Answer, Event, Finish, Message, Step};
use fits_stats::ring::Layout;
use fits_stats::template::{Bits, Run, UnitInstruction, UnitTemplate, row_header};

const SMALL: Layout = Layout {
    slots: 4,
    chunk_bytes: 8192,
};

const MOV: [u8; 3] = [0x48, 0x89, 0xd8]; // mov rax,rbx: writes and reads 64 bits

fn start(level: Level) -> StatsProcess {
    let path = Path::new(env!("CARGO_BIN_EXE_fits-stats"));
    StatsProcess::start_with(path, level, &Cpus::default(), SMALL).unwrap()
}

fn finish(out: &Path) -> Finish {
    Finish {
        out: out.to_owned(),
        replace: false,
        info: RunInfo::default(),
    }
}

fn step(value: u64) -> Event {
    Event::Step(Box::new(Step {
        pc: 0x1000,
        bytes: MOV.to_vec(),
        values: [value.to_le_bytes(), value.to_le_bytes()].concat(),
        memory: Vec::new(),
    }))
}

/// `mov rax,rbx` whose row has the value behind the header and 4 bytes of nothing.
fn unit() -> UnitTemplate {
    let value = vec![Run {
        source: Bits::Row(64),
        length: 64,
    }];
    UnitTemplate {
        id: 1,
        pc: 0x1000,
        prefix: None,
        ends_block: true,
        row_bytes: 16,
        instructions: vec![UnitInstruction {
            pc: 0x1000,
            bytes: MOV.to_vec(),
            values: vec![value.clone(), value],
        }],
        starts: Vec::new(),
        memory: Vec::new(),
    }
}

fn row(value: u64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..4].copy_from_slice(&row_header(1, 16).to_le_bytes());
    row[8..].copy_from_slice(&value.to_le_bytes());
    row
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn kill(pid: u32) {
    let status = Command::new("kill")
        .arg("-9")
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn steps_become_a_folder() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let mut process = start(Level::Full);
    process
        .send(&Message::Events(0, vec![step(1), step(3)]))
        .unwrap();
    process
        .send(&Message::Event(
            1,
            Event::Syscall {
                number: 1,
                error: true,
            },
        ))
        .unwrap();
    let answer = process.finish(finish(&out)).unwrap();
    assert!(matches!(answer, Answer::Written { .. }), "{answer:?}");
    let bits = read(&out, "operand_bits.csv");
    assert!(bits.contains("0x1000,1:rbx,read,64,0,2,0"), "{bits}");
    assert!(bits.contains("0x1000,1:rbx,read,64,1,1,1"), "{bits}");
    assert!(read(&out, "syscalls.csv").contains("1,write,1,1"));
    assert_eq!(entries(scratch.path()), [out]);
}

#[test]
fn rows_and_events_of_two_threads_are_all_counted() {
    const ROWS: u64 = 50_000;
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let mut process = start(Level::Full);
    process.send(&Message::Unit(Box::new(unit()))).unwrap();
    let mut writers: Vec<_> = (0..2)
        .map(|slot| process.open(slot, slot).unwrap())
        .collect();
    // The supervisor has no way to write rows but as events; so the rows come through the file.
    let file = fs::File::from(process.memory().try_clone_to_owned().unwrap());
    for number in 0..ROWS {
        let cursor = &mut writers[number as usize % 2];
        if cursor.at + 16 > SMALL.chunk_bytes {
            *cursor = process.publish(*cursor).unwrap();
        }
        let offset = SMALL.offset(*cursor);
        std::os::unix::fs::FileExt::write_all_at(&file, &row(number), offset).unwrap();
        cursor.at += 16;
        if number % 1000 == 0 {
            *cursor = process.append_event(*cursor, &step(1)).unwrap();
        }
    }
    let long = Event::Partial {
        unit: 1,
        executed: 0,
        row: vec![0; 10_000],
    };
    writers[0] = process.append_event(writers[0], &long).unwrap();
    for cursor in writers {
        process.close(cursor).unwrap();
    }
    let answer = process.finish(finish(&out)).unwrap();
    assert!(matches!(answer, Answer::Written { .. }), "{answer:?}");
    let ones = ROWS / 2 + ROWS / 1000;
    let (all, zeros) = (ROWS + ROWS / 1000, ROWS / 2);
    let bits = read(&out, "operand_bits.csv");
    assert!(
        bits.contains(&format!("0x1000,1:rbx,read,64,0,{ones},{zeros}")),
        "{bits}"
    );
    assert!(read(&out, "instructions.csv").contains(&format!(",{all}\n")));
    assert_eq!(
        read(&out, "blocks.csv"),
        format!("pc,instructions,executions\n0x1000,1,{ROWS}\n")
    );
}

#[test]
fn a_killed_process_is_noticed_and_named() {
    let scratch = tempfile::tempdir().unwrap();
    let mut process = start(Level::Full);
    kill(process.pid());
    let mut cursor = process.open(0, 0).unwrap();
    let error = loop {
        cursor.at = 16;
        match process.publish(cursor) {
            Ok(next) => cursor = next,
            Err(error) => break error,
        }
    };
    let text = error.to_string();
    assert!(text.contains("died (killed by signal 9)"), "{text}");
    let error = process
        .finish(finish(&scratch.path().join("out")))
        .unwrap_err();
    assert!(matches!(error, ClientError::Died(_)), "{error}");
    assert!(entries(scratch.path()).is_empty());
}

#[test]
fn without_a_supervisor_it_goes_away() {
    let process = start(Level::Counts);
    let pid = process.pid();
    assert!(runs(pid));
    drop(process);
    assert!(!runs(pid));
}

#[test]
fn nonsense_in_a_stream_is_an_error_with_a_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let mut process = start(Level::Full);
    let mut cursor = process.open(0, 0).unwrap();
    cursor.at = 16;
    process.close(cursor).unwrap();
    let out = scratch.path().join("out");
    let text = match process.finish(finish(&out)) {
        Ok(Answer::Failed(text)) => text,
        Err(error) => error.to_string(),
        Ok(answer) => panic!("{answer:?}"),
    };
    assert!(text.contains("record of thread 0 is damaged"), "{text}");
    assert!(entries(scratch.path()).is_empty());
}

#[test]
fn a_folder_that_is_in_use_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("precious"), "").unwrap();
    let answer = start(Level::Counts).finish(finish(scratch.path())).unwrap();
    assert!(matches!(answer, Answer::Failed(_)), "{answer:?}");
    assert_eq!(entries(scratch.path()).len(), 1);
}

#[test]
fn an_executable_that_is_not_there_is_named() {
    let error = StatsProcess::start(
        Path::new("/nowhere/fits-stats"),
        Level::Full,
        &Cpus::default(),
    )
    .unwrap_err();
    assert!(error.to_string().contains("/nowhere/fits-stats"), "{error}");
}
