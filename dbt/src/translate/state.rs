//! What is known about the guest's registers at one point of a unit, and where in the row it lies.

use super::bits::{Word, in_row, value};
use super::semantics::Part;
use fits_stats::template::{ROW_HEADER, Slot, Value};
use iced_x86::Register;

/// A number that is a slot of the row plus a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) slot: Option<Slot>,
    pub(super) constant: u64,
}

impl Address {
    pub(super) fn plus(self, amount: u64) -> Address {
        Address {
            constant: self.constant.wrapping_add(amount),
            ..self
        }
    }
}

/// A vector, mask or MMX register whose value lies in the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Captured {
    pub(super) offset: u32,
    pub(super) bytes: usize,
}

/// Everything known.
pub(super) struct State {
    general: [Word; 16],
    address: [Option<Address>; 16],
    /// By number of the full register in [`fits_stats::register::Reg`].
    captured: Vec<Option<Captured>>,
    row: u32,
}

impl State {
    /// At the start of a unit nothing is known.
    pub(super) fn new() -> State {
        State {
            general: [Word::UNKNOWN; 16],
            address: [None; 16],
            captured: vec![None; fits_stats::register::Reg::COUNT],
            row: ROW_HEADER as u32,
        }
    }

    /// Reserves `bytes` of the row; returns their offset.
    pub(super) fn reserve(&mut self, bytes: usize) -> u32 {
        self.row += bytes as u32;
        self.row - bytes as u32
    }

    /// Bytes of the row so far, rounded up.
    pub(super) fn row_bytes(&self) -> u32 {
        self.row
            .next_multiple_of(fits_stats::template::ROW_ALIGN as u32)
    }

    /// The bits of a general register operand, moved down to bit 0; zero above.
    pub(super) fn part(&self, part: Part) -> Word {
        self.general[usize::from(part.register)].part(part.from, part.bits)
    }

    /// Some of the operand's bits aren't known.
    pub(super) fn lacks(&self, part: Part) -> bool {
        self.general[usize::from(part.register)].has_unknown(part.from, part.from + part.bits)
    }

    /// The operand's bits as the template describes them.
    pub(super) fn value(&self, part: Part) -> Value {
        value(&self.part(part).0[..part.bits])
    }

    /// The low `bytes` of the register were captured at `offset` of the row.
    pub(super) fn capture(&mut self, register: u8, offset: u32, bytes: usize) {
        self.general[usize::from(register)].set_row(8 * bytes, 8 * offset);
    }

    /// The register's operand part was written.
    pub(super) fn write(&mut self, part: Part, value: &Word, address: Option<Address>) {
        self.general[usize::from(part.register)].write(part.from, part.bits, value);
        self.address[usize::from(part.register)] = address;
    }

    /// The register's low `bits` are followed by copies of their sign up to `to`.
    pub(super) fn sign_extend(&mut self, register: u8, bits: usize, to: usize) {
        let word = &mut self.general[usize::from(register)];
        let extended = word.part(0, bits).sign_extend(bits);
        word.write(0, to, &extended);
    }

    /// Nothing is known about the register any more.
    pub(super) fn forget(&mut self, register: u8) {
        self.general[usize::from(register)] = Word::UNKNOWN;
        self.address[usize::from(register)] = None;
    }

    /// The register's value as an address, if nothing needs to be captured for it.
    pub(super) fn address_if_known(&self, register: u8) -> Option<Address> {
        if let Some(address) = self.address[usize::from(register)] {
            return Some(address);
        }
        let word = &self.general[usize::from(register)];
        if let Some(constant) = word.as_constant() {
            return Some(Address {
                slot: None,
                constant,
            });
        }
        let (offset, bytes) = word.as_slot()?;
        Some(Address {
            slot: Some(Slot {
                offset,
                bytes,
                signed: false,
            }),
            constant: 0,
        })
    }

    /// The whole of a vector, mask or MMX register operand, if it lies in the row.
    pub(super) fn captured(&self, register: Register, bytes: usize) -> Option<Captured> {
        self.captured[full(register)?].filter(|captured| captured.bytes >= bytes)
    }

    pub(super) fn set_captured(&mut self, register: Register, captured: Captured) {
        if let Some(index) = full(register) {
            self.captured[index] = Some(captured);
        }
    }

    /// The full register of that number was written.
    pub(super) fn forget_captured(&mut self, index: usize) {
        self.captured[index] = None;
    }
}

impl Captured {
    /// `bytes` of it from `from` on.
    pub(super) fn value(&self, from: usize, bytes: usize) -> Value {
        in_row(8 * (self.offset + from as u32), 8 * bytes as u16)
    }
}

fn full(register: Register) -> Option<usize> {
    fits_stats::register::Reg::of(register).map(fits_stats::register::Reg::index)
}
