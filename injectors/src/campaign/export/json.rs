//! As a list of objects.

use std::io::{BufWriter, Write};

use serde_json::{Map, Value as Json};

use super::ExportError;
use super::columns::{COLUMNS, Value, each};
use crate::campaign::store::Archive;

pub(super) fn write(archive: &Archive, to: impl Write) -> Result<(), ExportError> {
    let mut to = BufWriter::new(to);
    let mut separator = "[\n";
    each(archive, true, |values| {
        let mut object = Map::new();
        for ((name, _), value) in COLUMNS.iter().zip(values) {
            let value = match value {
                Value::Absent => Json::Null,
                Value::Integer(number) => (*number).into(),
                Value::Real(number) => (*number).into(),
                // It is JSON already.
                Value::Text(text) if *name == "record" => {
                    serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
                }
                Value::Text(text) => text.clone().into(),
            };
            object.insert((*name).to_owned(), value);
        }
        to.write_all(separator.as_bytes())?;
        separator = ",\n";
        serde_json::to_writer(&mut to, &object).map_err(std::io::Error::from)?;
        Ok(())
    })?;
    to.write_all(match separator {
        "[\n" => b"[]\n",
        _ => b"\n]\n",
    })?;
    to.flush()?;
    Ok(())
}
