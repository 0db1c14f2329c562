//! Faults that have one outcome: they leave the same bits of the same place wrong, and nothing touches these before the same instruction.
//!
//! At that instruction the state of the process is then the same, byte for byte, whichever of the faults it was. `rip` is refused (every
//! instruction reads it, so there is nothing to share), and whatever has no known first touch.

use fits_stats::protocol::ThreadNumber;
use rustc_hash::FxHashMap;

use super::Fate;
use crate::bits::Bits;
use crate::drive::touch::Place;
use crate::fault::Cell;

/// What decides the outcome: the thread, what is wrong where, and the index of the instruction that touches it first.
type Key = (ThreadNumber, Place, Bits, u64);

/// Numbers of classes, from 0 in the order of their first members.
#[derive(Debug, Default)]
pub(super) struct Classes {
    known: FxHashMap<Key, u64>,
}

impl Classes {
    /// The class of a fault in `thread` that changes these bits.
    pub(super) fn of(
        &mut self,
        thread: ThreadNumber,
        place: Place,
        changed: Bits,
        fate: Fate,
    ) -> Option<u64> {
        let Fate::Read { index, .. } = fate else {
            return None;
        };
        if place == Place::Cell(Cell::Rip) || changed.is_zero() {
            return None;
        }
        let next = self.known.len() as u64;
        let key = (thread, place, changed, index);
        Some(*self.known.entry(key).or_insert(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_bits_until_the_same_instruction_are_one_class() {
        let mut classes = Classes::default();
        let rax = Place::Cell(Cell::General(0));
        let read = |index| Fate::Read { index, pc: 0x1000 };
        let bit = Bits::from_u64(1);
        let first = classes.of(0, rax, bit, read(7));
        assert_eq!(first, Some(0));
        assert_eq!(classes.of(0, rax, bit, read(7)), first);
        assert_eq!(classes.of(0, rax, bit, read(8)), Some(1));
        assert_eq!(classes.of(0, rax, Bits::from_u64(3), read(7)), Some(2));
        assert_eq!(classes.of(1, rax, bit, read(7)), Some(3));
        assert_eq!(classes.of(0, Place::Memory(0), bit, read(7)), Some(4));
        assert_eq!(classes.of(0, rax, bit, Fate::Unknown), None);
        assert_eq!(classes.of(0, Place::Cell(Cell::Rip), bit, read(7)), None);
    }
}
