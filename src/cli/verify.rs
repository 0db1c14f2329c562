//! `--verify`: the program run twice, and the two golden folders compared.
//!
//! Where they differ, the first system call that is another one or returns something else says where they part; then the first difference of the files.
//!
//! The second run reads standard input again from where the first began, and writes to a stream of the same kind as the first: a file instead
//! of a file, a pipe instead of a pipe (whether a program writes to a file, a pipe or a terminal changes what it does).

use std::fs::File;
use std::io::{IsTerminal, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use fits_stats::compare::{Comparison, compare};
use fits_tracer::process::Stdio;

use super::CliError;
use super::golden::{GoldenArgs, execute, exit_status, tell};
use super::parting::first_differing_call;
use crate::exit_code;

/// The files in which a difference is looked for, in this order.
const TELLING: [&str; 6] = [
    "syscalls.csv",
    "instructions.csv",
    "blocks.csv",
    "registers.csv",
    "operand_bits.csv",
    "memory.csv",
];

pub(crate) fn run(args: &GoldenArgs, out: &Path) -> Result<u8, CliError> {
    let input = Input::remember()?;
    let first = execute(args, out, Default::default())?;
    tell(args, &first);
    input.rewind()?;
    let second = beside(out);
    let streams = [
        Stdio::Inherit,
        twin(std::io::stdout().as_fd())?,
        twin(std::io::stderr().as_fd())?,
    ];
    let again = execute(args, &second, streams)?;
    let compared = compare(out, &second, 1);
    let removed = std::fs::remove_dir_all(&second);
    let comparison = compared?;
    removed.map_err(CliError::file("remove", &second))?;
    let (ended, ended_again) = (first.outcome.ended, again.outcome.ended);
    let status = exit_status(ended);
    let in_time = || first_differing_call(&first.calls, &again.calls);
    if ended_again != ended {
        let where_to = in_time().map_or_else(String::new, |sentence| format!("; {sentence}"));
        eprintln!(
            "fits: not reproducible: the second run ended with {ended_again:?}, the first with {ended:?}{where_to}"
        );
        return Ok(exit_code::NOT_REPRODUCIBLE);
    }
    match first_difference(&comparison) {
        Some(sentence) => {
            let sentence = match in_time() {
                Some(call) => format!("{call}; in the statistics {sentence}"),
                None => sentence,
            };
            eprintln!("fits: not reproducible: {sentence}");
            Ok(if status == 0 {
                exit_code::NOT_REPRODUCIBLE
            } else {
                status
            })
        }
        None => {
            eprintln!("fits: reproducible: two runs gave the same statistics");
            Ok(status)
        }
    }
}

fn beside(out: &Path) -> std::path::PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(format!(".verify-{}", std::process::id()));
    name.into()
}

/// The first difference in the file that tells most.
fn first_difference(comparison: &Comparison) -> Option<String> {
    let differing = |name: &&str| {
        let file = comparison.files.iter().find(|file| file.file == *name)?;
        Some((file, file.differences.first()?))
    };
    let (file, difference) = TELLING.iter().find_map(differing)?;
    let what = match file.file {
        "syscalls.csv" => "system call",
        "instructions.csv" => "instruction",
        _ => "row",
    };
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
    Some(format!(
        "the first differing {what} is {} ({}: {} in the first run, {} in the second; {} rows of {} differ)",
        difference.key,
        difference.column.unwrap_or("row"),
        value(&difference.a),
        value(&difference.b),
        file.differing(),
        file.file,
    ))
}

/// Standard input, to be read a second time.
struct Input {
    start: Option<(File, u64)>,
}

impl Input {
    fn remember() -> Result<Self, CliError> {
        let stdin = std::io::stdin();
        let broken = |error: std::io::Error| CliError::NotTwice(error.to_string());
        let Ok(fd) = stdin.as_fd().try_clone_to_owned() else {
            return Ok(Self { start: None });
        };
        let mut file = File::from(fd);
        let kind = file.metadata().map_err(broken)?.file_type();
        if kind.is_file() {
            let position = file.stream_position().map_err(broken)?;
            return Ok(Self {
                start: Some((file, position)),
            });
        }
        if kind.is_fifo() || kind.is_socket() {
            let sentence =
                "standard input is a pipe, which can be read only once (use a file or /dev/null)";
            return Err(CliError::NotTwice(sentence.to_owned()));
        }
        Ok(Self { start: None })
    }

    fn rewind(self) -> Result<(), CliError> {
        if let Some((mut file, position)) = self.start {
            file.seek(SeekFrom::Start(position))
                .map_err(|error| CliError::NotTwice(error.to_string()))?;
        }
        Ok(())
    }
}

/// A stream of the same kind, whose content goes nowhere. A terminal stays the terminal.
fn twin(stream: BorrowedFd) -> Result<Stdio, CliError> {
    let broken = |error: std::io::Error| CliError::NotTwice(error.to_string());
    if stream.is_terminal() {
        return Ok(Stdio::Inherit);
    }
    let Ok(fd) = stream.try_clone_to_owned() else {
        return Ok(Stdio::Inherit);
    };
    let kind = File::from(fd).metadata().map_err(broken)?.file_type();
    if kind.is_file() {
        return Ok(Stdio::File(unnamed_file().map_err(broken)?.into()));
    }
    if kind.is_fifo() {
        let (mut read, write) = std::io::pipe().map_err(broken)?;
        std::thread::spawn(move || std::io::copy(&mut read, &mut std::io::sink()));
        return Ok(Stdio::File(write.into()));
    }
    Ok(Stdio::Inherit)
}

/// A regular file without a name.
fn unnamed_file() -> std::io::Result<File> {
    let path = std::env::temp_dir().join(format!("fits-verify-{}", std::process::id()));
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
