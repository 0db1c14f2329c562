//! A unit's memory accesses, arranged for fast counting.
//!
//! Accesses whose addresses differ only by a constant form a [`Group`]. Usually all of a group lie in one
//! page, and in the same page as at the unit's previous execution: then one comparison counts them all.

use super::memory::{Access, Pages};
use crate::model::{PAGE_SIZE, PageStatistics};
use crate::template::{MemoryAccess, Slot};

/// The memory accesses of a unit.
#[derive(Debug, Default)]
pub struct Accesses {
    /// In order of instructions, as the template has them.
    pub all: Box<[MemoryAccess]>,
    /// Those with variable addresses, in groups.
    pub groups: Box<[Group]>,
    /// Those whose address is always the same.
    pub fixed: Box<[Access]>,
    /// String instructions, and accesses larger than a page.
    pub others: Box<[MemoryAccess]>,
}

/// Accesses whose addresses differ only by a constant.
#[derive(Debug)]
pub struct Group {
    /// The address of `low`, before the fs base is added.
    formula: MemoryAccess,
    /// From the first byte to the last one.
    span: u64,
    /// What one execution adds to the page that has them all.
    whole: PageStatistics,
    /// Each of them, its address counted from the group's first byte.
    members: Box<[Access]>,
}

/// The page in which a group's accesses lay last, and how many executions are not yet counted there.
#[derive(Clone, Copy, Debug, Default)]
pub struct LastPage {
    number: u64,
    executions: u64,
}

impl Accesses {
    /// Arranges the accesses of a template.
    pub fn new(accesses: &[MemoryAccess]) -> Self {
        let (others, simple): (Vec<_>, Vec<_>) = accesses
            .iter()
            .filter(|access| access.bytes != 0)
            .copied()
            .partition(|access| access.repeat.is_some() || u64::from(access.bytes) > PAGE_SIZE);
        let (fixed, variable): (Vec<_>, Vec<_>) = simple
            .into_iter()
            .partition(|access| access.base.is_none() && access.index.is_none() && !access.fs);
        Accesses {
            all: accesses.into(),
            groups: groups(variable),
            fixed: fixed
                .iter()
                .map(|access| bytes_at(access, access.constant))
                .collect(),
            others: others.into(),
        }
    }
}

fn bytes_at(access: &MemoryAccess, address: u64) -> Access {
    Access {
        address,
        bytes: u64::from(access.bytes),
        read: access.read,
        write: access.write,
    }
}

fn groups(mut accesses: Vec<MemoryAccess>) -> Box<[Group]> {
    let terms = |access: &MemoryAccess| (access.base, access.index, access.scale, access.fs);
    let order = |slot: Option<Slot>| slot.map(|slot| (slot.offset, slot.bytes, slot.signed));
    accesses.sort_by_key(|access| {
        let (base, index, scale, fs) = terms(access);
        (order(base), order(index), scale, fs, access.constant as i64)
    });
    accesses
        .chunk_by({
            let mut low = None;
            move |previous, next| {
                let start = *low.get_or_insert(previous.constant);
                let end = next
                    .constant
                    .wrapping_sub(start)
                    .wrapping_add(next.bytes.into());
                let together = terms(previous) == terms(next)
                    && next.constant.wrapping_sub(start) <= PAGE_SIZE
                    && end <= PAGE_SIZE;
                if !together {
                    low = None;
                }
                together
            }
        })
        .map(Group::new)
        .collect()
}

impl Group {
    fn new(accesses: &[MemoryAccess]) -> Self {
        let low = accesses[0].constant;
        let member = |access: &MemoryAccess| bytes_at(access, access.constant.wrapping_sub(low));
        let members: Box<[Access]> = accesses.iter().map(member).collect();
        let mut whole = PageStatistics::default();
        for access in &members {
            whole.reads += u64::from(access.read);
            whole.bytes_read += access.bytes * u64::from(access.read);
            whole.writes += u64::from(access.write);
            whole.bytes_written += access.bytes * u64::from(access.write);
        }
        let end = members
            .iter()
            .map(|access| access.address + access.bytes)
            .max();
        Group {
            formula: accesses[0],
            span: end.unwrap_or(0),
            whole,
            members,
        }
    }

    /// Counts the accesses of the executions whose rows begin at `offsets`.
    #[inline(always)]
    pub fn count(
        &self,
        rows: &[u8],
        offsets: &[u32],
        fs: u64,
        last: &mut LastPage,
        pages: &mut Pages,
    ) {
        let constant = self
            .formula
            .constant
            .wrapping_add(if self.formula.fs { fs } else { 0 });
        let scale = u64::from(self.formula.scale);
        match (self.formula.base, self.formula.index) {
            (Some(base), None) if base.bytes == 8 => {
                let base = usize::from(base.offset);
                let address = |row: usize| word(rows, row + base).wrapping_add(constant);
                self.count_at(offsets, address, last, pages);
            }
            (Some(base), Some(index)) if base.bytes == 8 && index.bytes == 8 => {
                let (base, index) = (usize::from(base.offset), usize::from(index.offset));
                let address = |row: usize| {
                    let index = word(rows, row + index).wrapping_mul(scale);
                    word(rows, row + base)
                        .wrapping_add(index)
                        .wrapping_add(constant)
                };
                self.count_at(offsets, address, last, pages);
            }
            _ => {
                let formula = self.formula;
                self.count_at(
                    offsets,
                    |row| address(&formula, &rows[row..], fs),
                    last,
                    pages,
                );
            }
        }
    }

