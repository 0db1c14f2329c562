//! In columns, as data frames read them. A group of rows at a time is in memory.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::ExportError;
use super::columns::{COLUMNS, Kind, RECORD, Value, each};
use crate::campaign::store::Archive;

/// How many rows a group has.
const GROUP: usize = 10_000;

pub(super) fn write(archive: &Archive, to: impl Write + Send) -> Result<(), ExportError> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let mut writer = SerializedFileWriter::new(to, Arc::new(schema()?), Arc::new(properties))?;
    let mut group: Vec<Vec<Value>> = Vec::new();
    each(archive, false, |values| {
        group.push(values[..RECORD].to_vec());
        if group.len() == GROUP {
            flush(&mut writer, &mut group)?;
        }
        Ok(())
    })?;
    flush(&mut writer, &mut group)?;
    writer.close()?;
    Ok(())
}

fn schema() -> Result<Type, ExportError> {
    let mut fields = Vec::new();
    for (name, kind) in &COLUMNS[..RECORD] {
        let physical = match kind {
            Kind::Integer => PhysicalType::INT64,
            Kind::Real => PhysicalType::DOUBLE,
            Kind::Text => PhysicalType::BYTE_ARRAY,
        };
        let logical = (*kind == Kind::Text).then_some(LogicalType::String);
        let field = Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()?;
        fields.push(Arc::new(field));
    }
    Ok(Type::group_type_builder("experiments")
        .with_fields(fields)
        .build()?)
}

fn flush<W: Write + Send>(
    writer: &mut SerializedFileWriter<W>,
    group: &mut Vec<Vec<Value>>,
) -> Result<(), ExportError> {
    if group.is_empty() {
        return Ok(());
    }
    let mut rows = writer.next_row_group()?;
    for (column, (_, kind)) in COLUMNS[..RECORD].iter().enumerate() {
        write_column(&mut rows, *kind, group.iter().map(|row| &row[column]))?;
    }
    rows.close()?;
    group.clear();
    Ok(())
}

fn write_column<'a, W: Write + Send>(
    rows: &mut SerializedRowGroupWriter<W>,
    kind: Kind,
    values: impl Iterator<Item = &'a Value> + Clone,
) -> Result<(), ExportError> {
    // 1 where there is a value.
    let present: Vec<i16> = values
        .clone()
        .map(|value| i16::from(*value != Value::Absent))
        .collect();
    let Some(mut column) = rows.next_column()? else {
        return Ok(());
    };
    match kind {
        Kind::Integer => {
            let numbers: Vec<i64> = values
                .filter_map(|value| match value {
                    Value::Integer(number) => Some(*number),
                    _ => None,
                })
                .collect();
            column
                .typed::<Int64Type>()
                .write_batch(&numbers, Some(&present), None)?;
        }
        Kind::Real => {
            let numbers: Vec<f64> = values
                .filter_map(|value| match value {
                    Value::Real(number) => Some(*number),
                    Value::Integer(number) => Some(*number as f64),
                    _ => None,
                })
                .collect();
            column
                .typed::<DoubleType>()
                .write_batch(&numbers, Some(&present), None)?;
        }
        Kind::Text => {
            let texts: Vec<ByteArray> = values
                .filter_map(|value| match value {
                    Value::Text(text) => Some(ByteArray::from(text.as_str())),
                    _ => None,
                })
                .collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, Some(&present), None)?;
        }
    }
    column.close()?;
    Ok(())
}
