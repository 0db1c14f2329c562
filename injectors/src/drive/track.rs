//! Whether what a fault has changed is read before it is overwritten.

use fits_tracer::live::Stepped;
use fits_tracer::step::Decoded;
use iced_x86::{InstructionInfoFactory, Mnemonic};

use super::accesses::{Accessed, accesses};
use super::state::State;
use super::touch::touched;
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

#[derive(Clone, Copy, Debug)]
enum Place {
    /// x87 registers by their physical number.
    Cell(Cell),
    /// First address.
    Memory(u64),
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
        let (read, written, perhaps) = match self.place {
            Place::Cell(cell) => self.cell_touched(seen, cell, factory),
            Place::Memory(address) => self.memory_touched(seen, address),
        };
        match seen.stepped {
            // Not an instruction's doing: it has not begun.
            Stepped::Handler { signal } if !is_synchronous(signal) => {}
            _ if read => self.verdict = Some(Activated::Yes),
            Stepped::Retired => self.overwritten(written, perhaps),
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

    fn cell_touched(
        &self,
        seen: &Seen,
        cell: Cell,
        factory: &mut InstructionInfoFactory,
    ) -> (bool, Bits, bool) {
        let top = if self.moves() {
            seen.state.x87_top()
        } else {
            0
        };
        let touched = touched(seen.decoded, relative(cell, top), top, factory);
        let read = !(touched.read & self.changed).is_zero();
        (read, touched.written, touched.perhaps_read)
    }

    fn memory_touched(&self, seen: &Seen, address: u64) -> (bool, Bits, bool) {
        let decoded = seen.decoded;
        let (mut read, mut written) = (false, Bits::ZERO);
        let mut perhaps =
            decoded.instruction.is_vsib() || decoded.instruction.mnemonic() == Mnemonic::Syscall;
        if decoded.instruction.mnemonic() == Mnemonic::Syscall
            && let Some((start, length)) = given(seen.state)
        {
            read |= !(overlap(address, start, length) & self.changed).is_zero();
        }
        let fetched = overlap(address, decoded.pc, decoded.bytes.len() as u64);
        read |= !(fetched & self.changed).is_zero();
        for access in accesses(decoded, seen.state) {
            let (start, length) = access.range(seen.state);
            let bits = overlap(address, start, length);
            perhaps |= length == 0;
            read |= access.reads && !(bits & self.changed).is_zero();
            if surely_writes(decoded, &access) {
                written = written | bits;
            }
        }
        (read, written, perhaps)
    }
}

/// Memory that a system call is certain to read: what is to be written to a file.
fn given(state: &State) -> Option<(u64, u64)> {
    let registers = &state.registers;
    let number = i64::try_from(registers.rax).ok()?;
    let writes = matches!(
        number,
        libc::SYS_write | libc::SYS_pwrite64 | libc::SYS_sendto
    );
    writes.then_some((registers.rsi, registers.rdx))
}

fn surely_writes(decoded: &Decoded, access: &Accessed) -> bool {
    let sure = !decoded.instruction.has_op_mask() && !decoded.facts.rep;
    access.writes && (sure || decoded.facts.rep && decoded.facts.memory.len() <= 2)
}

/// Which bits of the 64 bytes at `address` lie in a range.
pub(super) fn overlap(address: u64, start: u64, length: u64) -> Bits {
    let mut bits = Bits::ZERO;
    for byte in 0..64u32 {
        let place = address.wrapping_add(byte.into());
        if place.wrapping_sub(start) < length {
            bits = bits | Bits::range(8 * byte..=8 * byte + 7);
        }
    }
    bits
}

fn is_synchronous(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP
    )
}

/// An x87 register by its physical number.
pub(super) fn physical(cell: Cell, top: u8) -> Cell {
    match cell {
        Cell::X87(index) => Cell::X87((index + top) % 8),
        other => other,
    }
}

/// A physical x87 register relative to the top of the stack.
pub(super) fn relative(cell: Cell, top: u8) -> Cell {
    match cell {
        Cell::X87(number) => Cell::X87((number + 8 - top) % 8),
        other => other,
    }
}
