//! Results as they come. One process, one connection that writes.

use std::path::{Path, PathBuf};

use fits_tracer::engine::Found;
use rusqlite::{Connection, params};

use super::archive::{outcome, point};
use super::columns::{end, opcode};
use super::{Archive, Hold, StoreError, file, open};
use crate::campaign::point::Point;
use crate::experiment::outcome::Outcome;
use crate::experiment::record::Record;

/// A part of a plan: the points whose number leaves `remainder` when it is divided by `of`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Below `of`.
    pub remainder: u64,
    /// At least 1.
    pub of: u64,
}

impl Part {
    /// Everything.
    pub const WHOLE: Self = Self {
        remainder: 0,
        of: 1,
    };
}

/// A campaign that this process works on, and no other.
#[derive(Debug)]
pub struct Work {
    path: PathBuf,
    database: Connection,
    _hold: Hold,
}

impl Work {
    /// Opens the campaign in `folder` to work on it.
    ///
    /// # Errors
    /// [`StoreError::Held`] if another process does; otherwise if it is no campaign, or its plan was changed.
    pub fn open(folder: &Path, holder: &str) -> Result<Self, StoreError> {
        // First, so that nothing is made in a folder that is no campaign.
        let archive = Archive::open(folder)?;
        let hold = Hold::take(folder, holder)?;
        archive.check_plan()?;
        Ok(Self {
            path: file(folder),
            database: open(folder, true)?,
            _hold: hold,
        })
    }

    fn failed(&self) -> impl FnOnce(rusqlite::Error) -> StoreError + use<> {
        StoreError::database("write", &self.path)
    }

