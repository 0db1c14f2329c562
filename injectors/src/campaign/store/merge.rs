//! Parts of one plan, carried out apart, put together.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Archive, FILE, StoreError, Work, file, open};

/// What came of putting parts together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Experiments in all.
    pub experiments: u64,
    /// Numbers of points that are missing, the first few.
    pub missing: Vec<u64>,
    /// How many are missing.
    pub left: u64,
}

/// How many missing numbers are told.
const TOLD: usize = 10;

/// Puts the campaigns in `parts` together in `folder`, which exists and holds none yet.
///
/// # Errors
/// If they are not one campaign, or two have an experiment with different outcomes. Then `folder` is as it was.
pub fn merge(folder: &Path, parts: &[impl AsRef<Path>]) -> Result<Merged, StoreError> {
    let target = file(folder);
    if target.exists() {
        return Err(StoreError::Exists(folder.to_owned()));
    }
    let archives = parts
        .iter()
        .map(|part| Archive::open(part.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((first, others)) = archives.split_first() else {
        return Err(StoreError::Merge("there is nothing to merge".to_owned()));
    };
    for archive in &archives {
        archive.check_plan()?;
    }
    for other in others {
        if let Some(what) = first.provenance().differs(other.provenance()) {
            return Err(StoreError::Merge(format!(
                "{} and {} are not parts of one campaign: the {what} is another",
                first.folder().display(),
                other.folder().display()
            )));
        }
    }
    let partial = tempfile::Builder::new()
        .prefix(&format!("{FILE}.partial-"))
        .tempdir_in(folder)
        .map_err(StoreError::io("write to", folder))?;
    copy(first, partial.path())?;
    let mut database = open(partial.path(), true)?;
    for other in others {
        add(&mut database, first, other)?;
    }
    let failed = || StoreError::database("write", &target);
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed())?;
    database.close().map_err(|(_, error)| failed()(error))?;
    std::fs::rename(file(partial.path()), &target).map_err(StoreError::io("write", &target))?;
    told(&Archive::open(folder)?)
}

/// Adds what parts of the campaign in `folder` have to what it has; `holder` is who does that.
///
/// # Errors
/// If they are not parts of it, disagree with it, or another process works on it.
pub fn gather(
    folder: &Path,
    parts: &[impl AsRef<Path>],
    holder: &str,
) -> Result<Merged, StoreError> {
    let _work = Work::open(folder, holder)?;
    let whole = Archive::open(folder)?;
    let mut database = open(folder, true)?;
    for part in parts {
        let part = Archive::open(part.as_ref())?;
        part.check_plan()?;
        if let Some(what) = whole.provenance().differs(part.provenance()) {
            return Err(StoreError::Merge(format!(
                "{} is no part of {}: the {what} is another",
                part.folder().display(),
                folder.display()
            )));
        }
        add(&mut database, &whole, &part)?;
    }
    drop(database);
    told(&whole)
}

/// A copy of a campaign with the results that it has: also of one that is being worked on.
fn copy(archive: &Archive, folder: &Path) -> Result<(), StoreError> {
    let from = open(archive.folder(), false)?;
    let path = file(folder);
    let name = path.to_string_lossy().into_owned();
    from.execute("VACUUM INTO ?1", [name])
        .map(drop)
        .map_err(StoreError::database("write", &path))
}

/// Adds what another part has.
fn add(database: &mut Connection, first: &Archive, other: &Archive) -> Result<(), StoreError> {
    let path = file(other.folder());
    let failed = || StoreError::database("read", &path);
    database
        .execute("ATTACH ?1 AS other", [path.to_string_lossy()])
        .map_err(failed())?;
    // What does not depend on the machine must be the same.
    let differing: Option<(u64, String, String)> = database
        .query_row(
            "SELECT number, a.outcome, b.outcome FROM results a JOIN other.results b USING (number)
             WHERE NOT (a.outcome = 'masked' AND b.outcome = 'masked') AND (a.outcome, a.exit_status, a.signal) IS NOT (b.outcome, b.exit_status, b.signal) LIMIT 1",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()
        .map_err(failed())?;
    if let Some((number, a, b)) = differing {
        return Err(StoreError::Merge(format!(
            "experiment {number} is {a} in {} and {b} in {}, or ended otherwise: nothing was merged",
            first.folder().display(),
            other.folder().display()
        )));
    }
    database
        .execute_batch(
            "INSERT OR IGNORE INTO results SELECT * FROM other.results;
             INSERT OR IGNORE INTO validations SELECT * FROM other.validations;
             UPDATE state SET value = min(value, (SELECT value FROM other.state WHERE name = 'size')) WHERE name = 'size';
             DETACH other;",
        )
        .map_err(failed())
}

fn told(archive: &Archive) -> Result<Merged, StoreError> {
    let known = archive.known()?;
    Ok(Merged {
        experiments: known.get("run").copied().unwrap_or_default(),
        missing: archive.missing(TOLD)?,
        left: known.get("missing").copied().unwrap_or_default(),
    })
}

/// A new campaign in `folder` with the plan of another and none of its results: what a part of it is carried out in.
///
/// # Errors
/// If there is a campaign in `folder` already, or it cannot be written.
pub fn split_off(from: &Path, folder: &Path) -> Result<(), StoreError> {
    let target = file(folder);
    if target.exists() {
        return Err(StoreError::Exists(folder.to_owned()));
    }
    let archive = Archive::open(from)?;
    let partial = tempfile::Builder::new()
        .prefix(&format!("{FILE}.partial-"))
        .tempdir_in(folder)
        .map_err(StoreError::io("write to", folder))?;
    copy(&archive, partial.path())?;
    let database = open(partial.path(), true)?;
    let failed = || StoreError::database("write", &target);
    database
        .execute_batch("DELETE FROM results; DELETE FROM validations;")
        .map_err(failed())?;
    database
        .execute(
            "UPDATE state SET value = ?1 WHERE name = 'size'",
            params![archive.provenance().points],
        )
        .map_err(failed())?;
    database
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .map_err(failed())?;
    database.close().map_err(|(_, error)| failed()(error))?;
    std::fs::rename(file(partial.path()), &target).map_err(StoreError::io("write", &target))
}
