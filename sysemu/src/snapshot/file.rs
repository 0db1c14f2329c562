//! Snapshots in files: records one after the other, each with its tag, version, length and checksum.
//!
//! ```text
//! file    = "FITSVM" 0x1a 0x0a, format (u32), record…, record "end"
//! record  = tag length (u16), tag, version (u32), length (u64), CRC-32 of all before it in the record and of the bytes (u32), bytes
//! ```
//!
//! All numbers are little-endian. Memory lies in records called `ram`, one for each stretch that is not zero: address (u64), bytes. The bytes of `end`
//! are the number of records before it (u64).

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use super::component::{Record, Records};
use super::error::SnapshotError;
use super::{Description, Snapshot};
use crate::memory::RamImage;

const MAGIC: [u8; 8] = *b"FITSVM\x1a\n";
/// The form of the file as a whole; that of a record is its version.
pub(crate) const FORMAT: u32 = 1;
const RAM: &str = "ram";
const RAM_VERSION: u32 = 1;
const END: &str = "end";
/// Nothing that is not memory is longer.
const LONGEST: u64 = 1 << 30;
/// Bytes of memory in a record at most.
const STRETCH: usize = 1 << 20;

fn checksum(head: &[u8], address: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(address);
    hasher.update(bytes);
    hasher.finalize()
}

fn write_record(
    out: &mut impl Write,
    tag: &str,
    version: u32,
    address: &[u8],
    bytes: &[u8],
) -> io::Result<()> {
    let mut head = Vec::with_capacity(32);
    head.extend((tag.len() as u16).to_le_bytes());
    head.extend(tag.as_bytes());
    head.extend(version.to_le_bytes());
    head.extend(((address.len() + bytes.len()) as u64).to_le_bytes());
    let sum = checksum(&head, address, bytes);
    out.write_all(&head)?;
    out.write_all(&sum.to_le_bytes())?;
    out.write_all(address)?;
    out.write_all(bytes)
}

fn write_all(out: &mut impl Write, snapshot: &Snapshot) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    let mut count = 0_u64;
    for record in snapshot.records.iter() {
        write_record(out, &record.tag, record.version, &[], &record.bytes)?;
        count += 1;
    }
    snapshot
        .ram
        .visit_stretches(STRETCH, &mut |address, bytes| {
            count += 1;
            write_record(out, RAM, RAM_VERSION, &address.to_le_bytes(), bytes)
        })?;
    write_record(out, END, FORMAT, &[], &count.to_le_bytes())
}

/// Writes a snapshot; the file gets its name when it is whole.
///
/// # Errors
/// When that is not possible: a sentence.
pub fn write(path: &Path, snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let unfinished = folder.join(name);
    let result = File::create(&unfinished)
        .and_then(|file| {
            let mut out = BufWriter::with_capacity(1 << 20, file);
            write_all(&mut out, snapshot)?;
            out.into_inner()?.sync_all()
        })
        .and_then(|()| std::fs::rename(&unfinished, path));
    result.map_err(|source| {
        // What is left of it helps nobody; the first error is the one to tell.
        let _ = std::fs::remove_file(&unfinished);
        SnapshotError::file("write", path)(source)
    })
}

struct Reader<'a> {
    path: &'a Path,
    input: BufReader<File>,
    records: u64,
    last: String,
}

