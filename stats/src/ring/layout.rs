//! Where everything lies in the memory file.
//!
//! ```text
//! [control area][slot 0: chunk, hole, chunk, hole, …][slot 1: …]…
//! ```

/// Chunks of a slot.
pub const CHUNKS: u32 = 4;

/// Bytes of the hole behind each chunk: more than the longest row, so that the far end of a row that
/// begins in a chunk lies in the chunk or in its hole.
pub const HOLE: u64 = 8192;

/// Bytes of the control area.
pub const CONTROL: u64 = 256 * 1024;

/// The most slots that the control area has room for.
pub const MAX_SLOTS: u32 = 1024;

const _: () = assert!(HOLE > crate::template::ROW_LIMIT as u64);

/// Number of slots and size of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How many threads can have a stream at the same time; at most [`MAX_SLOTS`].
    pub slots: u32,
    /// Bytes of a chunk: a multiple of the page size, and more than a row can have.
    pub chunk_bytes: u32,
}

impl Default for Layout {
    fn default() -> Self {
        Layout {
            slots: MAX_SLOTS,
            chunk_bytes: 1 << 20,
        }
    }
}

impl Layout {
    /// Whether such a ring can be: see the limits at the fields.
    pub fn is_valid(self) -> bool {
        let slots = (1..=MAX_SLOTS).contains(&self.slots);
        slots
            && self.chunk_bytes.is_multiple_of(4096)
            && (8192..=1 << 28).contains(&self.chunk_bytes)
    }

    /// Distance between the beginnings of two chunks of a slot.
    pub fn chunk_stride(self) -> u64 {
        u64::from(self.chunk_bytes) + HOLE
    }

    /// Bytes of a slot, holes included.
    pub fn slot_bytes(self) -> u64 {
        u64::from(CHUNKS) * self.chunk_stride()
    }

    /// Offset of a slot in the file; a multiple of the page size.
    pub fn slot_offset(self, slot: u32) -> u64 {
        CONTROL + u64::from(slot) * self.slot_bytes()
    }

    /// Offset of a chunk in the file; its hole begins [`Layout::chunk_bytes`] later.
    pub fn chunk_offset(self, slot: u32, chunk: u32) -> u64 {
        self.slot_offset(slot) + u64::from(chunk) * self.chunk_stride()
    }

    /// Bytes of the whole file.
    pub fn total_bytes(self) -> u64 {
        self.slot_offset(self.slots)
    }

    /// Offset in the file that a cursor points to.
    pub fn offset(self, cursor: Cursor) -> u64 {
        self.chunk_offset(cursor.slot, cursor.chunk) + u64::from(cursor.at)
    }

    /// The cursor at an offset in the file: the inverse of [`Layout::offset`]. The end of a chunk belongs to
    /// that chunk. None for the control area, the inside of a hole, and what lies behind the last slot.
    pub fn cursor(self, offset: u64) -> Option<Cursor> {
        let from_first = offset.checked_sub(CONTROL)?;
        let slot = u32::try_from(from_first / self.slot_bytes()).ok()?;
        let in_slot = from_first % self.slot_bytes();
        let chunk = (in_slot / self.chunk_stride()) as u32;
        let at = (in_slot % self.chunk_stride()) as u32;
        (slot < self.slots && at <= self.chunk_bytes).then_some(Cursor { slot, chunk, at })
    }
}

/// A place in a stream: where the next row goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The slot.
    pub slot: u32,
    /// The chunk of the slot that is being filled.
    pub chunk: u32,
    /// Bytes of the chunk that are filled.
    pub at: u32,
}
