//! Counting ones at each bit position of a unit's rows.
//!
//! The counts are kept *bit-sliced*: the sum of level k of a lane (64 bytes of the row) holds bit k of 512 counters.
//! Sixteen rows are added at a time by a tree of carry-save adders (Harley and Seal), which costs two vector
//! operations for 64 bytes of a row. What is carried out of a level waits there until a second carry comes, and then
//! both are added at once; so a row costs the upper levels next to nothing. Levels grow with the logarithm of the
//! number of rows, so that counters of rarely executed units stay small.

use super::kernels::{Block, Lane};

/// Rows that are added together.
pub const BATCH: usize = 16;

/// Bytes of a lane.
pub const LANE: usize = 64;

/// One level of a lane's counters.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    sum: Block,
    /// Bits of the same weight that are not yet added; valid when [`Planes::waiting`] says so.
    waiting: Block,
}

/// The counters of one unit.
#[derive(Clone, Debug, Default)]
pub struct Planes {
    /// For each lane, `height` levels.
    levels: Vec<Level>,
    height: u32,
    lanes: u32,
    rows: u64,
    /// Bit k: something waits at level k of each lane. What enters a level goes where binary addition would carry
    /// it, so this is the sum of the weights of all that entered.
    waiting: u64,
}

impl Planes {
    /// Counters for rows of so many bytes; without storage until the first row.
    pub fn new(row_bytes: usize) -> Self {
        Planes {
            lanes: row_bytes.div_ceil(LANE) as u32,
            ..Planes::default()
        }
    }

    /// Number of rows counted.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// For each bit of the lanes, how many rows had it set.
    pub fn ones(&self) -> Vec<u64> {
        let mut ones = vec![0; self.lanes as usize * LANE * 8];
        let lanes = self.levels.chunks_exact((self.height as usize).max(1));
        for (ones, levels) in ones.chunks_exact_mut(LANE * 8).zip(lanes) {
            for (weight, level) in levels.iter().enumerate() {
                add_bits(ones, &level.sum, weight);
                if self.waiting >> weight & 1 != 0 {
                    add_bits(ones, &level.waiting, weight);
                }
            }
        }
        ones
    }

    /// Adds the rows that begin at the given offsets, at most [`BATCH`] of them. Behind the last row, `rows`
    /// must have [`LANE`] bytes more.
    #[inline(always)]
    pub fn add<L: Lane>(&mut self, rows: &[u8], offsets: &[u32]) {
        self.rows += offsets.len() as u64;
        if self.rows >> self.height != 0 {
            self.grow();
        }
        let waiting = self.waiting;
        let height = self.height as usize;
        for (lane, levels) in self.levels.chunks_exact_mut(height).enumerate() {
            let row = |offset: u32| load::<L>(rows, offset as usize + lane * LANE);
            self.waiting = match <&[u32; BATCH]>::try_from(offsets) {
                Ok(offsets) => add_sixteen::<L>(levels, waiting, |i| row(offsets[i])),
                Err(_) => add_few::<L>(levels, waiting, offsets, row),
            };
        }
    }

    #[cold]
    fn grow(&mut self) {
        // A level for each binary digit of the number of rows, and seldom one more than that: most units are executed a few times.
        let digits = u64::BITS - self.rows.leading_zeros();
        let height = match digits {
            1 => 1,
            more => more.next_multiple_of(2),
        };
        let mut levels = vec![Level::default(); (height * self.lanes) as usize];
        if self.height != 0 {
            let old = self.levels.chunks_exact(self.height as usize);
            for (new, old) in levels.chunks_exact_mut(height as usize).zip(old) {
                new[..old.len()].copy_from_slice(old);
            }
        }
        self.levels = levels;
        self.height = height;
    }
}

fn add_bits(ones: &mut [u64], block: &Block, weight: usize) {
    for (ones, word) in ones.chunks_exact_mut(32).zip(block.0) {
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += u64::from(word >> bit & 1) << weight;
        }
    }
}

#[inline(always)]
fn load<L: Lane>(rows: &[u8], at: usize) -> L {
    L::load(
        rows[at..]
            .first_chunk()
            .expect("there are readable bytes behind the rows"),
    )
}

