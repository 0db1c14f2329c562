//! The store of a campaign: one SQLite database with its plan, its results, and where they come from. `docs/campaigns.md` has the schema.
//!
//! - `schema.sql`: tables and the view `experiments`. `columns`: what is kept beside a record so that it can be filtered by.
//! - `provenance`: what a campaign is, and whether two are the same. `hold`: one process at a time.
//! - `draft`: a new campaign, which gets its name when its plan is complete. `work`: results as they come.
//! - `archive`: reading, with a process at work or without. `merge`: parts of one plan put together.
//! - `error`: why any of that cannot be done.

mod archive;
mod columns;
mod draft;
mod error;
mod hold;
mod merge;
mod provenance;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

pub use archive::{Archive, Known, Row};
pub(crate) use columns::opcode;
pub use draft::Draft;
pub use error::StoreError;
pub use hold::{Hold, LOCK};
pub use merge::{Merged, gather, merge, split_off};
pub use provenance::{HashedFile, Host, Provenance};
pub use work::{Part, Work};

/// Version of the schema; counts up when a reader has to be changed for it.
pub const SCHEMA: i64 = 1;

/// Name of the database in the folder of a campaign.
pub const FILE: &str = "campaign.db";

/// `fits` in ASCII: says in the database's header whose it is.
const APPLICATION: i64 = 0x6669_7473;

const TABLES: &str = include_str!("schema.sql");

/// The database of the campaign in `folder`.
fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// Opens an existing database, and looks whether it is one of ours.
fn open(folder: &Path, write: bool) -> Result<Connection, StoreError> {
    let path = file(folder);
    if !path.is_file() {
        return Err(StoreError::NotACampaign(folder.to_owned()));
    }
    let access = if write {
        OpenFlags::SQLITE_OPEN_READ_WRITE
    } else {
        OpenFlags::SQLITE_OPEN_READ_ONLY
    };
    let failed = || StoreError::database("open", &path);
    let database = Connection::open_with_flags(&path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(failed())?;
    database
        .busy_timeout(std::time::Duration::from_secs(10))
        .map_err(failed())?;
    let number = |name: &str| {
        database
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
            .map_err(|error| match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                    StoreError::Malformed {
                        path: path.clone(),
                        why: error.to_string(),
                    }
                }
                _ => failed()(error),
            })
    };
    if number("application_id")? != APPLICATION {
        return Err(StoreError::Malformed {
            path: path.clone(),
            why: "it was written by something else than fits".to_owned(),
        });
    }
    match number("user_version")? {
        SCHEMA => {}
        found => return Err(StoreError::Schema { path, found }),
    }
    if write {
        durable(&database).map_err(failed())?;
    }
    Ok(database)
}

/// What is committed survives a power failure: with the write-ahead log, `FULL` waits for the disk at each commit, where `NORMAL` would lose the last
/// ones. Readers never wait for the writer.
fn durable(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")
}

/// The provenance in an open database.
fn provenance(database: &Connection, path: &Path) -> Result<Provenance, StoreError> {
    let malformed = |why: String| StoreError::Malformed {
        path: path.to_owned(),
        why,
    };
    let mut statement = database
        .prepare("SELECT name, value FROM provenance")
        .map_err(StoreError::database("read", path))?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    });
    let mut object = serde_json::Map::new();
    for row in rows.map_err(StoreError::database("read", path))? {
        let (name, value) = row.map_err(StoreError::database("read", path))?;
        let value = serde_json::from_str(&value).map_err(|error| malformed(error.to_string()))?;
        object.insert(name, value);
    }
    serde_json::from_value(object.into()).map_err(|error| malformed(error.to_string()))
}
