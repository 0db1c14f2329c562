//! Counting ones at each bit position of a unit's rows.
//!
//! The counts are kept *bit-sliced*: plane k of a lane (64 bytes of the row) holds bit k of 512 counters.
//! Sixteen rows are added at a time by a tree of carry-save adders (Harley and Seal), which costs two vector
//! operations for 64 bytes of a row. Planes grow with the logarithm of the number of rows, so that counters
//! of rarely executed units stay small.

use super::kernels::{Block, Lane};

/// Rows that are added together.
pub const BATCH: usize = 16;

/// Bytes of a lane.
pub const LANE: usize = 64;

/// The counters of one unit.
#[derive(Clone, Debug, Default)]
pub struct Planes {
    /// For each lane, `height` planes.
    blocks: Vec<Block>,
    height: u32,
    lanes: u32,
    rows: u64,
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
        let lanes = self.blocks.chunks_exact((self.height as usize).max(1));
        for (ones, planes) in ones.chunks_exact_mut(LANE * 8).zip(lanes) {
            for (weight, plane) in planes.iter().enumerate() {
                for (ones, word) in ones.chunks_exact_mut(32).zip(plane.0) {
                    for (bit, ones) in ones.iter_mut().enumerate() {
                        *ones += u64::from(word >> bit & 1) << weight;
                    }
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
        let height = self.height as usize;
        for (lane, planes) in self.blocks.chunks_exact_mut(height).enumerate() {
            let row = |offset: u32| load::<L>(rows, offset as usize + lane * LANE);
            match <&[u32; BATCH]>::try_from(offsets) {
                Ok(offsets) => add_sixteen::<L>(planes, |i| row(offsets[i])),
                Err(_) => add_few::<L>(planes, offsets, row),
            }
        }
    }

    #[cold]
    fn grow(&mut self) {
        let height = match self.height {
            0 => 6,
            height => height + 6,
        };
        let mut blocks = vec![Block::default(); (height * self.lanes) as usize];
        if self.height != 0 {
            let old = self.blocks.chunks_exact(self.height as usize);
            for (new, old) in blocks.chunks_exact_mut(height as usize).zip(old) {
                new[..old.len()].copy_from_slice(old);
            }
        }
        self.blocks = blocks;
        self.height = height;
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

/// Adds `carry`, one bit at each position, to the counters from plane `weight` on.
#[inline(always)]
fn ripple<L: Lane>(planes: &mut [Block], weight: usize, mut carry: L) {
    for plane in &mut planes[weight..] {
        if carry.is_zero() {
            return;
        }
        let old = L::get(plane);
        old.xor(carry).put(plane);
        carry = old.and(carry);
    }
}

#[inline(always)]
fn add_few<L: Lane>(planes: &mut [Block], offsets: &[u32], row: impl Fn(u32) -> L) {
    let mut rest = offsets;
    if let Some((eight, others)) = offsets.split_first_chunk::<8>() {
        let mut low = [L::get(&planes[0]), L::get(&planes[1]), L::get(&planes[2])];
        let carry = add_eight(&mut low, |i| row(eight[i]));
        for (value, plane) in low.into_iter().zip(&mut *planes) {
            value.put(plane);
        }
        ripple(planes, 3, carry);
        rest = others;
    }
    for &offset in rest {
        ripple(planes, 0, row(offset));
    }
}

#[inline(always)]
fn add_sixteen<L: Lane>(planes: &mut [Block], row: impl Fn(usize) -> L) {
    let mut low = [L::get(&planes[0]), L::get(&planes[1]), L::get(&planes[2])];
    let a = add_eight(&mut low, &row);
    let b = add_eight(&mut low, |i| row(i + 8));
    let (eights, carry) = L::get(&planes[3]).add(a, b);
    for (value, plane) in low.into_iter().chain([eights]).zip(&mut *planes) {
        value.put(plane);
    }
    ripple(planes, 4, carry);
}

/// Adds eight rows to the counters' lowest three planes; what is carried weighs eight.
#[inline(always)]
fn add_eight<L: Lane>(low: &mut [L; 3], row: impl Fn(usize) -> L) -> L {
    let [ones, twos, fours] = *low;
    let (ones, a) = ones.add(row(0), row(1));
    let (ones, b) = ones.add(row(2), row(3));
    let (twos, c) = twos.add(a, b);
    let (ones, a) = ones.add(row(4), row(5));
    let (ones, b) = ones.add(row(6), row(7));
    let (twos, d) = twos.add(a, b);
    let (fours, carry) = fours.add(c, d);
    *low = [ones, twos, fours];
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
