//! The files that decide what an experiment does: a campaign ends at the first experiment after one of them was touched.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What shows that a file was touched: device, inode, size, times of content and of inode.
type Mark = (u64, u64, u64, i64, i64, i64, i64);

/// Files as they were when a campaign went on.
#[derive(Debug, Clone, Default)]
pub struct Unchanged {
    files: Vec<(PathBuf, Mark)>,
}

impl Unchanged {
    /// Remembers these files. Those that cannot be looked at are left out.
    pub fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let seen = |path: PathBuf| mark(&path).map(|mark| (path, mark));
        Self {
            files: paths.into_iter().filter_map(seen).collect(),
        }
    }

    /// The first that is not as it was, in words.
    #[must_use]
    pub fn changed(&self) -> Option<String> {
        self.files.iter().find_map(|(path, before)| {
            let what = match mark(path) {
                Some(now) if now == *before => return None,
                Some(_) => "was changed",
                None => "is gone",
            };
            Some(format!(
                "{} {what} while the campaign ran: nothing of what came after that was kept",
                path.display()
            ))
        })
    }
}

fn mark(path: &Path) -> Option<Mark> {
    let of = |data: Metadata| {
        (
            data.dev(),
            data.ino(),
            data.size(),
            data.mtime(),
            data.mtime_nsec(),
            data.ctime(),
            data.ctime_nsec(),
        )
    };
    path.metadata().ok().map(of)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_touched_file_shows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        std::fs::write(&path, "one").expect("it can be written");
        let files = Unchanged::new([path.clone()]);
        assert_eq!(files.changed(), None);
        std::fs::write(&path, "two").expect("it can be written");
        let told = files.changed().unwrap_or_default();
        assert!(told.contains("program was changed"), "{told}");
        std::fs::remove_file(&path).expect("it is there");
        let told = files.changed().unwrap_or_default();
        assert!(told.contains("program is gone"), "{told}");
    }
}