    #[inline(always)]
    fn count_at(
        &self,
        offsets: &[u32],
        address: impl Fn(usize) -> u64,
        last: &mut LastPage,
        pages: &mut Pages,
    ) {
        let room = PAGE_SIZE - self.span;
        let mut start = last.number * PAGE_SIZE;
        let mut same = 0;
        for &row in offsets {
            let low = address(row as usize);
            if low.wrapping_sub(start) <= room {
                same += 1;
            } else {
                last.executions += same;
                same = 0;
                self.moved(low, last, pages);
                start = last.number * PAGE_SIZE;
            }
        }
        last.executions += same;
    }

    /// Counts an execution whose accesses are not all in the last page.
    #[inline(never)]
    fn moved(&self, low: u64, last: &mut LastPage, pages: &mut Pages) {
        if low % PAGE_SIZE + self.span <= PAGE_SIZE {
            self.flush(last, pages);
            *last = LastPage {
                number: low / PAGE_SIZE,
                executions: 1,
            };
            return;
        }
        for member in &self.members {
            let address = low.wrapping_add(member.address);
            pages.access(Access { address, ..*member }, 1);
        }
    }

    /// Counts the executions that were put off.
    pub fn flush(&self, last: &mut LastPage, pages: &mut Pages) {
        let times = std::mem::take(&mut last.executions);
        if times != 0 {
            let page = pages.page(last.number);
            page.reads += times * self.whole.reads;
            page.writes += times * self.whole.writes;
            page.bytes_read += times * self.whole.bytes_read;
            page.bytes_written += times * self.whole.bytes_written;
        }
    }
}

/// The address of an access in one execution, whose row `row` begins with.
pub fn address(access: &MemoryAccess, row: &[u8], fs: u64) -> u64 {
    let term = |slot: Option<Slot>| slot.map_or(0, |slot| read_slot(slot, row));
    let index = term(access.index).wrapping_mul(access.scale.into());
    let fs = if access.fs { fs } else { 0 };
    term(access.base)
        .wrapping_add(index)
        .wrapping_add(access.constant)
        .wrapping_add(fs)
}

/// Counts one execution of a single access.
pub fn count_one(access: &MemoryAccess, row: &[u8], fs: u64, pages: &mut Pages) {
    let bytes = bytes_at(access, address(access, row, fs));
    match access.repeat {
        None => pages.access(bytes, 1),
        Some(_) => pages.accesses(bytes, iterations(access, row)),
    }
}

/// How many times an access was made in one execution.
pub fn iterations(access: &MemoryAccess, row: &[u8]) -> u64 {
    access.repeat.map_or(1, |(before, after)| {
        read_slot(before, row).wrapping_sub(read_slot(after, row))
    })
}

fn read_slot(slot: Slot, row: &[u8]) -> u64 {
    let at = usize::from(slot.offset);
    let mut bytes = [0; 8];
    let size = usize::from(slot.bytes);
    bytes[..size].copy_from_slice(&row[at..at + size]);
    let unused = 64 - 8 * u32::from(slot.bytes);
    let value = u64::from_le_bytes(bytes) << unused;
    if slot.signed {
        (value as i64 >> unused) as u64
    } else {
        value >> unused
    }
}

#[inline(always)]
fn word(rows: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(
        *rows[at..]
            .first_chunk()
            .expect("there are readable bytes behind the rows"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn slot(offset: u16, bytes: u8, signed: bool) -> Slot {
        Slot {
            offset,
            bytes,
            signed,
        }
    }

    fn some_access(random: &mut Random) -> MemoryAccess {
        let mut term = |at| match random.below(4) {
            0 => None,
            1 => Some(slot(at, 4, true)),
            _ => Some(slot(at, 8, false)),
        };
        let (base, index) = (term(8), term(16));
        MemoryAccess {
            instruction: 0,
            read: random.below(2) == 0,
            write: random.below(2) == 0,
            bytes: [1, 8, 64, 512, 5000][random.below(5) as usize],
            base,
            index,
            scale: 1 << random.below(4),
            constant: random.below(6000).wrapping_sub(3000),
            fs: random.below(4) == 0,
            repeat: (random.below(8) == 0).then_some((slot(24, 2, false), slot(26, 2, false))),
        }
    }

    #[test]
    fn groups_count_what_single_accesses_count() {
        let mut random = Random::new(3);
        for _ in 0..300 {
            let accesses: Vec<_> = (0..random.below(8))
                .map(|_| some_access(&mut random))
                .collect();
            let arranged = Accesses::new(&accesses);
            let mut rows = random.bytes(50 * 32 + 64);
            for row in rows[..50 * 32].chunks_exact_mut(32) {
                row[11..16].fill(0); // addresses near each other, mostly
                row[18..24].fill(0);
                (row[25], row[27]) = (1, 0); // more before than after
            }
            let offsets: Vec<u32> = (0..50).map(|i| i * 32).collect();
            let (mut fast, mut slow) = (Pages::default(), Pages::default());
            let mut last = vec![LastPage::default(); arranged.groups.len()];
            for (group, last) in arranged.groups.iter().zip(&mut last) {
                for offsets in offsets.chunks(7) {
                    group.count(&rows, offsets, 0x7000, last, &mut fast);
                }
                group.flush(last, &mut fast);
            }
            for access in &arranged.fixed {
                fast.access(*access, 50);
            }
            for &row in &offsets {
                for access in &arranged.others {
                    count_one(access, &rows[row as usize..], 0x7000, &mut fast);
                }
                for access in &accesses {
                    count_one(access, &rows[row as usize..], 0x7000, &mut slow);
                }
            }
            assert_eq!(fast.take(), slow.take(), "{accesses:?}");
        }
    }
}
