//! Which device answers at which port or address.

use std::ops::Range;

/// Ranges of addresses that do not overlap, each with who answers there, and the offset of its first byte.
#[derive(Clone, Debug)]
pub struct Map<T>(Vec<Entry<T>>);

#[derive(Clone, Debug)]
struct Entry<T> {
    range: Range<u64>,
    target: T,
    offset: u64,
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Map(Vec::new())
    }
}

impl<T: Copy> Map<T> {
    /// Adds a range whose first byte is register `offset` of `target`.
    ///
    /// # Errors
    /// When it is empty or overlaps another one, which is given.
    pub fn insert(
        &mut self,
        range: Range<u64>,
        target: T,
        offset: u64,
    ) -> Result<(), Option<Range<u64>>> {
        if range.is_empty() {
            return Err(None);
        }
        let at = self
            .0
            .partition_point(|entry| entry.range.end <= range.start);
        if let Some(next) = self.0.get(at).filter(|next| next.range.start < range.end) {
            return Err(Some(next.range.clone()));
        }
        self.0.insert(
            at,
            Entry {
                range,
                target,
                offset,
            },
        );
        Ok(())
    }

    /// Who has all of `length` bytes at `address`, and their offset.
    #[must_use]
    pub fn find(&self, address: u64, length: u64) -> Option<(T, u64)> {
        let at = self.0.partition_point(|entry| entry.range.end <= address);
        let entry = self.0.get(at)?;
        let inside = entry.range.start <= address && length <= entry.range.end - address;
        inside.then(|| (entry.target, entry.offset + (address - entry.range.start)))
    }

    /// All ranges of a target.
    pub fn ranges_of(&self, wanted: T) -> impl Iterator<Item = Range<u64>>
    where
        T: PartialEq,
    {
        self.0
            .iter()
            .filter(move |entry| entry.target == wanted)
            .map(|entry| entry.range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_accesses_are_found() {
        let mut map = Map::default();
        map.insert(0x3f8..0x400, 'a', 0).expect("free");
        map.insert(0x60..0x61, 'k', 0).expect("free");
        map.insert(0x64..0x65, 'k', 1).expect("free");
        assert_eq!(map.find(0x3fb, 1), Some(('a', 3)));
        assert_eq!(map.find(0x3ff, 2), None);
        assert_eq!(map.find(0x64, 1), Some(('k', 1)));
        assert_eq!(map.find(0x62, 1), None);
        assert_eq!(map.find(0x400, 1), None);
        assert_eq!(map.ranges_of('k').count(), 2);
    }

    #[test]
    fn ranges_do_not_overlap() {
        let mut map = Map::default();
        map.insert(0x10..0x20, 1, 0).expect("free");
        assert_eq!(map.insert(0x1f..0x30, 2, 0), Err(Some(0x10..0x20)));
        assert_eq!(map.insert(0x0..0x11, 2, 0), Err(Some(0x10..0x20)));
        assert_eq!(map.insert(0x5..0x5, 2, 0), Err(None));
        map.insert(0x0..0x10, 2, 0).expect("free");
    }
}
