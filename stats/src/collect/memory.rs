//! Memory accesses by page.

use rustc_hash::FxHashMap;

use crate::model::{PAGE_SIZE, PageStatistics};

const CACHED: usize = 4096;

/// Accesses of each page, behind a small cache of pages that were touched lately.
#[derive(Debug)]
pub struct Pages {
    cache: Box<[(u64, PageStatistics)]>,
    evicted: FxHashMap<u64, PageStatistics>,
}

impl Default for Pages {
    fn default() -> Self {
        Pages {
            cache: vec![(0, PageStatistics::default()); CACHED].into(),
            evicted: FxHashMap::default(),
        }
    }
}

impl Pages {
    /// The counters of the page with this number.
    #[inline]
    pub fn page(&mut self, number: u64) -> &mut PageStatistics {
        let place = (number ^ (number >> 12)) as usize % CACHED;
        if self.cache[place].0 != number {
            self.replace(place, number);
        }
        &mut self.cache[place].1
    }

    fn replace(&mut self, place: usize, number: u64) {
        let (old, statistics) =
            std::mem::replace(&mut self.cache[place], (number, PageStatistics::default()));
        if statistics != PageStatistics::default() {
            self.evicted.entry(old).or_default().merge(statistics);
        }
    }

    /// Counts `times` accesses of the same bytes.
    pub fn access(&mut self, access: Access, times: u64) {
        let Access {
            address,
            bytes,
            read,
            write,
        } = access;
        let mut at = address;
        let mut rest = bytes;
        while rest > 0 {
            let here = rest.min(PAGE_SIZE - at % PAGE_SIZE);
            let page = self.page(at / PAGE_SIZE);
            page.reads += times * u64::from(read);
            page.bytes_read += times * here * u64::from(read);
            page.writes += times * u64::from(write);
            page.bytes_written += times * here * u64::from(write);
            at = at.wrapping_add(here);
            rest -= here;
        }
    }

    /// Counts accesses side by side, as a string instruction makes them: `count` of `access.bytes` each,
    /// upward from `access.address`.
    pub fn accesses(&mut self, access: Access, count: u64) {
        let mut rest = count;
        let mut next = access;
        while rest > 0 && access.bytes > 0 {
            // As many as lie wholly in this page go together; one that crosses its end goes alone.
            let whole = (PAGE_SIZE - next.address % PAGE_SIZE) / access.bytes;
            let now = whole.clamp(1, rest);
            if whole == 0 {
                self.access(next, 1);
            } else {
                let page = self.page(next.address / PAGE_SIZE);
                page.reads += now * u64::from(access.read);
                page.bytes_read += now * access.bytes * u64::from(access.read);
                page.writes += now * u64::from(access.write);
                page.bytes_written += now * access.bytes * u64::from(access.write);
            }
            next.address = next.address.wrapping_add(now * access.bytes);
            rest -= now;
        }
    }

    /// All pages, by address.
    pub fn take(&mut self) -> FxHashMap<u64, PageStatistics> {
        for place in 0..CACHED {
            self.replace(place, 0);
        }
        let pages = std::mem::take(&mut self.evicted);
        pages
            .into_iter()
            .map(|(number, page)| (number * PAGE_SIZE, page))
            .collect()
    }
}

/// Bytes that were accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The first.
    pub address: u64,
    /// How many.
    pub bytes: u64,
    /// They were read.
    pub read: bool,
    /// They were written.
    pub write: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(address: u64, bytes: u64) -> Access {
        Access {
            address,
            bytes,
            read: true,
            write: false,
        }
    }

    #[test]
    fn an_access_across_pages_counts_for_each() {
        let mut pages = Pages::default();
        pages.access(read(4090, 8), 3);
        let all = pages.take();
        assert_eq!((all[&0].reads, all[&0].bytes_read), (3, 18));
        assert_eq!((all[&4096].reads, all[&4096].bytes_read), (3, 6));
        assert_eq!(all[&0].writes, 0);
    }

    #[test]
    fn side_by_side_is_as_one_by_one() {
        for (address, bytes, count) in [
            (4096, 1, 10_000),
            (4093, 8, 1030),
            (8191, 2, 1),
            (5, 3, 4000),
        ] {
            let (mut together, mut alone) = (Pages::default(), Pages::default());
            let access = Access {
                write: true,
                ..read(address, bytes)
            };
            together.accesses(access, count);
            for i in 0..count {
                alone.access(
                    Access {
                        address: address + i * bytes,
                        ..access
                    },
                    1,
                );
            }
            assert_eq!(together.take(), alone.take());
        }
    }

    #[test]
    fn pages_that_share_a_place_in_the_cache_are_kept_apart() {
        let mut pages = Pages::default();
        for round in 0..3 {
            for number in [1, 1 + (1 << 24), 4097 ^ 1] {
                pages.page(number).writes += round;
            }
        }
        let all = pages.take();
        assert!(all.values().all(|page| page.writes == 3));
        assert_eq!(all.len(), 3);
    }
}