/// Lets `carry`, one bit at each position, enter a level; what waits afterwards.
#[inline(always)]
fn enter<L: Lane>(levels: &mut [Level], waiting: u64, level: u32, mut carry: L) -> u64 {
    let full = (waiting >> level).trailing_ones() as usize;
    let (add, wait) = levels[level as usize..].split_at_mut(full);
    for level in add {
        let (sum, next) = L::get(&level.sum).add(L::get(&level.waiting), carry);
        sum.put(&mut level.sum);
        carry = next;
    }
    carry.put(&mut wait[0].waiting);
    waiting + (1 << level)
}

#[inline(always)]
fn add_few<L: Lane>(
    levels: &mut [Level],
    mut waiting: u64,
    offsets: &[u32],
    row: impl Fn(u32) -> L,
) -> u64 {
    let mut rest = offsets;
    if let Some((eight, others)) = offsets.split_first_chunk::<8>() {
        let carry = add_eight(levels, |i| row(eight[i]));
        waiting = enter(levels, waiting, 3, carry);
        rest = others;
    }
    for &offset in rest {
        waiting = enter(levels, waiting, 0, row(offset));
    }
    waiting
}

#[inline(always)]
fn add_sixteen<L: Lane>(levels: &mut [Level], waiting: u64, row: impl Fn(usize) -> L) -> u64 {
    let a = add_eight(levels, &row);
    let b = add_eight(levels, |i| row(i + 8));
    let (eights, carry) = L::get(&levels[3].sum).add(a, b);
    eights.put(&mut levels[3].sum);
    enter(levels, waiting, 4, carry)
}

/// Adds eight rows to the sums of the lowest three levels; what is carried weighs eight.
#[inline(always)]
fn add_eight<L: Lane>(levels: &mut [Level], row: impl Fn(usize) -> L) -> L {
    let (ones, twos, fours) = (
        L::get(&levels[0].sum),
        L::get(&levels[1].sum),
        L::get(&levels[2].sum),
    );
    let (ones, a) = ones.add(row(0), row(1));
    let (ones, b) = ones.add(row(2), row(3));
    let (twos, c) = twos.add(a, b);
    let (ones, a) = ones.add(row(4), row(5));
    let (ones, b) = ones.add(row(6), row(7));
    let (twos, d) = twos.add(a, b);
    let (fours, carry) = fours.add(c, d);
    ones.put(&mut levels[0].sum);
    twos.put(&mut levels[1].sum);
    fours.put(&mut levels[2].sum);
    carry
}

#[cfg(test)]
mod tests {
    use super::super::kernels::{Isa, Job};
    use super::*;
    use crate::testing::Random;

    struct Add<'a>(&'a mut Planes, &'a [u8], &'a [u32]);

    impl Job for Add<'_> {
        type Output = ();
        #[inline(always)]
        fn run<L: Lane>(self) {
            self.0.add::<L>(self.1, self.2);
        }
    }

    #[test]
    fn planes_count_what_a_loop_over_the_bits_counts() {
        for isa in Isa::all() {
            for row_bytes in [8, 64, 72, 200] {
                let mut random = Random::new(row_bytes as u64);
                let mut planes = Planes::new(row_bytes);
                let mut expected = vec![0u64; row_bytes * 8];
                for round in 0..300 {
                    let count = if round % 3 == 0 {
                        BATCH
                    } else {
                        random.below(16) as usize
                    };
                    let rows = random.bytes(count * row_bytes + LANE);
                    let offsets: Vec<u32> = (0..count).map(|i| (i * row_bytes) as u32).collect();
                    isa.run(Add(&mut planes, &rows, &offsets));
                    for row in rows[..count * row_bytes].chunks_exact(row_bytes) {
                        for (bit, ones) in expected.iter_mut().enumerate() {
                            *ones += u64::from(row[bit / 8] >> (bit % 8) & 1);
                        }
                    }
                }
                assert_eq!(
                    planes.ones()[..row_bytes * 8],
                    expected,
                    "{} {row_bytes}",
                    isa.name()
                );
            }
        }
    }
}
