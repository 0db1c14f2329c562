//! A new campaign: a database under another name, which gets its own when the plan is complete. So there is never half a plan.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::columns::FaultColumns;
use super::{APPLICATION, FILE, Provenance, SCHEMA, StoreError, TABLES, durable, file};
use crate::campaign::point::{Point, Verdict};

/// See the module. Dropped before [`Draft::finish`], it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    folder: PathBuf,
    partial: tempfile::TempPath,
    database: Connection,
    points: u64,
    plan: Sha256,
}

impl Draft {
    /// Begins one in `folder`, which exists.
    ///
    /// # Errors
    /// If there is a campaign already, or the folder cannot be written to.
    pub fn begin(folder: &Path) -> Result<Self, StoreError> {
        if file(folder).exists() {
            return Err(StoreError::Exists(folder.to_owned()));
        }
        let partial = tempfile::Builder::new()
            .prefix(&format!("{FILE}.partial-"))
            .tempfile_in(folder)
            .map_err(StoreError::io("write to", folder))?
            .into_temp_path();
        let database = prepare(&partial).map_err(StoreError::database("write", &partial))?;
        Ok(Self {
            folder: folder.to_owned(),
            partial,
            database,
            points: 0,
            plan: Sha256::new(),
        })
    }

    /// Adds points, in the order of their numbers, without a gap.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn add(&mut self, points: &[Point]) -> Result<(), StoreError> {
        for point in points {
            if point.number != self.points {
                return Err(StoreError::Malformed {
                    path: self.partial.to_path_buf(),
                    why: format!("point {} comes in place of {}", point.number, self.points),
                });
            }
            self.points += 1;
            insert(&self.database, point).map_err(StoreError::database("write", &self.partial))?;
            hash(&mut self.plan, point);
        }
        Ok(())
    }

    /// Completes it: the database gets its name. Fills in the number of points and the hash of the plan.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self, provenance: &mut Provenance) -> Result<(), StoreError> {
        provenance.points = self.points;
        provenance.plan_sha256 = hexadecimal(self.plan);
        let path = file(&self.folder);
        complete(&self.database, provenance)
            .and_then(|()| self.database.close().map_err(|(_, error)| error))
            .map_err(StoreError::database("write", &self.partial))?;
        let failed = || StoreError::io("write", &path);
        let written = std::fs::File::open(&self.partial).map_err(failed())?;
        written.sync_all().map_err(failed())?;
        self.partial
            .persist_noclobber(&path)
            .map_err(|error| match error.error.kind() {
                std::io::ErrorKind::AlreadyExists => StoreError::Exists(self.folder.clone()),
                _ => failed()(error.error),
            })?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        std::fs::set_permissions(&path, mode).map_err(failed())?;
        // The new name is there after a power failure too.
        std::fs::File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed())
    }
}

/// An empty database, not durable yet: it counts only once it is complete.
fn prepare(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "application_id", APPLICATION)?;
    database.pragma_update(None, "user_version", SCHEMA)?;
    database.pragma_update(None, "journal_mode", "OFF")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.execute_batch(TABLES)?;
    database.execute_batch("BEGIN")?;
    Ok(database)
}

fn insert(database: &Connection, point: &Point) -> rusqlite::Result<()> {
    let found = point.found;
    let columns = FaultColumns::of(&point.fault);
    let mut statement = database.prepare_cached(
        "INSERT INTO points VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, NULL, ?11, ?12, ?13, ?14)",
    )?;
    statement.execute(params![
        point.number,
        point.fault,
        found.map(|found| found.moment.thread),
        found.map(|found| found.moment.index),
        found.map(|found| format!("{:#x}", found.pc)),
        found.map(|found| found.arrivals),
        point.weight,
        point.stratum,
        // SQLite's numbers have a sign.
        point.class.map(u64::cast_signed),
        point.verdict.map(verdict_name),
        columns.kind,
        columns.place,
        columns.bit,
        columns.bits,
    ])?;
    Ok(())
}

/// Names the leader of each class, and writes what the campaign is.
fn complete(database: &Connection, provenance: &Provenance) -> rusqlite::Result<()> {
    database.execute_batch(
        "CREATE INDEX points_by_class ON points (class, number) WHERE class IS NOT NULL;
         UPDATE points SET leader = (
             SELECT min(other.number) FROM points other
             WHERE other.class = points.class AND other.verdict IS NULL AND other.moment IS NOT NULL)
         WHERE class IS NOT NULL AND verdict IS NULL AND moment IS NOT NULL;
         UPDATE points SET leader = NULL WHERE leader = number;",
    )?;
    let value = serde_json::to_value(provenance).unwrap_or_default();
    for (name, value) in value.as_object().into_iter().flatten() {
        database.execute(
            "INSERT INTO provenance VALUES (?1, ?2)",
            params![name, value.to_string()],
        )?;
    }
    database.execute("INSERT INTO state VALUES ('size', ?1)", [provenance.points])?;
    database.execute_batch("COMMIT")?;
    durable(database)?;
    // The file is whole without its log.
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Adds a point to the hash of a plan.
pub(super) fn hash(plan: &mut Sha256, point: &Point) {
    // Writing numbers and text as JSON does not fail.
    plan.update(serde_json::to_vec(point).unwrap_or_default());
    plan.update(b"\n");
}

pub(super) fn hexadecimal(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

pub(super) fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Overwritten => "overwritten",
        Verdict::Constant => "constant",
    }
}
