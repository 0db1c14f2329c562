//! Standard input of all runs: a file that each reads from its start.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use fits_injectors::experiment::outputs::hash;
use fits_injectors::experiment::record::Input;

use crate::cli::CliError;

const NOTHING: &str = "/dev/null";

/// Where runs read from, and how that is recorded.
pub(crate) struct StandardInput {
    /// The file.
    pub(crate) path: PathBuf,
    /// For the results.
    pub(crate) record: Input,
    /// The flag that gives the same input again.
    pub(crate) flag: Option<String>,
}

/// `store` is a folder for what comes in by a pipe.
pub(crate) fn find(typed: Option<&Path>, store: &Path) -> Result<StandardInput, CliError> {
    let ours = Path::new("/proc/self/fd/0");
    let (path, flag) = match typed {
        Some(dash) if dash == Path::new("-") => (saved(store)?, Some("-".to_owned())),
        Some(path) => {
            let path = std::path::absolute(path).map_err(CliError::file("find", path))?;
            let flag = path.display().to_string();
            (path, Some(flag))
        }
        None if is_file(ours) => {
            let path = std::fs::read_link(ours).map_err(CliError::file("find", ours))?;
            // One that has no name any more, or has been read from already, is copied.
            if path.is_file() && position() == 0 {
                let flag = path.display().to_string();
                (path, Some(flag))
            } else {
                (saved(store)?, Some("-".to_owned()))
            }
        }
        None => (PathBuf::from(NOTHING), None),
    };
    let file = File::open(&path).map_err(CliError::file("read", &path))?;
    let (sha256, _) = hash(file).map_err(CliError::file("read", &path))?;
    let record = Input {
        path: path.display().to_string(),
        sha256,
    };
    Ok(StandardInput { path, record, flag })
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|data| data.is_file())
}

fn position() -> u64 {
    use std::os::fd::AsFd;
    let own = std::io::stdin().as_fd().try_clone_to_owned();
    own.ok()
        .and_then(|fd| File::from(fd).stream_position().ok())
        .unwrap_or_default()
}

/// Everything that comes in, in a file.
fn saved(store: &Path) -> Result<PathBuf, CliError> {
    let path = store.join("stdin");
    let failed = |error| CliError::file("keep standard input in", &path)(error);
    let mut content = Vec::new();
    std::io::stdin().read_to_end(&mut content).map_err(failed)?;
    File::create(&path)
        .and_then(|mut file| file.write_all(&content))
        .map_err(|error| CliError::file("keep standard input in", &path)(error))?;
    Ok(path)
}
