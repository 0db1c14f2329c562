//! Separate debug files, found as debuggers find them.

use std::path::{Path, PathBuf};

use super::elf::ElfFile;

const DEBUG_ROOT: &str = "/usr/lib/debug";

/// The file that has the source lines: the module itself, or else its debug file.
pub(super) fn with_lines<'a>(
    elf: &'a ElfFile,
    debug_file: Option<&'a ElfFile>,
) -> Option<&'a ElfFile> {
    [Some(elf), debug_file]
        .into_iter()
        .flatten()
        .find(|file| has_lines(file))
}

fn has_lines(elf: &ElfFile) -> bool {
    elf.section(".debug_line").is_some()
}

/// The separate debug file of a module, by build id, then by its link.
pub(super) fn find_separate_file(elf: &ElfFile) -> Option<ElfFile> {
    if has_lines(elf) {
        return None;
    }
    let build_id = elf.build_id();
    let by_id = build_id.as_deref().and_then(build_id_path);
    let candidates = by_id.into_iter().chain(linked_paths(elf));
    candidates
        .filter(|path| *path != elf.path)
        .find_map(|path| {
            let found = ElfFile::open(&path)?;
            let same = found.build_id().is_none() || found.build_id() == build_id;
            same.then_some(found)
        })
}

fn build_id_path(id: &str) -> Option<PathBuf> {
    let (directory, rest) = id.split_at_checked(2)?;
    Some(format!("{DEBUG_ROOT}/.build-id/{directory}/{rest}.debug").into())
}

/// The places where the file that `.gnu_debuglink` names may be.
fn linked_paths(elf: &ElfFile) -> Vec<PathBuf> {
    let Some(name) = elf
        .section_contents(".gnu_debuglink")
        .and_then(|link| c_string(&link))
    else {
        return Vec::new();
    };
    let Some(directory) = elf.path.parent() else {
        return Vec::new();
    };
    let below_root = directory.strip_prefix("/").unwrap_or(directory);
    vec![
        directory.join(&name),
        directory.join(".debug").join(&name),
        Path::new(DEBUG_ROOT).join(below_root).join(&name),
    ]
}

fn c_string(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    String::from_utf8(bytes[..end].to_vec()).ok()
}
