//! The columns of an export: those of the view `experiments` but for the whole record.

use rusqlite::types::ValueRef;

use super::ExportError;
use crate::campaign::store::Archive;

/// What a column holds. Each may be absent in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Real,
    Text,
}

use Kind::{Integer, Real, Text};

/// Names in the view, in this order.
pub(super) const COLUMNS: [(&str, Kind); 37] = [
    ("number", Integer),
    ("fault", Text),
    ("weight", Real),
    ("stratum", Text),
    ("class", Integer),
    ("verdict", Text),
    ("outcome", Text),
    ("known", Text),
    ("run", Integer),
    ("thread", Integer),
    ("moment", Integer),
    ("pc", Text),
    ("arrivals", Integer),
    ("leader", Integer),
    ("kind", Text),
    ("place", Text),
    ("bit", Integer),
    ("bits", Integer),
    ("changed", Text),
    ("mask", Text),
    ("instruction", Text),
    ("opcode", Text),
    ("module", Text),
    ("symbol", Text),
    ("source", Text),
    ("reason", Text),
    ("start", Text),
    ("exit_status", Integer),
    ("signal", Integer),
    ("limit", Text),
    ("activated", Text),
    ("latency", Integer),
    ("cpu_seconds", Real),
    ("wall_seconds", Real),
    ("replay", Text),
    ("validated", Text),
    ("record", Text),
];

/// Place of the whole record, which is the last column.
pub(super) const RECORD: usize = COLUMNS.len() - 1;

/// A value of a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Absent,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// Hands over each row, one at a time. `record`: with the whole record, otherwise that is absent.
pub(super) fn each(
    archive: &Archive,
    record: bool,
    mut row: impl FnMut(&[Value]) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let names: Vec<String> = COLUMNS
        .iter()
        .map(|(name, _)| match *name {
            "record" if !record => "NULL".to_owned(),
            "validated" => {
                "(SELECT v.outcome FROM validations v WHERE v.number = experiments.number)"
                    .to_owned()
            }
            name => format!("\"{name}\""),
        })
        .collect();
    let query = format!(
        "SELECT {} FROM experiments ORDER BY number",
        names.join(", ")
    );
    let failed = |source| ExportError::Read {
        path: archive.folder().to_owned(),
        source,
    };
    let mut statement = archive.database().prepare(&query).map_err(failed)?;
    let mut rows = statement.query([]).map_err(failed)?;
    let mut values = Vec::with_capacity(COLUMNS.len());
    while let Some(found) = rows.next().map_err(failed)? {
        values.clear();
        for column in 0..COLUMNS.len() {
            values.push(match found.get_ref(column).map_err(failed)? {
                ValueRef::Null | ValueRef::Blob(_) => Value::Absent,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            });
        }
        row(&values)?;
    }
    Ok(())
}