/// A record's head, read and not yet believed.
struct Head {
    tag: String,
    version: u32,
    length: u64,
    sum: u32,
    raw: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn open(path: &'a Path) -> Result<Self, SnapshotError> {
        let file = File::open(path).map_err(SnapshotError::file("read", path))?;
        let mut input = BufReader::with_capacity(1 << 20, file);
        let mut magic = [0; 12];
        match input.read_exact(&mut magic) {
            Ok(()) if magic[..8] == MAGIC => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                return Err(SnapshotError::file("read", path)(error));
            }
            _ => return Err(SnapshotError::Foreign(path.to_owned())),
        }
        let found = word(&magic[8..]) as u32;
        if found != FORMAT {
            return Err(SnapshotError::Format {
                path: path.to_owned(),
                found,
                known: FORMAT,
            });
        }
        Ok(Reader {
            path,
            input,
            records: 0,
            last: "its first record".into(),
        })
    }

    fn exact(
        &mut self,
        bytes: &mut [u8],
        place: impl FnOnce() -> String,
    ) -> Result<(), SnapshotError> {
        self.input.read_exact(bytes).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                return SnapshotError::Truncated {
                    path: self.path.to_owned(),
                    place: place(),
                };
            }
            SnapshotError::file("read", self.path)(error)
        })
    }

    fn damaged(&self, tag: &str) -> SnapshotError {
        SnapshotError::Checksum {
            path: self.path.to_owned(),
            tag: tag.to_owned(),
        }
    }

    fn head(&mut self) -> Result<Head, SnapshotError> {
        let last = self.last.clone();
        let place = || format!("after {last}");
        let mut raw = vec![0; 2];
        self.exact(&mut raw, place)?;
        let length = usize::from(u16::from_le_bytes([raw[0], raw[1]]));
        raw.resize(2 + length + 16, 0);
        let last = self.last.clone();
        self.exact(&mut raw[2..], || format!("after {last}"))?;
        let (tag, numbers) = raw[2..].split_at(length);
        let tag = String::from_utf8_lossy(tag).into_owned();
        let (version, bytes, sum) = (
            word(&numbers[..4]) as u32,
            word(&numbers[4..12]),
            word(&numbers[12..]) as u32,
        );
        raw.truncate(2 + length + 12);
        if bytes > LONGEST {
            return Err(self.damaged(&tag));
        }
        Ok(Head {
            tag,
            version,
            length: bytes,
            sum,
            raw,
        })
    }

    /// The next record; none at the end.
    fn next(&mut self) -> Result<Option<Record>, SnapshotError> {
        let head = self.head()?;
        let mut bytes = Vec::new();
        let tag = head.tag;
        // A length that is wrong must not make us ask for that much memory.
        let read = (&mut self.input)
            .take(head.length)
            .read_to_end(&mut bytes)
            .map_err(SnapshotError::file("read", self.path))?;
        if (read as u64) < head.length {
            return Err(SnapshotError::Truncated {
                path: self.path.to_owned(),
                place: format!("in record \"{tag}\""),
            });
        }
        if checksum(&head.raw, &[], &bytes) != head.sum {
            return Err(self.damaged(&tag));
        }
        if tag == END {
            if bytes != self.records.to_le_bytes() {
                return Err(self.damaged(&tag));
            }
            return Ok(None);
        }
        self.records += 1;
        self.last = format!("record \"{tag}\"");
        Ok(Some(Record {
            tag,
            version: head.version,
            bytes,
        }))
    }
}

fn word(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Reads a snapshot.
///
/// # Errors
/// When the file is missing, no snapshot, of another format, truncated, or damaged.
pub fn read(path: &Path) -> Result<Snapshot, SnapshotError> {
    let mut reader = Reader::open(path)?;
    let mut records = Records::default();
    let mut ram = None;
    while let Some(record) = reader.next()? {
        if record.tag == RAM {
            let image = match &mut ram {
                Some(image) => image,
                None => ram.insert(
                    RamImage::empty(super::description(&records)?.memory)
                        .map_err(SnapshotError::Host)?,
                ),
            };
            put_stretch(image, &record)?;
        } else if records.get(&record.tag).is_some() {
            return Err(reader.damaged(&record.tag));
        } else {
            records.push(record);
        }
    }
    let ram = match ram {
        Some(image) => image,
        None => {
            RamImage::empty(super::description(&records)?.memory).map_err(SnapshotError::Host)?
        }
    };
    Ok(Snapshot { records, ram })
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The machine.
    pub description: Description,
    /// Tag, version and bytes of each record but memory.
    pub records: Vec<(String, u32, u64)>,
    /// Bytes of memory in it.
    pub memory: u64,
}

/// Looks through a file and checks all of it.
///
/// # Errors
/// As [`read`].
pub fn inspect(path: &Path) -> Result<Contents, SnapshotError> {
    let mut reader = Reader::open(path)?;
    let mut records = Records::default();
    let mut memory = 0;
    while let Some(record) = reader.next()? {
        if record.tag == RAM {
            memory += record.bytes.len().saturating_sub(8) as u64;
        } else if records.get(&record.tag).is_none() {
            records.push(record);
        }
    }
    let sizes = records.iter().map(|record| {
        let bytes = record.bytes.len() as u64;
        (record.tag.clone(), record.version, bytes)
    });
    Ok(Contents {
        description: super::description(&records)?,
        records: sizes.collect(),
        memory,
    })
}

/// What machine a file is of, without a look at the rest of it.
///
/// # Errors
/// When it is no snapshot, or its beginning is damaged.
pub fn describe(path: &Path) -> Result<Description, SnapshotError> {
    let mut records = Records::default();
    if let Some(record) = Reader::open(path)?.next()? {
        records.push(record);
    }
    super::description(&records)
}

fn put_stretch(image: &mut RamImage, record: &Record) -> Result<(), SnapshotError> {
    if record.version != RAM_VERSION {
        return Err(SnapshotError::Version {
            tag: RAM.into(),
            found: record.version,
            known: RAM_VERSION,
        });
    }
    let (address, bytes) = record.bytes.split_at(record.bytes.len().min(8));
    image
        .put(word(address), bytes)
        .map_err(|reason| SnapshotError::Malformed {
            tag: RAM.into(),
            reason,
        })
}
