//! Frames on the control socket: a little-endian `u32` length and that many bytes of postcard.
//!
//! A frame of length 0 is a *nudge*: it says nothing, and wakes who sleeps on the socket.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest frame that is accepted.
pub const FRAME_LIMIT: usize = 1 << 28;

const LENGTH: usize = 4;

/// The frame that only wakes.
pub const NUDGE: [u8; LENGTH] = [0; LENGTH];

/// Appends the frame of `message`.
pub fn append(buffer: &mut Vec<u8>, message: &impl Serialize) -> io::Result<()> {
    let start = buffer.len();
    buffer.extend(NUDGE);
    let encoded = postcard::to_io(message, &mut *buffer).map(|_| ());
    let length = buffer.len() - start - LENGTH;
    if encoded.is_err() || length > FRAME_LIMIT {
        buffer.truncate(start);
        let message = format!("a message of more than {FRAME_LIMIT} bytes can't be sent");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    buffer[start..start + LENGTH].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(())
}

/// Takes frames out of a stream of bytes that arrive in pieces of any size.
#[derive(Debug, Default)]
pub struct FrameReader {
    bytes: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, nudges skipped.
    ///
    /// # Errors
    /// When the bytes are no frame of a `T`.
    pub fn take<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        loop {
            let rest = &self.bytes[self.start..];
            let Some((length, content)) = rest.split_first_chunk::<LENGTH>() else {
                return Ok(None);
            };
            let length = u32::from_le_bytes(*length) as usize;
            if length > FRAME_LIMIT {
                return Err(invalid(format!("a frame of {length} bytes")));
            }
            let Some(encoded) = content.get(..length) else {
                return Ok(None);
            };
            self.start += LENGTH + length;
            if length != 0 {
                let message = postcard::from_bytes(encoded);
                return message
                    .map(Some)
                    .map_err(|error| invalid(error.to_string()));
            }
        }
    }
}

fn invalid(what: String) -> io::Error {
    let message = format!("bytes on the control socket are no message: {what}");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_whatever_the_pieces() {
        let mut stream = Vec::new();
        for text in ["one", "", "three"] {
            append(&mut stream, &text.to_owned()).unwrap();
            stream.extend(NUDGE);
        }
        for piece in 1..9 {
            let mut reader = FrameReader::default();
            let mut texts = Vec::new();
            for bytes in stream.chunks(piece) {
                reader.push(bytes);
                while let Some(text) = reader.take::<String>().unwrap() {
                    texts.push(text);
                }
            }
            assert_eq!(texts, ["one", "", "three"], "in pieces of {piece}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let mut reader = FrameReader::default();
        reader.push(&u32::MAX.to_le_bytes());
        assert!(reader.take::<String>().is_err());
        let mut reader = FrameReader::default();
        reader.push(&[2, 0, 0, 0, 9, 9]);
        assert!(reader.take::<String>().is_err());
    }
}
