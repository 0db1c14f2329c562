//! Lines of source files, as they are when the page is written.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;

/// Larger files are no source files that anybody looks at.
const LARGEST: u64 = 16 << 20;

/// Longer lines are cut.
const LONGEST: usize = 160;

/// Reads each file once.
#[derive(Debug)]
pub(super) struct Sources {
    /// Where the program ran: relative names begin there.
    working: PathBuf,
    files: RefCell<FxHashMap<PathBuf, Option<Vec<String>>>>,
}

impl Sources {
    pub(super) fn new(working: &Path) -> Self {
        Self {
            working: working.to_owned(),
            files: RefCell::default(),
        }
    }

    /// The line that `file:line` names, without the blanks around it; nothing if it can't be read.
    pub(super) fn line(&self, place: &str) -> Option<String> {
        let (file, number) = place.rsplit_once(':')?;
        let number: usize = number.parse().ok()?;
        let path = self.working.join(file);
        let mut files = self.files.borrow_mut();
        let lines = files.entry(path).or_insert_with_key(|path| read(path));
        let line = lines.as_ref()?.get(number.checked_sub(1)?)?;
        Some(line.clone())
    }
}

fn read(path: &Path) -> Option<Vec<String>> {
    // A pipe or a device must not be opened.
    let is_small = |data: &std::fs::Metadata| data.is_file() && data.len() <= LARGEST;
    std::fs::metadata(path).ok().filter(is_small)?;
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_end(&mut content).ok()?;
    let lines = String::from_utf8_lossy(&content);
    let cut = |line: &str| line.trim().chars().take(LONGEST).collect();
    Some(lines.lines().map(cut).collect())
}

#[cfg(test)]
mod tests {
    use super::Sources;

    #[test]
    fn lines_are_found_and_what_is_no_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a:b.c"), "one\n  two\n").unwrap();
        let sources = Sources::new(folder.path());
        assert_eq!(sources.line("a:b.c:2").as_deref(), Some("two"));
        for absent in [
            "a:b.c:0",
            "a:b.c:3",
            "a:b.c",
            "none.c:1",
            "/dev/zero:1",
            ".:1",
        ] {
            assert_eq!(sources.line(absent), None, "{absent}");
        }
    }
}
