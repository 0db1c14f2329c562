//! Events as rows: what happens on a thread between the rows that its translated code writes.
//!
//! An inline event is a row of unit 0: the header, a `u32` length, that many bytes of a postcard-encoded
//! [`Event`], and zeros up to a multiple of [`ROW_ALIGN`]. An event that would not fit in [`ROW_LIMIT`]
//! bytes goes over the control socket as [`crate::protocol::Message::Long`] with a number; the row then has
//! the length [`LONG`] and a `u64` with that number.

use crate::protocol::Event;
use crate::template::{ROW_ALIGN, ROW_HEADER, ROW_LIMIT, row_header};

/// The length that marks the row of an event which was sent over the control socket.
pub const LONG: u32 = u32::MAX;

const PREFIX: usize = ROW_HEADER + 4;

/// What an inline event's row holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inline {
    /// The event itself.
    Event(Event),
    /// The number of the [`crate::protocol::Message::Long`] that has it.
    Long(u64),
}

/// The row of `event`; none if it would be too long.
pub fn encode(event: &Event) -> Option<Vec<u8>> {
    let encoded = postcard::to_stdvec(event).ok()?;
    row(encoded.len() as u32, &encoded)
}

/// The row that stands for the event sent under `number`.
pub fn encode_long(number: u64) -> Vec<u8> {
    row(LONG, &number.to_le_bytes()).expect("16 bytes are a row")
}

fn row(length: u32, content: &[u8]) -> Option<Vec<u8>> {
    let bytes = (PREFIX + content.len()).next_multiple_of(ROW_ALIGN);
    if bytes > ROW_LIMIT {
        return None;
    }
    let mut row = Vec::with_capacity(bytes);
    row.extend(row_header(0, bytes).to_le_bytes());
    row.extend(length.to_le_bytes());
    row.extend(content);
    row.resize(bytes, 0);
    Some(row)
}

/// The event in a row of unit 0; none if the row is damaged.
pub fn decode(row: &[u8]) -> Option<Inline> {
    let (length, content) = row.get(ROW_HEADER..)?.split_first_chunk::<4>()?;
    match u32::from_le_bytes(*length) {
        LONG => {
            let number = content.first_chunk::<8>()?;
            Some(Inline::Long(u64::from_le_bytes(*number)))
        }
        length => {
            let encoded = content.get(..length as usize)?;
            postcard::from_bytes(encoded).ok().map(Inline::Event)
        }
    }
}
