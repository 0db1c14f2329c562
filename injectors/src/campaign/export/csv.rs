//! As a table in text.

use std::io::Write;

use super::ExportError;
use super::columns::{COLUMNS, RECORD, Value, each};
use crate::campaign::store::Archive;

pub(super) fn write(archive: &Archive, to: impl Write) -> Result<(), ExportError> {
    let mut writer = csv::Writer::from_writer(to);
    let failed = |error: csv::Error| ExportError::Write(error.into());
    writer
        .write_record(COLUMNS[..RECORD].iter().map(|(name, _)| name))
        .map_err(failed)?;
    each(archive, false, |values| {
        let texts = values[..RECORD].iter().map(|value| match value {
            Value::Absent => String::new(),
            Value::Integer(number) => number.to_string(),
            Value::Real(number) => number.to_string(),
            Value::Text(text) => text.clone(),
        });
        writer.write_record(texts).map_err(failed)
    })?;
    writer.flush()?;
    Ok(())
}
