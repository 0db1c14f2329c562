//! Reading a campaign, while a process works on it or not: never more than a few hundred experiments are in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fits_tracer::engine::{Found, Moment};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::Digest;

use super::draft::{hash, hexadecimal};
use super::{Provenance, StoreError, file, open, provenance};
use crate::campaign::point::{Point, Verdict};
use crate::experiment::outcome::Outcome;
use crate::experiment::record::Record;

/// How many rows are read at once.
const CHUNK: usize = 256;

/// A campaign that is read.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    database: Connection,
    provenance: Provenance,
}

/// A point with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The point.
    pub point: Point,
    /// Its outcome, if it is known.
    pub outcome: Option<Outcome>,
    /// How that is known.
    pub known: Option<Known>,
    /// How the run began: `fresh`, `checkpoint`.
    pub start: Option<String>,
    /// The experiment: its own, or that of the leader of its class.
    pub record: Option<Record>,
}

/// How an outcome is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The experiment was carried out.
    Run,
    /// It follows from the golden run.
    Verdict(Verdict),
    /// The experiment with this number was carried out, which is of the same class.
    Class(u64),
    /// The fault-free run ends before its moment.
    NotReached,
}

impl Archive {
    /// Opens the campaign in `folder`.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let database = open(folder, false)?;
        let provenance = provenance(&database, &file(folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            database,
            provenance,
        })
    }

    /// Where it comes from.
    #[must_use]
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    /// Its folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many points count: all of the plan, or those before the one where the campaign had seen enough.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        let value: Option<u64> = self.state("size")?;
        Ok(value.unwrap_or(self.provenance.points))
    }

    /// For queries that are made elsewhere.
    pub(crate) fn database(&self) -> &Connection {
        &self.database
    }

    /// Something of the table `state`.
    pub(super) fn state<T: FromSql>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.database
            .query_row("SELECT value FROM state WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()
            .map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(rusqlite::Error) -> StoreError + use<> {
        StoreError::database("read", &file(&self.folder))
    }

    /// How many points have each outcome, however that is known; those without one are under `None`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn counts(&self) -> Result<BTreeMap<Option<Outcome>, u64>, StoreError> {
        Ok(self
            .weighted()?
            .into_iter()
            .map(|(outcome, (count, _))| (outcome, count))
            .collect())
    }

    /// The same with the sum of their weights.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn weighted(&self) -> Result<BTreeMap<Option<Outcome>, (u64, f64)>, StoreError> {
        let mut counts = BTreeMap::new();
        let mut statement = self
            .database
            .prepare("SELECT outcome, count(*), sum(weight) FROM experiments GROUP BY outcome")
            .map_err(self.failed())?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, Option<String>>(0)?,
                row.get(1)?,
                row.get::<_, f64>(2)?,
            ))
        });
        for row in rows.map_err(self.failed())? {
            let (name, count, weight) = row.map_err(self.failed())?;
            counts.insert(name.as_deref().and_then(outcome), (count, weight));
        }
        Ok(counts)
    }

    /// How many equally weighted experiments say as much as those whose outcomes are known and counted (Kish's effective sample size).
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn effective(&self) -> Result<f64, StoreError> {
        let query = "SELECT coalesce(sum(weight) * sum(weight) / sum(weight * weight), 0.0) FROM experiments
             WHERE outcome NOT IN ('not reached', 'invalid')";
        self.database
            .query_row(query, [], |row| row.get(0))
            .map_err(self.failed())
    }

    /// Whether all weights are 1.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn is_unweighted(&self) -> Result<bool, StoreError> {
        self.database
            .query_row(
                "SELECT NOT EXISTS (SELECT 1 FROM points WHERE weight <> 1.0)",
                [],
                |row| row.get(0),
            )
            .map_err(self.failed())
    }

    /// How many points there are of each way to know an outcome.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn known(&self) -> Result<BTreeMap<String, u64>, StoreError> {
        let mut statement = self
            .database
            .prepare("SELECT coalesce(known, 'missing'), count(*) FROM experiments GROUP BY known")
            .map_err(self.failed())?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// Numbers of points that have to be run and have not been, at most `limit`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn missing(&self, limit: usize) -> Result<Vec<u64>, StoreError> {
        let mut statement = self
            .database
            .prepare(
                "SELECT number FROM experiments WHERE outcome IS NULL AND leader IS NULL ORDER BY number LIMIT ?1",
            )
            .map_err(self.failed())?;
        let rows = statement.query_map([limit], |row| row.get(0));
        rows.and_then(Iterator::collect).map_err(self.failed())
    }

    /// How many points of a part have to be run and have not been.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn left(&self, part: super::Part) -> Result<u64, StoreError> {
        self.database
            .query_row(
                "SELECT count(*) FROM experiments WHERE outcome IS NULL AND leader IS NULL AND number % ?1 = ?2",
                params![part.of, part.remainder],
                |row| row.get(0),
            )
            .map_err(self.failed())
    }

    /// The points that count, in the order of the plan.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row, StoreError>> + '_ {
        let mut next = 0u64;
        let mut waiting = Vec::new().into_iter();
        std::iter::from_fn(move || {
            if let Some(row) = waiting.next() {
                return Some(Ok(row));
            }
            match self.chunk(next) {
                Ok(rows) => {
                    next = rows.last()?.point.number + 1;
                    waiting = rows.into_iter();
                    waiting.next().map(Ok)
                }
                Err(error) => Some(Err(error)),
            }
        })
    }

    fn chunk(&self, from: u64) -> Result<Vec<Row>, StoreError> {
        let mut statement = self
            .database
            .prepare_cached(
                "SELECT number, fault, thread, moment, pc, arrivals, weight, stratum, class, verdict,
                     outcome, known, leader, start, record
                 FROM experiments WHERE number >= ?1 ORDER BY number LIMIT ?2",
            )
            .map_err(self.failed())?;
        let rows = statement.query_map(params![from, CHUNK], |row| {
            let point = point(row)?;
            let leader: Option<u64> = row.get(12)?;
            let known = match row.get::<_, Option<String>>(11)?.as_deref() {
                Some("run") => Some(Known::Run),
                Some("class") => leader.map(Known::Class),
                Some("not reached") => Some(Known::NotReached),
                _ => point.verdict.map(Known::Verdict),
            };
            let text: Option<String> = row.get(14)?;
            Ok((
                Row {
                    point,
                    outcome: row
                        .get::<_, Option<String>>(10)?
                        .as_deref()
                        .and_then(outcome),
                    known,
                    start: row.get(13)?,
                    record: None,
                },
                text,
            ))
        });
        let mut all = Vec::new();
        for row in rows.map_err(self.failed())? {
            let (mut row, text) = row.map_err(self.failed())?;
            row.record = text
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| StoreError::Malformed {
                    path: file(&self.folder),
                    why: format!("record of experiment {}: {error}", row.point.number),
                })?;
            all.push(row);
        }
        Ok(all)
    }

    /// Whether the plan is the one that the provenance speaks of.
    ///
    /// # Errors
    /// If it is not, or cannot be read.
    pub fn check_plan(&self) -> Result<(), StoreError> {
        let (points, found) = plan_hash(&self.database).map_err(self.failed())?;
        if (points, &found) == (self.provenance.points, &self.provenance.plan_sha256) {
            return Ok(());
        }
        Err(StoreError::Malformed {
            path: file(&self.folder),
            why: "its plan was changed after it was made".to_owned(),
        })
    }
}

