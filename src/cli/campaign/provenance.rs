//! What is recorded of the files and the machine that a campaign's figures come from, and whether they are still the same.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fits_injectors::campaign::run::Unchanged;
use fits_injectors::campaign::store::{HashedFile, Host, Provenance, StoreError};
use fits_injectors::experiment::job::ReferenceReport;

use crate::cli::CliError;
use crate::cli::record::hash_file;

/// A file with its hash.
pub(super) fn hashed(path: &Path) -> HashedFile {
    HashedFile {
        path: path.display().to_string(),
        sha256: hash_file(path),
    }
}

/// Files with code that a run has mapped, without the program's own.
pub(super) fn libraries(report: &ReferenceReport, executable: &Path) -> Vec<HashedFile> {
    let own = std::fs::canonicalize(executable).unwrap_or_default();
    let mut paths: Vec<&str> = report
        .modules
        .iter()
        .map(|(path, ..)| path.as_str())
        .filter(|path| Path::new(path) != own)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| hashed(path.as_ref()))
        .collect()
}

/// Files that arguments name.
pub(super) fn inputs(arguments: &[String]) -> Vec<HashedFile> {
    let file = |text: &&String| Path::new(text).is_file();
    arguments
        .iter()
        .filter(file)
        .map(|text| hashed(text.as_ref()))
        .collect()
}

pub(super) fn environment() -> Vec<String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        format!("{}={}", name.to_string_lossy(), value.to_string_lossy())
    };
    std::env::vars_os().map(text).collect()
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// This machine.
pub(super) fn host() -> Host {
    let system = nix::sys::utsname::uname().ok();
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let line = |file: &str, name: &str| {
        let content = std::fs::read_to_string(file).unwrap_or_default();
        let found = content.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        });
        found.unwrap_or_default()
    };
    let memory = line("/proc/meminfo", "MemTotal");
    let kib: u64 = memory
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default();
    Host {
        name: system
            .as_ref()
            .map(|system| text(system.nodename()))
            .unwrap_or_default(),
        kernel: system
            .as_ref()
            .map(|system| text(system.release()))
            .unwrap_or_default(),
        processor: line("/proc/cpuinfo", "model name"),
        processors: std::thread::available_parallelism().map_or(1, |number| number.get() as u64),
        memory: kib * 1024,
    }
}

/// All files that must stay as they are.
pub(super) fn files(provenance: &Provenance) -> Vec<&HashedFile> {
    std::iter::once(&provenance.program_file)
        .chain(&provenance.libraries)
        .chain(&provenance.inputs)
        .collect()
}

/// Refuses to go on with a campaign on files, or with a version, that are not those that it was planned with. What must stay so from here on.
pub(super) fn check(folder: &Path, provenance: &Provenance) -> Result<Unchanged, CliError> {
    let another = |what: String| StoreError::Another {
        path: folder.to_owned(),
        what,
    };
    let ours = env!("CARGO_PKG_VERSION");
    if provenance.version != ours {
        let what = format!(
            "was planned by fits {}, and this is fits {ours}: their experiments may differ",
            provenance.version
        );
        return Err(another(what).into());
    }
    // First, so that a change after hashing shows.
    let paths = files(provenance)
        .into_iter()
        .map(|file| PathBuf::from(&file.path));
    let input = &provenance.standard_input;
    let unchanged = Unchanged::new(paths.chain([PathBuf::from(&input.path)]));
    let stdin = HashedFile {
        path: input.path.clone(),
        sha256: input.sha256.clone(),
    };
    for file in files(provenance).into_iter().chain([&stdin]) {
        let path = Path::new(&file.path);
        let now = hash_file(path);
        if now == file.sha256 {
            continue;
        }
        let what = match path.exists() {
            true => format!(
                "is a campaign with another {}: it has changed since",
                file.path
            ),
            false => format!("is a campaign with {}, which is gone", file.path),
        };
        return Err(another(what).into());
    }
    Ok(unchanged)
}
