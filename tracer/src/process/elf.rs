//! Whether a file can be run at all: decided before anything is started, so that the answer is one clear sentence.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use goblin::elf::header;
use goblin::elf::program_header::{PT_INTERP, ProgramHeader};
use goblin::elf::{Elf, Header};

use super::command::is_executable;
use super::launch::StartError;

/// As many interpreters of interpreters as the kernel allows.
const SCRIPT_DEPTH: u32 = 5;

/// Checks that `path` is an x86-64 ELF program or a script of one that the kernel would run, and that we can trace it.
///
/// # Errors
/// What is wrong with it.
pub fn check(path: &Path) -> Result<(), StartError> {
    check_depth(path, SCRIPT_DEPTH)
}

fn check_depth(path: &Path, depth: u32) -> Result<(), StartError> {
    let owned = || path.to_owned();
    let metadata = path.metadata().map_err(|source| StartError::Unreadable {
        path: owned(),
        source,
    })?;
    if !metadata.is_file() {
        return Err(StartError::NotAFile { path: owned() });
    }
    if !is_executable(path) {
        return Err(StartError::NotExecutable { path: owned() });
    }
    let file = File::open(path).map_err(|source| StartError::Unreadable {
        path: owned(),
        source,
    })?;
    let mut start = Vec::new();
    (&file)
        .take(256)
        .read_to_end(&mut start)
        .map_err(|source| StartError::Unreadable {
            path: owned(),
            source,
        })?;
    if let Some(line) = start.strip_prefix(b"#!") {
        return check_script(path, line, depth);
    }
    if metadata.permissions().mode() & 0o4000 != 0
        || metadata.permissions().mode() & 0o2010 == 0o2010
    {
        return Err(StartError::SetUid {
            path: owned(),
            owner: metadata.uid(),
        });
    }
    check_elf(path, &file, &start)
}

fn check_script(path: &Path, line: &[u8], depth: u32) -> Result<(), StartError> {
    let line = line.split(|&byte| byte == b'\n').next().unwrap_or_default();
    let mut words = line
        .split(|byte| b" \t".contains(byte))
        .filter(|word| !word.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next().unwrap_or_default()));
    if depth == 0 || !interpreter.exists() {
        return Err(StartError::MissingInterpreter {
            path: path.to_owned(),
            interpreter,
        });
    }
    check_depth(&interpreter, depth - 1)
}

fn check_elf(path: &Path, file: &File, start: &[u8]) -> Result<(), StartError> {
    let owned = || path.to_owned();
    if !start.starts_with(header::ELFMAG) {
        return Err(StartError::NotElf { path: owned() });
    }
    let damaged = || StartError::DamagedElf { path: owned() };
    let header = Elf::parse_header(start).map_err(|_| damaged())?;
    if header.e_machine != header::EM_X86_64 {
        let machine = machine_name(&header);
        return Err(StartError::ForeignArchitecture {
            path: owned(),
            machine,
        });
    }
    if start.get(header::EI_CLASS) != Some(&header::ELFCLASS64) {
        let machine = "32-bit x86 (x32)".to_owned();
        return Err(StartError::ForeignArchitecture {
            path: owned(),
            machine,
        });
    }
    if !matches!(header.e_type, header::ET_EXEC | header::ET_DYN) {
        return Err(StartError::NotAProgram { path: owned() });
    }
    match interpreter(file, &header).ok_or_else(damaged)? {
        Some(interpreter) if !interpreter.exists() => Err(StartError::MissingInterpreter {
            path: owned(),
            interpreter,
        }),
        _ => Ok(()),
    }
}

fn machine_name(header: &Header) -> String {
    match header.e_machine {
        header::EM_386 => "32-bit x86".to_owned(),
        machine => header::machine_to_str(machine)
            .trim_start_matches("EM_")
            .to_owned(),
    }
}

/// The program interpreter; the outer `None` for a damaged file.
fn interpreter(file: &File, header: &Header) -> Option<Option<PathBuf>> {
    let size = usize::from(header.e_phentsize) * usize::from(header.e_phnum);
    let mut table = vec![0; size];
    file.read_exact_at(&mut table, header.e_phoff).ok()?;
    let context = goblin::container::Ctx::new(
        goblin::container::Container::Big,
        goblin::container::Endian::Little,
    );
    let headers = ProgramHeader::parse(&table, 0, header.e_phnum.into(), context).ok()?;
    let Some(found) = headers.iter().find(|header| header.p_type == PT_INTERP) else {
        return Some(None);
    };
    let mut name = vec![
        0;
        usize::try_from(found.p_filesz)
            .ok()
            .filter(|&size| size <= 4096)?
    ];
    file.read_exact_at(&mut name, found.p_offset).ok()?;
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    Some(Some(PathBuf::from(OsStr::from_bytes(&name[..end]))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(content: &[u8], mode: u32) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        std::fs::write(&path, content).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("mode");
        check(&path).map_or_else(|error| error.to_string(), |()| "fine".to_owned())
    }

    fn changed(offset: usize, byte: u8) -> Vec<u8> {
        let mut elf = std::fs::read("/bin/true").expect("true");
        elf[offset] = byte;
        elf
    }

    #[test]
    fn every_refusal_is_a_sentence_about_its_cause() {
        let truth = std::fs::read("/bin/true").expect("true");
        assert_eq!(sentence(&truth, 0o755), "fine");
        assert!(sentence(&truth, 0o644).contains("may not be executed"));
        assert!(sentence(&truth, 0o4755).contains("set-uid"));
        assert!(sentence(b"hello", 0o755).contains("neither"));
        assert!(sentence(b"", 0o755).contains("neither"));
        assert!(sentence(&truth[..100], 0o755).contains("damaged"));
        assert!(sentence(b"#!/bin/sh\n", 0o755).contains("fine"));
        assert!(sentence(b"#!/no/such/shell -e\n", 0o755).contains("/no/such/shell"));
        assert!(sentence(&changed(0x12, 183), 0o755).contains("AARCH64"));
        assert!(sentence(&changed(0x12, 3), 0o755).contains("32-bit x86"));
        assert!(sentence(&changed(0x10, 1), 0o755).contains("not a program"));
        let path = truth
            .windows(8)
            .position(|bytes| bytes == b"/lib64/l")
            .expect("interpreter");
        assert!(sentence(&changed(path, b'X'), 0o755).contains("Xlib64"));
        assert!(
            check(Path::new("/"))
                .expect_err("a directory")
                .to_string()
                .contains("not a file")
        );
    }
}
