//! Where the outputs of two runs differ.

use std::fs::File;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::changes::fill;
use super::{Kind, Output};

/// A difference in one output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The output.
    pub name: String,
    /// How it differs.
    #[serde(flatten)]
    pub what: What,
}

/// How an output differs from that of the reference run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "difference", rename_all = "lowercase")]
pub enum What {
    /// The reference has it, this run does not.
    Missing,
    /// This run has it, the reference does not.
    Extra,
    /// Both are files with other contents.
    Content {
        /// Where the first byte lies that differs (or that only one of them has).
        offset: u64,
        /// That byte in the reference, if it has one there.
        golden: Option<u8>,
        /// That byte in this run, if it has one there.
        faulty: Option<u8>,
        /// Size in the reference.
        golden_bytes: u64,
        /// Size in this run.
        faulty_bytes: u64,
    },
    /// They are of different kinds, have different permissions or lead elsewhere.
    Form,
}

/// All differences, in the order of names. `golden` says where the content of an output of the reference run is.
///
/// # Errors
/// When contents can't be read.
pub fn differences(
    golden: &[Output],
    faulty: &[Output],
    place: impl Fn(usize) -> std::path::PathBuf,
) -> io::Result<Vec<Difference>> {
    let mut found = Vec::new();
    let mut note = |name: &str, what| {
        let name = name.to_owned();
        found.push(Difference { name, what });
    };
    for (number, was) in golden.iter().enumerate() {
        match faulty.iter().find(|is| is.name == was.name) {
            None => note(&was.name, What::Missing),
            Some(is) if is.kind == was.kind => {}
            Some(is) => note(&was.name, compare(was, &place(number), is)?),
        }
    }
    for is in faulty {
        if !golden.iter().any(|was| was.name == is.name) {
            note(&is.name, What::Extra);
        }
    }
    Ok(found)
}

fn compare(was: &Output, place: &Path, is: &Output) -> io::Result<What> {
    match (&was.kind, &is.kind) {
        (
            Kind::File {
                bytes: golden_bytes,
                sha256: a,
                ..
            },
            Kind::File {
                bytes: faulty_bytes,
                sha256: b,
                ..
            },
        ) if a != b => {
            let first = first_difference(File::open(place)?, File::open(&is.place)?)?;
            let (offset, golden, faulty) = first.unwrap_or_default();
            Ok(What::Content {
                offset,
                golden,
                faulty,
                golden_bytes: *golden_bytes,
                faulty_bytes: *faulty_bytes,
            })
        }
        _ => Ok(What::Form),
    }
}

/// Offset of the first byte that differs, and what either file has there.
pub(super) type First = (u64, Option<u8>, Option<u8>);

pub(super) fn first_difference(a: File, b: File) -> io::Result<Option<First>> {
    let (mut ours, mut theirs) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let mut offset = 0;
    loop {
        let (a, b) = (fill(&a, &mut ours)?, fill(&b, &mut theirs)?);
        let common = a.min(b);
        let equal = ours[..common]
            .iter()
            .zip(&theirs[..common])
            .position(|(a, b)| a != b);
        let at = equal.unwrap_or(common);
        if at < a.max(b) {
            let byte = |bytes: &[u8], length| (at < length).then(|| bytes[at]);
            return Ok(Some((offset + at as u64, byte(&ours, a), byte(&theirs, b))));
        }
        if common == 0 {
            return Ok(None);
        }
        offset += common as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, content: &[u8]) -> Output {
        let place = folder.join(name);
        std::fs::write(&place, content).unwrap();
        let kind = super::super::file(&place, 0o600).unwrap();
        Output {
            name: "out".to_owned(),
            kind,
            place,
        }
    }

    #[test]
    fn the_first_differing_byte_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut long = vec![7; 100_000];
        let a = file(folder.path(), "a", &long);
        long[70_000] = 8;
        let b = file(folder.path(), "b", &long);
        let c = file(folder.path(), "c", &long[..69_999]);
        let found = |a: &Output, b: &Output| {
            let place = a.place.clone();
            let (a, b) = (std::slice::from_ref(a), std::slice::from_ref(b));
            differences(a, b, |_| place.clone()).unwrap()
        };
        assert_eq!(found(&a, &a), []);
        let content = |offset, golden, faulty, faulty_bytes| What::Content {
            offset,
            golden,
            faulty,
            golden_bytes: 100_000,
            faulty_bytes,
        };
        assert_eq!(
            found(&a, &b)[0].what,
            content(70_000, Some(7), Some(8), 100_000)
        );
        assert_eq!(
            found(&a, &c)[0].what,
            content(69_999, Some(7), None, 69_999)
        );
        assert_eq!(
            differences(&[], std::slice::from_ref(&a), |_| "".into()).unwrap()[0].what,
            What::Extra
        );
        assert_eq!(
            differences(&[a], &[], |_| "".into()).unwrap()[0].what,
            What::Missing
        );
    }
}
