//! Jumps from block to block.

use super::block::{Check, Exit};
use super::mode::Mode;
use crate::cpu::host::Arena;

/// A way out of a translation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    exit: Exit,
    /// The translation that it goes to now.
    pub(super) joined: Option<u32>,
}

impl Link {
    pub(super) fn new(exit: Exit) -> Self {
        Link { exit, joined: None }
    }

    /// Whether it leads to that address in that mode, and is not joined yet.
    pub(super) fn wants(&self, target: u64, mode: Mode) -> bool {
        self.joined.is_none() && self.exit.target == target && self.exit.mode == mode
    }

    /// Lets it go to `code`, the code of translation `number`, whose page lies at `page` in the host.
    pub(super) fn join(&mut self, arena: &mut Arena, number: u32, code: u32, page: u64) {
        self.joined = Some(number);
        match self.exit.check {
            None => redirect(arena, self.exit.patch, code),
            Some(Check {
                start,
                page: place,
                patch,
            }) => {
                arena.patch(place, &page.to_le_bytes());
                redirect(arena, patch, code);
                redirect(arena, self.exit.patch, start);
            }
        }
    }

    /// Lets it go back to the loop.
    pub(super) fn part(&mut self, arena: &mut Arena) {
        self.joined = None;
        redirect(arena, self.exit.patch, self.exit.stub);
    }
}

/// Changes where the jump whose distance is at `patch` goes to.
fn redirect(arena: &mut Arena, patch: u32, target: u32) {
    let distance = target.wrapping_sub(patch + 4);
    arena.patch(patch, &distance.to_le_bytes());
}
