//! Where basic blocks end: the rule that all backends share.

use fits_stats::facts::MAX_BLOCK;
use fits_stats::template::Prefix;

/// Follows one thread and tells its blocks.
///
/// A block ends with an instruction that transfers control (taken or not) or calls the system, after
/// [`MAX_BLOCK`] instructions, when a signal handler is entered, and when the thread ends.
#[derive(Debug, Clone, Copy, Default)]
pub struct BlockTracker {
    start: u64,
    length: u32,
}

impl BlockTracker {
    /// The instruction at `pc` has retired. The block, if it ended with it.
    pub fn retired(&mut self, pc: u64, ends_block: bool) -> Option<Prefix> {
        if self.length == 0 {
            self.start = pc;
        }
        self.length += 1;
        if ends_block || self.length == MAX_BLOCK {
            self.interrupted()
        } else {
            None
        }
    }

    /// A handler was entered, or the thread ended. The block so far, unless it is empty.
    pub fn interrupted(&mut self) -> Option<Prefix> {
        let block = Prefix {
            pc: self.start,
            instructions: self.length,
        };
        self.length = 0;
        (block.instructions > 0).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_end_at_branches_at_the_limit_and_at_interruptions() {
        let mut tracker = BlockTracker::default();
        assert_eq!(tracker.interrupted(), None);
        assert_eq!(tracker.retired(16, false), None);
        assert_eq!(
            tracker.retired(20, true),
            Some(Prefix {
                pc: 16,
                instructions: 2
            })
        );
        let ends: Vec<_> = (0..130)
            .filter_map(|pc| tracker.retired(pc, false))
            .collect();
        assert_eq!(
            ends,
            [
                Prefix {
                    pc: 0,
                    instructions: 64
                },
                Prefix {
                    pc: 64,
                    instructions: 64
                }
            ]
        );
        assert_eq!(
            tracker.interrupted(),
            Some(Prefix {
                pc: 128,
                instructions: 2
            })
        );
    }
}
