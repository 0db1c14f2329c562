//! Forgetting: translations of guest code that has changed or gone, and the whole cache when it is full.

use std::ops::Range;

use super::{Cache, CacheError, Key, Known};

impl Cache {
    /// Whether anything was translated from these guest addresses.
    pub fn has_code_in(&self, range: Range<u64>) -> bool {
        !range.is_empty()
            && self
                .pages
                .range(range.start >> 12..=(range.end - 1) >> 12)
                .next()
                .is_some()
    }

    /// Forgets all units with code on the pages of `range`. Threads that are in one of them run it to its end.
    pub fn invalidate(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let pages = range.start >> 12..=(range.end - 1) >> 12;
        let pages: Vec<u64> = self.pages.range(pages).map(|(&page, _)| page).collect();
        for page in pages {
            for key in self.pages.remove(&page).unwrap_or_default() {
                self.forget(key);
            }
        }
    }

    fn forget(&mut self, key: Key) {
        // A key is registered on each of its pages; the first one that goes takes it along.
        let Some(Known::Unit(id)) = self.known.remove(&key) else {
            return;
        };
        self.unlink_incoming(id);
        self.break_up(id);
        self.forget_entries(key.0);
    }

    /// Forgets everything and begins anew in the same zones. No thread may be in the cache.
    ///
    /// # Errors
    /// When the stubs can't be placed.
    pub fn flush(&mut self) -> Result<(), CacheError> {
        self.clear();
        self.empty_zones()
    }

    pub(super) fn clear(&mut self) {
        self.units.iter_mut().for_each(|unit| *unit = None);
        self.known.clear();
        self.pages.clear();
    }
}
