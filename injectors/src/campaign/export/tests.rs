//! What is written is read back with the crates' own readers.

use std::fs::File;
use std::path::Path;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::Field;

use super::*;
use crate::campaign::store::samples;

fn written(archive: &Archive, format: Format, path: &Path) -> File {
    export(archive, format, File::create(path).unwrap()).unwrap();
    File::open(path).unwrap()
}

#[test]
fn three_forms_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    samples::campaign(folder.path());
    let archive = Archive::open(folder.path()).unwrap();
    let path = |name: &str| folder.path().join(name);

    let file = written(&archive, Format::Csv, &path("csv"));
    let mut reader = ::csv::Reader::from_reader(file);
    let header = reader.headers().unwrap().clone();
    let rows: Vec<::csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), samples::OUTCOMES.len());

    let file = written(&archive, Format::Json, &path("json"));
    let objects: Vec<serde_json::Value> = serde_json::from_reader(file).unwrap();
    assert_eq!(objects.len(), rows.len());
    assert_eq!(objects[0]["record"]["reason"], "why");

    let file = written(&archive, Format::Parquet, &path("parquet"));
    let reader = SerializedFileReader::new(file).unwrap();
    let mut count = 0;
    for (number, row) in reader.get_row_iter(None).unwrap().enumerate() {
        let row = row.unwrap();
        count += 1;
        for (name, field) in row.get_column_iter() {
            let place = header.iter().position(|one| one == name).unwrap();
            let json = &objects[number][name.as_str()];
            let (as_csv, as_json) = match field {
                Field::Null => (String::new(), serde_json::Value::Null),
                Field::Long(value) => (value.to_string(), (*value).into()),
                Field::Double(value) => (value.to_string(), (*value).into()),
                Field::Str(value) => (value.clone(), value.clone().into()),
                other => panic!("{name}: {other:?}"),
            };
            assert_eq!(rows[number][place], as_csv, "{name} of {number}");
            assert_eq!(*json, as_json, "{name} of {number}");
        }
        let outcome = samples::OUTCOMES[number].map_or("", |outcome| outcome.name());
        let place = header.iter().position(|name| name == "outcome").unwrap();
        assert_eq!(&rows[number][place], outcome);
    }
    assert_eq!(count, rows.len());
}
