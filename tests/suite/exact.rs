//! Exactness: the golden folders of the translator and of the single-stepping reference say the same, for every row of
//! `tests/exact/table.txt`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use fits_stats::compare::{self, FileComparison, Status};
use libtest_mimic::{Completion, Trial};

use crate::engine::{self, ENGINES, Engine};
use crate::guests::Guest;
use crate::{known_failures, process, table};

const LIMIT: Duration = Duration::from_secs(150);
const TRIES: usize = 10;

/// Files that must be identical.
const FILES: [&str; 7] = [
    "instructions.csv",
    "registers.csv",
    "operand_bits.csv",
    "blocks.csv",
    "mix.csv",
    "memory.csv",
    "syscalls.csv",
];

/// A program with its arguments.
#[derive(Clone)]
struct Case {
    words: Vec<String>,
    guest: Option<Guest>,
}

/// One case for each row and level.
pub(crate) fn trials() -> Result<Vec<Trial>, String> {
    let mut trials = Vec::new();
    for [name, command, flags, variant] in
        table::rows::<4>(&table::tests_folder().join("exact/table.txt"))?
    {
        let words = table::words(&command);
        let guest = words[0].strip_prefix("guest:").map(|guest| Guest {
            name: guest.to_owned(),
            flags: table::words(&flags),
            variant,
        });
        let case = Case { words, guest };
        for level in ["full", "counts"] {
            let (title, case) = (format!("exact/{name}/{level}"), case.clone());
            trials.push(Trial::ignorable_test(title.clone(), move || {
                known_failures::judge(&title, check(&case, level))
            }));
        }
    }
    Ok(trials)
}

fn check(case: &Case, level: &str) -> Result<Completion, String> {
    for backend in ["dbt", "ptrace"] {
        if let Some(reason) = engine::missing(backend) {
            return Ok(Completion::ignored_with(reason));
        }
    }
    // A program can see its number. Two golden runs at the same time cannot both have the usual one, so a pair that was
    // disturbed that way says nothing and is made again.
    for _ in 0..TRIES {
        if let Some(verdict) = attempt(case, level)? {
            return verdict;
        }
    }
    Err("the two runs never got the same process number".to_owned())
}

/// One golden run under each backend, compared; `None` if their process numbers differ.
fn attempt(case: &Case, level: &str) -> Result<Option<Result<Completion, String>>, String> {
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let [dbt, ptrace] = ["dbt", "ptrace"].map(|backend| scratch.path().join(backend));
    let mut numbers = Vec::new();
    for (backend, folder) in [("dbt", &dbt), ("ptrace", &ptrace)] {
        let engine = ENGINES
            .into_iter()
            .find(|engine| engine.backend == backend && engine.level == level)
            .ok_or("no such engine")?;
        numbers.push(golden(engine, case, scratch.path(), folder)?);
    }
    if numbers[0] != numbers[1] {
        return Ok(None);
    }
    let comparison = compare::compare(&ptrace, &dbt, 5).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for file in comparison
        .files
        .iter()
        .filter(|file| FILES.contains(&file.file))
    {
        if file.status != Status::Equal {
            text += &describe(file);
        }
    }
    text += &threads(&ptrace, &dbt)?;
    Ok(Some(if text.is_empty() {
        Ok(Completion::Completed)
    } else {
        Err(format!("ptrace and dbt differ\n{text}"))
    }))
}

/// Makes a golden run; returns the process number that the program had.
fn golden(engine: Engine, case: &Case, scratch: &Path, folder: &Path) -> Result<u32, String> {
    let mut command = engine.command(folder);
    match &case.guest {
        Some(guest) => command.arg(guest.build()?),
        None => command.arg(&case.words[0]),
    };
    // The same folder, environment and arguments for both: they are part of the initial stack.
    let work = scratch.join("work");
    fs::create_dir_all(&work).map_err(|error| error.to_string())?;
    command
        .args(&case.words[1..])
        .current_dir(&work)
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    let outcome = process::run(&mut command, scratch, LIMIT)?;
    if outcome.status != 0 {
        return Err(format!(
            "{command:?}: exit status {}\n{}{}",
            outcome.status,
            process::tail(&outcome.stdout),
            process::tail(&outcome.stderr)
        ));
    }
    engine.check(folder).map(|summary| summary.pid)
}

/// The instructions of each thread must be the same.
fn threads(a: &Path, b: &Path) -> Result<String, String> {
    let read = |folder: &Path| -> Result<Vec<u64>, String> {
        let folder = fits_stats::folder::GoldenFolder::open(folder).map_err(|e| e.to_string())?;
        let threads = &folder.summary().threads;
        Ok(threads.iter().map(|thread| thread.instructions).collect())
    };
    let (a, b) = (read(a)?, read(b)?);
    Ok(if a == b {
        String::new()
    } else {
        format!("instructions of threads: {a:?} under ptrace, {b:?} under dbt\n")
    })
}

fn describe(file: &FileComparison) -> String {
    let mut text = format!(
        "{}: {} of {} rows differ (only ptrace {}, only dbt {})\n",
        file.file,
        file.differing(),
        file.rows,
        file.only_in_a,
        file.only_in_b
    );
    for difference in &file.differences {
        text += &format!(
            "  {} {}: ptrace {:?}, dbt {:?}\n",
            difference.key,
            difference.column.unwrap_or("(row)"),
            difference.a,
            difference.b
        );
    }
    text
}