    /// Points that have to be run and have not been, in the order of their moments: the next `limit` after `after`, with numbers below `below`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn pending(
        &self,
        part: Part,
        below: u64,
        after: Option<&Point>,
        limit: usize,
    ) -> Result<Vec<Point>, StoreError> {
        let after = after.and_then(|point| Some((point.found?.moment, point.number)));
        // Before all others.
        let (thread, index, number) = match after {
            None => (-1, -1, -1),
            Some((moment, number)) => (
                i64::from(moment.thread),
                moment.index.cast_signed(),
                number.cast_signed(),
            ),
        };
        let mut statement = self
            .database
            .prepare_cached(
                "SELECT number, fault, thread, moment, pc, arrivals, weight, stratum, class, verdict FROM points
                 WHERE verdict IS NULL AND leader IS NULL AND moment IS NOT NULL
                     AND (thread, moment, number) > (?1, ?2, ?3) AND number < ?4 AND number % ?5 = ?6
                     AND NOT EXISTS (SELECT 1 FROM results WHERE results.number = points.number)
                 ORDER BY thread, moment, number LIMIT ?7",
            )
            .map_err(self.failed())?;
        let rows = statement.query_map(
            params![thread, index, number, below, part.of, part.remainder, limit],
            point,
        );
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// The moments of all points that [`Work::pending`] gives.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn moments(&self, part: Part, below: u64) -> Result<Vec<Found>, StoreError> {
        let mut moments = Vec::new();
        let mut last = None;
        loop {
            let points = self.pending(part, below, last.as_ref(), 1024)?;
            moments.extend(points.iter().filter_map(|point| point.found));
            match points.into_iter().last() {
                Some(point) => last = Some(point),
                None => return Ok(moments),
            }
        }
    }

    /// How many points with numbers below `below` have to be run, and how many of those have been.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn progress(&self, part: Part, below: u64) -> Result<(u64, u64), StoreError> {
        self.database
            .query_row(
                "SELECT count(*), count(results.number) FROM points LEFT JOIN results USING (number)
                 WHERE verdict IS NULL AND leader IS NULL AND points.moment IS NOT NULL
                     AND number < ?1 AND number % ?2 = ?3",
                params![below, part.of, part.remainder],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .map_err(self.failed())
    }

    /// Keeps experiments, all or none. When this returns they are on the disk.
    ///
    /// # Errors
    /// If they cannot be written: the disk is full, say.
    pub fn keep(&mut self, ended: &[(Record, &'static str)]) -> Result<(), StoreError> {
        let failed = self.failed();
        let mut write = || {
            let transaction = self.database.transaction()?;
            for (record, start) in ended {
                insert(&transaction, record, start)?;
            }
            transaction.commit()
        };
        write().map_err(failed)
    }

    /// Lets go of invalid experiments, so that they are carried out again.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn forget_invalid(&mut self) -> Result<usize, StoreError> {
        self.database
            .execute("DELETE FROM results WHERE outcome = 'invalid'", [])
            .map_err(self.failed())
    }

    /// How many of the first `below` points have each outcome, in the order of [`Outcome::ALL`].
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn counts(&self, below: u64) -> Result<[u64; Outcome::ALL.len()], StoreError> {
        let mut statement = self
            .database
            .prepare_cached(
                "SELECT outcome, count(*) FROM experiments WHERE number < ?1 GROUP BY outcome",
            )
            .map_err(self.failed())?;
        let rows = statement.query_map([below], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get(1)?))
        });
        let mut counts = [0; Outcome::ALL.len()];
        for row in rows.map_err(self.failed())? {
            let (name, count): (_, u64) = row.map_err(self.failed())?;
            let found = name.as_deref().and_then(outcome);
            if let Some(place) = Outcome::ALL.iter().position(|one| Some(*one) == found) {
                counts[place] = count;
            }
        }
        Ok(counts)
    }

    /// Ends the campaign at so many points: those after them count no more.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn end_at(&mut self, size: u64) -> Result<(), StoreError> {
        self.database
            .execute("UPDATE state SET value = ?1 WHERE name = 'size'", [size])
            .map(drop)
            .map_err(self.failed())
    }

    /// The first points whose outcome is known without running them, spread evenly over the plan, that were not validated yet.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn to_validate(&self, limit: u64) -> Result<Vec<(Point, Outcome)>, StoreError> {
        // The same choice every time: numbers in the order of a fixed permutation.
        let mut statement = self
            .database
            .prepare(
                "SELECT number, fault, thread, moment, pc, arrivals, weight, stratum, class, verdict, outcome
                 FROM experiments
                 WHERE (verdict IS NOT NULL OR leader IS NOT NULL) AND outcome IS NOT NULL AND moment IS NOT NULL
                 ORDER BY (number * 2654435761) % 4294967291, number LIMIT ?1",
            )
            .map_err(self.failed())?;
        let rows = statement.query_map([limit], |row| {
            let name: String = row.get(10)?;
            Ok((point(row)?, outcome(&name).unwrap_or(Outcome::Invalid)))
        });
        let all: Vec<(Point, Outcome)> = rows.and_then(Iterator::collect).map_err(self.failed())?;
        let mut left = Vec::new();
        for one in all {
            let done: bool = self
                .database
                .query_row(
                    "SELECT EXISTS (SELECT 1 FROM validations WHERE number = ?1)",
                    [one.0.number],
                    |row| row.get(0),
                )
                .map_err(self.failed())?;
            if !done {
                left.push(one);
            }
        }
        Ok(left)
    }

    /// Keeps what came of a validation.
    ///
    /// # Errors
    /// If that cannot be written.
    pub fn keep_validation(
        &mut self,
        expected: Outcome,
        record: &Record,
    ) -> Result<(), StoreError> {
        let json = serde_json::to_string(record).unwrap_or_default();
        self.database
            .execute(
                "INSERT INTO validations VALUES (?1, ?2, ?3, ?4)",
                params![record.number, expected.name(), record.outcome.name(), json],
            )
            .map(drop)
            .map_err(self.failed())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // The file is whole without its log, unless somebody reads; nothing is lost if it is not.
        let _ = self
            .database
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

fn insert(database: &Connection, record: &Record, start: &str) -> rusqlite::Result<()> {
    let (exit, signal, limit) = end(record);
    let injection = record.injections.first();
    let instruction = injection.map(|one| one.instruction.as_str());
    let json = serde_json::to_string(record)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let mut statement = database.prepare_cached(
        "INSERT INTO results VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23)",
    )?;
    statement.execute(params![
        record.number,
        record.outcome.name(),
        record.reason,
        start,
        exit,
        signal,
        limit,
        record.activated,
        record.latency,
        injection.map(|one| &one.place),
        injection.map(|one| &one.mask),
        injection.map(|one| one.thread),
        injection.map(|one| one.index),
        injection.map(|one| &one.pc),
        instruction,
        instruction.map(opcode),
        injection.and_then(|one| one.site.module.as_ref()),
        injection.and_then(|one| one.site.symbol.as_ref()),
        injection.and_then(|one| one.site.source.as_ref()),
        record.cpu_seconds,
        record.wall_seconds,
        record.replay,
        json,
    ])?;
    Ok(())
}
