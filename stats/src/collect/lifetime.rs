//! Lifetimes: how long registers held a value that was still to be read.
//!
//! For every read of a register the time since its previous read or kill is added up. Time is the thread's
//! instruction index. A thread's stream is counted in windows (chunks), each from time 0 with no knowledge of
//! those before it, so that windows can be counted by different workers; [`Thread::append`] then joins them in order.
//!
//! In a window a register's last access is first [`UNKNOWN`], half of the range of 32 bits. When the first access
//! is a read, the (wrapping) sum of points so becomes too large by just that half: its highest bit is set, since
//! the points of one register never exceed the length of the window. That spares the fast path a case distinction.

use super::kernels::Block;
use super::shape::{RegSet, members};
use crate::register::Reg;

/// Registers are kept in groups of 16.
pub const GROUPS: usize = Reg::COUNT.div_ceil(16);

/// Time of the last access before the first one in a window.
const UNKNOWN: u32 = 1 << 31;

/// The longest window; longer ones must be split.
pub const MAX_WINDOW: u32 = 1 << 30;

/// Lifetimes within a part of a thread's instructions.
#[derive(Clone, Debug)]
pub struct Window {
    /// Instructions so far.
    pub now: u32,
    /// Time of each register's last access.
    pub since: [Block; GROUPS],
    /// Sum of live points of each register.
    pub sum: [Block; GROUPS],
}

impl Default for Window {
    fn default() -> Self {
        Window {
            now: 0,
            since: [Block::splat(UNKNOWN); GROUPS],
            sum: [Block::default(); GROUPS],
        }
    }
}

impl Window {
    /// Counts one instruction.
    pub fn instruction(&mut self, reads: RegSet, kills: RegSet) {
        for register in members(reads | kills) {
            let since = &mut self.since[register / 16].0[register % 16];
            if reads >> register & 1 != 0 {
                let sum = &mut self.sum[register / 16].0[register % 16];
                *sum = sum.wrapping_add(self.now.wrapping_sub(*since));
            }
            *since = self.now;
        }
        self.now += 1;
    }
}

/// A thread's time, and each register's last access.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Instructions retired.
    pub instructions: u64,
    since: [u64; Reg::COUNT],
}

impl Default for Thread {
    fn default() -> Self {
        Thread {
            instructions: 0,
            since: [0; Reg::COUNT],
        }
    }
}

impl Thread {
    /// Appends the next window of this thread; its live points are added to `points`.
    pub fn append(&mut self, window: &Window, points: &mut [u64; Reg::COUNT]) {
        for (register, since) in self.since.iter_mut().enumerate() {
            let sum = window.sum[register / 16].0[register % 16];
            points[register] += u64::from(sum & !UNKNOWN);
            if sum & UNKNOWN != 0 {
                points[register] += self.instructions - *since;
            }
            let last = window.since[register / 16].0[register % 16];
            if last != UNKNOWN {
                *since = self.instructions + u64::from(last);
            }
        }
        self.instructions += u64::from(window.now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    #[test]
    fn windows_of_any_length_join_to_the_same_points() {
        let mut random = Random::new(1);
        let instructions: Vec<(RegSet, RegSet)> = (0..2000)
            .map(|_| {
                (
                    1 << random.below(20) | 1 << random.below(90),
                    1 << random.below(40),
                )
            })
            .collect();
        let (mut since, mut expected) = ([0; Reg::COUNT], [0; Reg::COUNT]);
        for (now, (reads, kills)) in instructions.iter().enumerate() {
            for register in members(*reads) {
                expected[register] += now as u64 - since[register];
            }
            for register in members(reads | kills) {
                since[register] = now as u64;
            }
        }
        for length in [1, 2, 7, 100, 5000] {
            let (mut thread, mut points) = (Thread::default(), [0; Reg::COUNT]);
            for part in instructions.chunks(length) {
                let mut window = Window::default();
                for (reads, kills) in part {
                    window.instruction(*reads, *kills);
                }
                thread.append(&window, &mut points);
            }
            assert_eq!(points, expected, "windows of {length}");
            assert_eq!(thread.instructions, 2000);
        }
    }
}
