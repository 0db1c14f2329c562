//! A checkpoint in a file: a mark, the length of the form, the form, the length of the vector registers, these, and the content of the pages.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use super::capture::{Checkpoint, Form};
use crate::ptrace::XState;

/// What such a file begins with.
const MARK: [u8; 8] = *b"fitschk1";

/// Writes a checkpoint.
///
/// # Errors
/// Those of the file system; what has been written then is of no use.
pub fn write(checkpoint: &Checkpoint, path: &Path) -> io::Result<()> {
    let form = postcard::to_stdvec(&checkpoint.form).map_err(io::Error::other)?;
    let mut head = MARK.to_vec();
    for part in [&form[..], checkpoint.xstate.bytes()] {
        head.extend((part.len() as u64).to_le_bytes());
        head.extend(part);
    }
    let mut file = File::create(path)?;
    file.write_all(&head)?;
    file.write_all(&checkpoint.content)
}

/// Reads a checkpoint.
///
/// # Errors
/// Those of the file system, and [`io::ErrorKind::InvalidData`] for what is none.
pub fn read(path: &Path) -> io::Result<Checkpoint> {
    let mut file = File::open(path)?;
    let mut mark = [0; MARK.len()];
    file.read_exact(&mut mark)?;
    if mark != MARK {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let form = part(&mut file)?;
    let xstate = part(&mut file)?;
    let form: Form = postcard::from_bytes(&form)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let wanted: u64 = form.pages.iter().map(|range| range.end - range.start).sum();
    let mut content = Vec::with_capacity(wanted as usize);
    file.read_to_end(&mut content)?;
    if content.len() as u64 != wanted {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Checkpoint {
        form,
        content,
        xstate: XState::from_bytes(xstate),
    })
}

fn part(file: &mut File) -> io::Result<Vec<u8>> {
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
