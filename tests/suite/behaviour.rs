//! The same behaviour: every script of `tests/behaviour` natively and with its programs under `fits golden`, at both
//! levels. Compared are standard output, standard error, exit status, and all files that it leaves in its folder.
//!
//! A script calls `run PROGRAM ARGS…` for what is to be tested; the rest of it is preparation. Its header may say
//! `# needs: PROGRAM …` and `# long` (only with `FITS_LONG=1`: node, java and go).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Completion, Trial};

use crate::engine::{self, ENGINES, Engine};
use crate::process::{self, Outcome};
use crate::{inputs, known_failures, table};

const LIMIT: Duration = Duration::from_secs(240);
const PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

#[derive(Clone)]
struct Script {
    path: PathBuf,
    needs: Vec<String>,
    long: bool,
}

/// One case for each script natively and at each level of the translator.
pub(crate) fn trials() -> Result<Vec<Trial>, String> {
    let folder = table::tests_folder().join("behaviour");
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .map_err(|error| format!("cannot read {}: {error}", folder.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "sh"))
        .filter(|path| path.file_name().is_some_and(|name| name != "prelude.sh"))
        .collect();
    paths.sort();
    let mut trials = Vec::new();
    for path in paths {
        let script = read(path)?;
        let name = script
            .path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // Natively twice first: a script whose output differs from itself proves nothing.
        let engines = ENGINES.into_iter().filter(|engine| engine.backend == "dbt");
        for engine in std::iter::once(None).chain(engines.map(Some)) {
            let title = format!(
                "behaviour/{name}/{}",
                engine.map_or("native", |engine| engine.name)
            );
            let script = script.clone();
            trials.push(Trial::ignorable_test(title.clone(), move || {
                known_failures::judge(&title, check(&script, engine))
            }));
        }
    }
    Ok(trials)
}

fn read(path: PathBuf) -> Result<Script, String> {
    let text = fs::read_to_string(&path).map_err(|error| error.to_string())?;
    let header = || text.lines().take_while(|line| line.starts_with('#'));
    Ok(Script {
        needs: header()
            .filter_map(|line| line.strip_prefix("# needs: "))
            .flat_map(table::words)
            .collect(),
        long: header().any(|line| line == "# long"),
        path,
    })
}

fn check(script: &Script, engine: Option<Engine>) -> Result<Completion, String> {
    let missing = engine.and_then(|engine| engine::missing(engine.backend));
    if let Some(reason) = missing.or_else(|| unable(script)) {
        return Ok(Completion::ignored_with(reason));
    }
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (native, native_files) = run(script, None, scratch.path())?;
    let (outcome, files) = run(script, engine, scratch.path())?;
    let mut text = process::difference(&native, &outcome).unwrap_or_default();
    text += &different_files(&native_files, &files);
    if !text.is_empty() {
        return Err(text);
    }
    if let Some(engine) = engine {
        golden_folders(engine, &scratch.path().join("golden"))?;
    }
    Ok(Completion::Completed)
}

fn unable(script: &Script) -> Option<String> {
    if script.long && std::env::var_os("FITS_LONG").is_none() {
        return Some("long: set FITS_LONG=1".to_owned());
    }
    let missing = script.needs.iter().find(|program| {
        !PATH
            .split(':')
            .any(|folder| Path::new(folder).join(program).exists())
    })?;
    Some(format!("SKIPPED: {missing} is not installed"))
}

/// Runs the script in an own folder that has the same name each time.
fn run(
    script: &Script,
    engine: Option<Engine>,
    scratch: &Path,
) -> Result<(Outcome, BTreeMap<PathBuf, Vec<u8>>), String> {
    let work = scratch.join("work");
    if work.exists() {
        fs::remove_dir_all(&work).map_err(|error| error.to_string())?;
    }
    fs::create_dir(&work).map_err(|error| error.to_string())?;
    let mut command = Command::new("/bin/bash");
    command
        .arg(script.path.with_file_name("prelude.sh"))
        .arg(&script.path)
        .current_dir(&work)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", &work)
        .env("LANG", "C.UTF-8")
        .env("TZ", "UTC")
        .env("INPUT", inputs::folder()?)
        .env("GUESTS", table::tests_folder().join("guests"));
    if let Some(engine) = engine {
        command
            .env("FITS", engine::FITS)
            .env("BACKEND", engine.backend)
            .env("LEVEL", engine.level)
            .env("GOLDEN", scratch.join("golden"));
    }
    let outcome = process::run(&mut command, scratch, LIMIT)?;
    let mut files = BTreeMap::new();
    collect(&work, &work, &mut files).map_err(|error| error.to_string())?;
    Ok((outcome, files))
}

fn collect(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<PathBuf, Vec<u8>>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        let name = path.strip_prefix(root).unwrap_or(&path).to_owned();
        if kind.is_dir() {
            // What a version control system keeps for itself has times in it.
            if entry.file_name() != ".git" {
                collect(root, &path, files)?;
            }
        } else if kind.is_file() {
            files.insert(name, fs::read(&path)?);
        } else {
            files.insert(name, Vec::new());
        }
    }
    Ok(())
}

fn different_files(
    native: &BTreeMap<PathBuf, Vec<u8>>,
    other: &BTreeMap<PathBuf, Vec<u8>>,
) -> String {
    let mut text = String::new();
    let mut names: Vec<&PathBuf> = native.keys().chain(other.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let what = match (native.get(name), other.get(name)) {
            (Some(_), None) => Some("missing".to_owned()),
            (None, Some(_)) => Some("not there natively".to_owned()),
            (Some(a), Some(b)) => process::first_difference(a, b),
            (None, None) => None,
        };
        if let Some(what) = what {
            text += &format!("file {}: {what}\n", name.display());
        }
    }
    text
}

/// Every program that was run must have left a whole golden folder.
fn golden_folders(engine: Engine, parent: &Path) -> Result<(), String> {
    let mut count = 0;
    for entry in fs::read_dir(parent).map_err(|error| format!("no golden folders: {error}"))? {
        let path = entry.map_err(|error| error.to_string())?.path();
        engine.check(&path)?;
        count += 1;
    }
    if count == 0 {
        return Err("the script ran nothing under fits".to_owned());
    }
    Ok(())
}
