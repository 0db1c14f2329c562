//! Lines of source files, as they are when the page is written.

use std::cell::RefCell;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustc_hash::FxHashMap;

/// Larger files are no source files that anybody looks at.
const LARGEST: u64 = 16 << 20;

/// Longer lines are cut.
const LONGEST: usize = 160;

/// Reads each file once.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Where the program ran: relative names begin there.
    working: PathBuf,
    files: RefCell<FxHashMap<PathBuf, Option<Rc<[String]>>>>,
}

impl Sources {
    /// Relative names begin at `working`.
    pub(crate) fn new(working: &Path) -> Self {
        Self {
            working: working.to_owned(),
            files: RefCell::default(),
        }
    }

    /// The line that `file:line` names, without the blanks around it; nothing if it can't be read.
    pub(crate) fn line(&self, place: &str) -> Option<String> {
        let (file, number) = place.rsplit_once(':')?;
        let number: usize = number.parse().ok()?;
        let lines = self.lines(file)?;
        let line = lines.get(number.checked_sub(1)?)?;
        Some(line.trim().to_owned())
    }

    /// All lines of a file, with the blanks that they begin with; nothing if it can't be read.
    pub(crate) fn lines(&self, file: &str) -> Option<Rc<[String]>> {
        let path = self.working.join(file);
        let mut files = self.files.borrow_mut();
        let lines = files.entry(path).or_insert_with_key(|path| read(path));
        lines.clone()
    }
}

fn read(path: &Path) -> Option<Rc<[String]>> {
    // A pipe or a device must not be opened.
    let is_small = |data: &std::fs::Metadata| data.is_file() && data.len() <= LARGEST;
    std::fs::metadata(path).ok().filter(is_small)?;
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(LARGEST).read_to_end(&mut content).ok()?;
    let lines = String::from_utf8_lossy(&content);
    let cut = |line: &str| line.trim_end().chars().take(LONGEST).collect();
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
