//! Whether what a fault has changed is read before it is overwritten.

use fits_tracer::live::Stepped;
use fits_tracer::step::Decoded;
use iced_x86::InstructionInfoFactory;

use super::state::State;
use super::touch::{Place, physical, touched_place};
use crate::bits::Bits;
use crate::fault::Cell;

/// Whether the changed location was read before it was overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activated {
    /// It was.
    Yes,
    /// It was overwritten before, or never read until the end, or nothing had changed.
    No,
    /// It can't be told.
    Unknown,
}

/// A changed place, followed through the instructions that execute.
#[derive(Clone, Debug)]
pub(super) struct Tracked {
    place: Place,
    /// The changed bits that have not been overwritten.
    changed: Bits,
    /// Somebody may have read it whom we can't see.
    perhaps: bool,
    verdict: Option<Activated>,
}

/// What is known of an instruction that was stepped.
pub(super) struct Seen<'a> {
    pub(super) decoded: &'a Decoded,
    /// Before it.
    pub(super) state: &'a State,
    pub(super) stepped: Stepped,
}

impl Tracked {
    /// Changed bits of a register; x87 registers are relative to `top`.
    pub(super) fn cell(cell: Cell, top: u8, changed: Bits) -> Self {
        Self::new(Place::Cell(physical(cell, top)), changed)
    }

    /// Changed bits of memory from `address` on.
    pub(super) fn memory(address: u64, changed: Bits) -> Self {
        Self::new(Place::Memory(address), changed)
    }

    fn new(place: Place, changed: Bits) -> Self {
        let verdict = match place {
            _ if changed.is_zero() => Some(Activated::No),
            // The next instruction is fetched from there.
            Place::Cell(Cell::Rip) => Some(Activated::Yes),
            _ => None,
        };
        Self {
            place,
            changed,
            perhaps: false,
            verdict,
        }
    }

    /// What has been found, if it has.
    pub(super) fn verdict(&self) -> Option<Activated> {
        self.verdict
    }

    /// What is known now that no more instructions will be seen.
    pub(super) fn final_verdict(&self) -> Activated {
        self.verdict.unwrap_or(Activated::Unknown)
    }

    /// Whether it needs x87, vector or mask state at each step: only x87 registers move.
    pub(super) fn moves(&self) -> bool {
        matches!(self.place, Place::Cell(Cell::X87(_)))
    }

    /// Takes note of one instruction.
    pub(super) fn see(&mut self, seen: &Seen, factory: &mut InstructionInfoFactory) {
        if self.verdict.is_some() {
            return;
        }
        let touched = touched_place(seen.decoded, self.place, seen.state, factory);
        let read = !(touched.read & self.changed).is_zero();
        let perhaps = !(touched.perhaps_read & self.changed).is_zero();
        match seen.stepped {
            // Not an instruction's doing: it has not begun.
            Stepped::Handler { signal } if !is_synchronous(signal) => {}
            _ if read => self.verdict = Some(Activated::Yes),
            Stepped::Retired => self.overwritten(touched.written, perhaps),
            _ => {}
        }
        let handler = matches!(seen.stepped, Stepped::Handler { .. });
        if handler && self.verdict.is_none() && matches!(self.place, Place::Cell(_)) {
            // It lives on in the signal frame.
            self.verdict = Some(Activated::Unknown);
        }
    }

    /// Changed memory that is still open: first address and the bits.
    pub(super) fn open_memory(&self) -> Option<(u64, Bits)> {
        match self.place {
            Place::Memory(address) if self.verdict.is_none() => Some((address, self.changed)),
            _ => None,
        }
    }

    /// The register, if it is open and one that instructions name: no flags, and nothing whose number moves.
    pub(super) fn open_register(&self) -> Option<Cell> {
        match self.place {
            Place::Cell(cell @ (Cell::General(_) | Cell::Vector(_) | Cell::Mask(_)))
                if self.verdict.is_none() =>
            {
                Some(cell)
            }
            _ => None,
        }
    }

    /// It has been found out.
    pub(super) fn decide(&mut self, verdict: Activated) {
        self.verdict.get_or_insert(verdict);
    }

    /// These bits have been overwritten; `perhaps` somebody has read them before.
    pub(super) fn overwritten(&mut self, written: Bits, perhaps: bool) {
        self.perhaps |= perhaps;
        self.changed = self.changed & !written;
        if self.changed.is_zero() {
            self.verdict = Some(if self.perhaps {
                Activated::Unknown
            } else {
                Activated::No
            });
        }
    }
}

fn is_synchronous(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
    )
}