/// Number of points, and the hash over all of them.
fn plan_hash(database: &Connection) -> rusqlite::Result<(u64, String)> {
    let mut statement = database.prepare(
        "SELECT number, fault, thread, moment, pc, arrivals, weight, stratum, class, verdict FROM points ORDER BY number",
    )?;
    let mut rows = statement.query([])?;
    let mut plan = sha2::Sha256::new();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        hash(&mut plan, &point(row)?);
        count += 1;
    }
    Ok((count, hexadecimal(plan)))
}

/// The first ten columns: those of the plan.
pub(super) fn point(row: &rusqlite::Row) -> rusqlite::Result<Point> {
    let found = match row.get::<_, Option<u32>>(2)? {
        None => None,
        Some(thread) => Some(Found {
            moment: Moment {
                thread,
                index: row.get(3)?,
            },
            pc: address(&row.get::<_, String>(4)?),
            arrivals: row.get(5)?,
        }),
    };
    Ok(Point {
        number: row.get(0)?,
        fault: row.get(1)?,
        found,
        weight: row.get(6)?,
        stratum: row.get(7)?,
        class: row.get::<_, Option<i64>>(8)?.map(i64::cast_unsigned),
        verdict: row
            .get::<_, Option<String>>(9)?
            .as_deref()
            .and_then(verdict),
    })
}

fn address(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_default()
}

fn verdict(name: &str) -> Option<Verdict> {
    [Verdict::Overwritten, Verdict::Constant]
        .into_iter()
        .find(|verdict| super::draft::verdict_name(*verdict) == name)
}

pub(super) fn outcome(name: &str) -> Option<Outcome> {
    Outcome::ALL
        .into_iter()
        .find(|outcome| outcome.name() == name)
}
