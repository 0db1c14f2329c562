//! Vector registers, kept in the host's of the same number from their first use in a block to its end.

use super::block::Builder;
use super::layout;
use super::registers::CONTEXT;
use dynasmrt::{DynasmApi, dynasm};

/// Which of the guest's vector registers are in the host's now.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cached {
    pub(super) loaded: u16,
    /// Those that differ from the context.
    pub(super) changed: u16,
}

fn numbers(mask: u16) -> impl Iterator<Item = u8> {
    (0..16).filter(move |number| mask >> number & 1 != 0)
}

impl Builder<'_> {
    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn store_vectors(&mut self, mask: u16) {
        for n in numbers(mask) {
            dynasm!(self.code.ops; .arch x64
                ; vmovdqu [Rq(CONTEXT) + layout::YMM + 32 * i32::from(n)], Ry(n));
        }
    }

    #[expect(
        clippy::useless_conversion,
        reason = "dynasm converts the numbers of registers"
    )]
    pub(super) fn load_vectors(&mut self, mask: u16) {
        for n in numbers(mask) {
            dynasm!(self.code.ops; .arch x64
                ; vmovdqu Ry(n), [Rq(CONTEXT) + layout::YMM + 32 * i32::from(n)]);
        }
    }

    /// Back to the context: the code that follows expects nothing in the host's registers.
    pub(super) fn flush_vectors(&mut self) {
        if self.vectors.loaded != 0 {
            self.store_vectors(self.vectors.changed);
            dynasm!(self.code.ops; .arch x64; vzeroupper);
            self.vectors = Cached::default();
        }
    }
}
