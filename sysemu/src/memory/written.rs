//! What devices have written to RAM. vm-memory tells it of every write that goes through its traits, whoever makes it (a device, a crate for
//! virtio queues, a loader), so that none can be forgotten; the processor asks, and forgets code that it has decoded there.

use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::bitmap::{Bitmap, BitmapSlice, NewBitmap, WithBitmapSlice};

/// A list of written stretches of one region of memory, shared by all who write.
#[derive(Clone, Debug, Default)]
pub struct Written {
    stretches: Arc<Mutex<Vec<(u64, u64)>>>,
    /// Where the part of the region that this value stands for begins.
    start: usize,
}

impl Written {
    /// Takes the list: start and length in bytes of each stretch, in the order of writing.
    #[must_use]
    pub fn take(&self) -> Vec<(u64, u64)> {
        std::mem::take(
            &mut *self
                .stretches
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

impl WithBitmapSlice<'_> for Written {
    type S = Written;
}

impl BitmapSlice for Written {}

impl Bitmap for Written {
    fn mark_dirty(&self, offset: usize, length: usize) {
        if length == 0 {
            return;
        }
        let (start, length) = ((self.start + offset) as u64, length as u64);
        let mut stretches = self
            .stretches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Much is written piece after piece.
        match stretches.last_mut() {
            Some((from, bytes)) if *from + *bytes == start => *bytes += length,
            _ => stretches.push((start, length)),
        }
    }

    fn dirty_at(&self, offset: usize) -> bool {
        let at = (self.start + offset) as u64;
        let stretches = self
            .stretches
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        stretches
            .iter()
            .any(|&(start, length)| at >= start && at - start < length)
    }

    fn slice_at(&self, offset: usize) -> Self {
        Written {
            stretches: Arc::clone(&self.stretches),
            start: self.start + offset,
        }
    }
}

impl NewBitmap for Written {
    fn with_len(_: usize) -> Self {
        Written::default()
    }
}
