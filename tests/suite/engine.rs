//! The ways to run a program under fits, and what every golden folder must be.

use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use fits_stats::folder::GoldenFolder;
use fits_stats::write::Summary;

/// The program under test.
pub(crate) const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// A backend at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// The name in tables and tests.
    pub name: &'static str,
    pub backend: &'static str,
    pub level: &'static str,
    /// Further options.
    pub options: &'static [&'static str],
}

/// All of them.
pub(crate) const ENGINES: [Engine; 4] = [
    Engine {
        name: "counts",
        backend: "dbt",
        level: "counts",
        options: &[],
    },
    Engine {
        name: "full",
        backend: "dbt",
        level: "full",
        options: &[],
    },
    Engine {
        name: "ptrace-counts",
        backend: "ptrace",
        level: "counts",
        options: &[],
    },
    Engine {
        name: "ptrace-full",
        backend: "ptrace",
        level: "full",
        options: &[],
    },
];

/// Hardly more than one unit fits into the code cache at a time.
const TINY: &[&str] = &["--code-cache", "1"];

/// The translator with a code cache that must be flushed all the time.
const TINY_ENGINES: [Engine; 2] = [
    Engine {
        name: "tiny-counts",
        backend: "dbt",
        level: "counts",
        options: TINY,
    },
    Engine {
        name: "tiny-full",
        backend: "dbt",
        level: "full",
        options: TINY,
    },
];

/// The engines that a word of a table names: one of them, `dbt`, `ptrace`, `tiny` or `all`.
pub(crate) fn named(word: &str) -> Result<Vec<Engine>, String> {
    if word == "tiny" {
        return Ok(TINY_ENGINES.into());
    }
    let found: Vec<Engine> = ENGINES
        .into_iter()
        .filter(|engine| word == "all" || word == engine.backend || word == engine.name)
        .collect();
    if found.is_empty() {
        return Err(format!("no engine is named {word}"));
    }
    Ok(found)
}

impl Engine {
    /// `fits golden` with the options of this engine; the program and its arguments are to be added.
    pub(crate) fn command(self, out: &Path) -> Command {
        let mut command = Command::new(FITS);
        command
            .args(["golden", "--quiet", "--backend", self.backend])
            .args(["--stats", self.level])
            .args(self.options)
            .arg("--out")
            .arg(out)
            .arg("--");
        command
    }

    /// Checks that the folder is whole and says what was run.
    pub(crate) fn check(self, folder: &Path) -> Result<Summary, String> {
        let folder = GoldenFolder::open(folder).map_err(|error| error.to_string())?;
        let summary = folder.summary().clone();
        if !summary.complete {
            return Err(format!(
                "the golden run is not complete: {:?}",
                summary.incomplete
            ));
        }
        if summary.instructions == 0 || summary.threads.is_empty() {
            return Err("the golden run counted no instructions".to_owned());
        }
        let of_threads: u64 = summary
            .threads
            .iter()
            .map(|thread| thread.instructions)
            .sum();
        if of_threads != summary.instructions {
            return Err(format!(
                "{} instructions, but those of the threads are {of_threads}",
                summary.instructions
            ));
        }
        Ok(summary)
    }
}

/// Why this build of fits cannot make golden runs with the backend, if it cannot.
pub(crate) fn missing(backend: &str) -> Option<String> {
    static HELP: LazyLock<String> = LazyLock::new(|| {
        Command::new(FITS)
            .args(["golden", "--help"])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default()
    });
    (!HELP.contains(backend)).then(|| format!("this build of fits has no backend {backend}"))
}
