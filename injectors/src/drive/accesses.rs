//! The memory accesses of an instruction, with their addresses.

use fits_stats::facts::{access_bytes, reads, writes};
use fits_tracer::step::Decoded;
use iced_x86::{Mnemonic, OpKind, Register, UsedMemory};

use super::machine::address_part;
use super::state::State;
use super::touch::unknown_memory;

/// One access of an instruction that is about to execute.
#[derive(Clone, Debug)]
pub(crate) struct Accessed {
    /// The explicit operand that it is, if it is one.
    pub(crate) operand: Option<u8>,
    /// Where; of a `rep`, the first element.
    pub(crate) address: u64,
    /// Bytes, of one element.
    pub(crate) bytes: usize,
    /// Bytes of all iterations, as far as they are known before.
    pub(crate) total: u64,
    pub(crate) reads: bool,
    pub(crate) writes: bool,
    /// How the address is formed.
    pub(crate) used: UsedMemory,
}

const DIRECTION: u64 = 1 << 10;

/// All accesses, explicit ones first. Gathers and scatters have none: they are many.
pub(crate) fn accesses(decoded: &Decoded, state: &State) -> Vec<Accessed> {
    let mut all: Vec<Accessed> = decoded
        .facts
        .memory
        .iter()
        .map(|used| accessed(decoded, state, used))
        .collect();
    all.sort_by_key(|access| access.operand.is_none());
    all
}

/// The memory that an instruction may write, by first address and length; none if that is not known.
pub(crate) fn written_ranges(decoded: &Decoded, state: &State) -> Option<Vec<(u64, u64)>> {
    if unknown_memory(decoded) {
        return None;
    }
    let all = accesses(decoded, state).into_iter();
    let ranges = all
        .filter(|access| access.writes)
        .map(|access| access.range(state));
    Some(ranges.filter(|&(_, length)| length > 0).collect())
}

fn accessed(decoded: &Decoded, state: &State, used: &UsedMemory) -> Accessed {
    let address = used
        .virtual_address(0, |register, _, _| Some(address_part(state, register)))
        .unwrap_or_default();
    let bytes = access_bytes(&decoded.instruction, used);
    let count = if decoded.facts.rep {
        state.registers.rcx
    } else {
        1
    };
    Accessed {
        operand: explicit(decoded, used),
        address,
        bytes,
        total: count.saturating_mul(bytes as u64),
        reads: reads(used.access()),
        writes: writes(used.access()),
        used: *used,
    }
}

impl Accessed {
    /// The first address that may be touched, and how many bytes.
    pub(crate) fn range(&self, state: &State) -> (u64, u64) {
        let backward = state.registers.eflags & DIRECTION != 0 && self.total > self.bytes as u64;
        let before = if backward {
            self.total - self.bytes as u64
        } else {
            0
        };
        (self.address.wrapping_sub(before), self.total)
    }
}

/// The explicit operand that an access is.
fn explicit(decoded: &Decoded, used: &UsedMemory) -> Option<u8> {
    let instruction = &decoded.instruction;
    (0..instruction.op_count())
        .find(|&operand| match instruction.op_kind(operand) {
            OpKind::Memory => is_explicit(decoded, used),
            OpKind::MemorySegSI | OpKind::MemorySegESI | OpKind::MemorySegRSI => {
                used.base().full_register() == Register::RSI
            }
            OpKind::MemorySegDI
            | OpKind::MemorySegEDI
            | OpKind::MemorySegRDI
            | OpKind::MemoryESDI
            | OpKind::MemoryESEDI
            | OpKind::MemoryESRDI => used.base().full_register() == Register::RDI,
            _ => false,
        })
        .map(|operand| operand as u8)
}

fn is_explicit(decoded: &Decoded, used: &UsedMemory) -> bool {
    let instruction = &decoded.instruction;
    let base = match instruction.memory_base() {
        // Its address is in the displacement.
        Register::RIP | Register::EIP => Register::None,
        base => base,
    };
    if instruction.mnemonic() == Mnemonic::Xlatb {
        return true;
    }
    let stack = used.base() == Register::RSP && base != Register::RSP;
    // `push [rsp+8]` has two accesses by rsp: what it stores goes below it.
    let pushed =
        matches!(instruction.mnemonic(), Mnemonic::Push | Mnemonic::Call) && writes(used.access());
    let popped = instruction.mnemonic() == Mnemonic::Pop && reads(used.access());
    !stack
        && !pushed
        && !popped
        && used.base() == base
        && used.index() == instruction.memory_index()
}
