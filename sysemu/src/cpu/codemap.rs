//! Which parts of RAM hold code that was decoded, so that writes to it are seen.

/// A bit for each 64 bytes of each page.
#[derive(Debug)]
pub(crate) struct CodeMap {
    chunks: Vec<u64>,
    /// Pages in which code was written since the block cache last looked.
    pub(crate) dirty: Vec<u32>,
}

impl CodeMap {
    pub(crate) fn new(ram_bytes: u64) -> Self {
        CodeMap {
            chunks: vec![0; (ram_bytes >> 12) as usize],
            dirty: Vec::new(),
        }
    }

    /// Whether the page has any code.
    pub(crate) fn has_code(&self, physical: u64) -> bool {
        self.chunks
            .get((physical >> 12) as usize)
            .is_some_and(|&chunks| chunks != 0)
    }

    /// Notes code; true where the page had none before.
    pub(crate) fn add(&mut self, physical: u64, length: u64) -> bool {
        let Some(chunks) = self.chunks.get_mut((physical >> 12) as usize) else {
            return false;
        };
        let was_clean = *chunks == 0;
        *chunks |= mask(physical, length);
        was_clean
    }

    /// To be called for each write to a page with code, within one page; true where code was hit.
    pub(crate) fn written(&mut self, physical: u64, length: u64) -> bool {
        let page = (physical >> 12) as usize;
        let hit = self
            .chunks
            .get(page)
            .is_some_and(|chunks| chunks & mask(physical, length) != 0);
        if hit {
            self.chunks[page] = 0;
            self.dirty.push(page as u32);
        }
        hit
    }

    /// Forgets all code.
    pub(crate) fn clear(&mut self) {
        self.chunks.fill(0);
        self.dirty.clear();
    }
}

/// The chunks that `[physical, physical + length)` touches, cut at the end of the page.
fn mask(physical: u64, length: u64) -> u64 {
    let first = (physical & 0xfff) >> 6;
    let last = ((physical & 0xfff) + length.max(1) - 1).min(0xfff) >> 6;
    (u64::MAX >> (63 - last)) & (u64::MAX << first)
}
