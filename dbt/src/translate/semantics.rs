//! What instructions that only move bits do to them, and what simple address arithmetic does to addresses.

use super::bits::{Bit, Word};
use super::decode::Guest;
use super::registers::{RSP, general};
use super::state::{Address, State};
use fits_stats::facts::OperandKind;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// A general register operand as a range of bits of its full register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// The full register's number.
    pub(super) register: u8,
    /// First bit (8 for `ah` and its like).
    pub(super) from: usize,
    /// Number of bits.
    pub(super) bits: usize,
}

/// The part that a register operand names, if it is a general register.
pub(super) fn part(register: Register) -> Option<Part> {
    let number = general(register)?;
    let high = matches!(
        register,
        Register::AH | Register::BH | Register::CH | Register::DH
    );
    Some(Part {
        register: number,
        from: if high { 8 } else { 0 },
        bits: 8 * register.size(),
    })
}

/// What an instruction does to one general register.
struct Effect {
    part: Part,
    value: Word,
    address: Option<Address>,
}

/// Updates `state` for everything that `guest` writes. `written` are the full general registers that it writes.
/// Registers whose new value isn't known bit by bit become unknown.
pub(super) fn apply(state: &mut State, guest: &Guest, written: &[u8]) {
    let instruction = &guest.instruction;
    let effects = effects(state, instruction);
    let mut pending: Vec<u8> = written.to_vec();
    for effect in effects {
        state.write(effect.part, &effect.value, effect.address);
        pending.retain(|&register| register != effect.part.register);
    }
    for register in pending {
        // An operand that is only read may share its register with an implicit destination (`mul ah`).
        let explicit = guest.facts.operands.iter().find_map(|operand| {
            let named = match operand.kind {
                OperandKind::Register(register) if operand.written => part(register),
                _ => None,
            };
            named.filter(|part| part.register == register)
        });
        match explicit.filter(|_| certain(guest)) {
            Some(part) => state.write(part, &Word::UNKNOWN, None),
            None => state.forget(register),
        }
    }
}

/// Whether a register destination is always written as a whole operand, so that a 32-bit one clears the upper half.
fn certain(guest: &Guest) -> bool {
    use Mnemonic::{Bsf, Bsr, Cmpxchg, Cmpxchg8b, Cmpxchg16b, Lar, Lsl, Xadd, Xchg};
    let conditional = matches!(
        guest.instruction.mnemonic(),
        Bsf | Bsr | Cmpxchg | Cmpxchg8b | Cmpxchg16b | Lar | Lsl | Xadd | Xchg
    );
    // `rep lods` may make no iteration.
    !conditional && !guest.facts.rep
}

fn effects(state: &State, instruction: &Instruction) -> Vec<Effect> {
    use Mnemonic::{Call, Leave, Pop, Push, Ret, Xchg};
    match instruction.mnemonic() {
        Xchg => exchange(state, instruction),
        Push | Pop | Call | Ret => stack(state, instruction),
        Leave => Vec::new(),
        _ => destination(state, instruction).into_iter().collect(),
    }
}

fn exchange(state: &State, instruction: &Instruction) -> Vec<Effect> {
    let (Some(left), Some(right)) = (operand(instruction, 0), operand(instruction, 1)) else {
        return Vec::new();
    };
    if left.register == right.register {
        return Vec::new();
    }
    let effect = |to: Part, from: Part| Effect {
        part: to,
        value: state.part(from),
        address: None,
    };
    vec![effect(left, right), effect(right, left)]
}

/// The stack pointer moves by a known amount; a popped register is known only after capture.
fn stack(state: &State, instruction: &Instruction) -> Vec<Effect> {
    let popped = (instruction.mnemonic() == Mnemonic::Pop)
        .then(|| operand(instruction, 0))
        .flatten();
    if popped.is_some_and(|part| part.register == RSP) {
        return Vec::new();
    }
    let address = state.address_if_known(RSP);
    let moved = address.map(|address| address.plus(instruction.stack_pointer_increment() as u64));
    let rsp = Part {
        register: RSP,
        from: 0,
        bits: 64,
    };
    vec![Effect {
        part: rsp,
        value: Word::UNKNOWN,
        address: moved,
    }]
}

/// The register operand at `index`, if it is a general register.
fn operand(instruction: &Instruction, index: u32) -> Option<Part> {
    let named = instruction.op_count() > index && instruction.op_kind(index) == OpKind::Register;
    named
        .then(|| part(instruction.op_register(index)))
        .flatten()
}

/// Instructions that write their first operand only.
fn destination(state: &State, instruction: &Instruction) -> Option<Effect> {
    use Mnemonic::*;
    let part = operand(instruction, 0)?;
    let bits = part.bits;
    let old = || state.part(part);
    let source = || source(state, instruction, 1);
    let value = match instruction.mnemonic() {
        Mov => source()?,
        Movzx => source()?,
        Movsx | Movsxd => {
            let from = operand(instruction, 1)?;
            state.part(from).sign_extend(from.bits)
        }
        Xor | Sub if same_operands(instruction) => Word::constant(0),
        And => old().and(immediate(instruction, 1)?),
        Or => old().or(immediate(instruction, 1)?),
        Xor => old().xor(immediate(instruction, 1)?),
        Not => old().invert(),
        Shl | Sal => old().shift_left(bits, count(instruction, 1, bits)?),
        Shr => old().shift_right(bits, count(instruction, 1, bits)?),
        Sar => old().shift_signed(bits, count(instruction, 1, bits)?),
        Rol => old().rotate_left(bits, count(instruction, 1, bits)?),
        Ror => old().rotate_left(bits, bits - count(instruction, 1, bits)? % bits),
        Rorx => source()?.rotate_left(bits, bits - count(instruction, 2, bits)? % bits),
        Bswap if bits >= 32 => old().swap_bytes(bits / 8),
        Lea => return lea(state, instruction, part),
        Add | Sub | Inc | Dec => return sum(state, instruction, part),
        mnemonic if is_set(mnemonic) => {
            let mut bit = Word::constant(0);
            bit.fill(0, 1, Bit::UNKNOWN);
            bit
        }
        _ => return None,
    };
    let address = match instruction.mnemonic() {
        Mov if bits == 64 => {
            operand(instruction, 1).and_then(|from| state.address_if_known(from.register))
        }
        _ => None,
    };
    Some(Effect {
        part,
        value,
        address,
    })
}

fn same_operands(instruction: &Instruction) -> bool {
    instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == instruction.op1_register()
}

/// The operand at `index` as a zero-extended word: a register's or an immediate's bits.
fn source(state: &State, instruction: &Instruction, index: u32) -> Option<Word> {
    if let Some(part) = operand(instruction, index) {
        return Some(state.part(part));
    }
    immediate(instruction, index).map(Word::constant)
}

fn immediate(instruction: &Instruction, index: u32) -> Option<u64> {
    instruction.try_immediate(index).ok()
}

/// The count of a shift or rotation by an immediate, as the processor masks it.
fn count(instruction: &Instruction, index: u32, bits: usize) -> Option<usize> {
    // Narrow rotations and shifts past the operand's width are left to capture.
    let count = immediate(instruction, index)? as usize & if bits == 64 { 63 } else { 31 };
    (count < bits).then_some(count)
}

fn lea(state: &State, instruction: &Instruction, part: Part) -> Option<Effect> {
    if part.bits != 64 {
        return None;
    }
    let constant = instruction.memory_displacement64();
    let (base, index) = (instruction.memory_base(), instruction.memory_index());
    if index == Register::None && matches!(base, Register::None | Register::RIP) {
        let address = Some(Address {
            slot: None,
            constant,
        });
        return Some(Effect {
            part,
            value: Word::constant(constant),
            address,
        });
    }
    let base = general(base).filter(|_| index == Register::None)?;
    let address = state.address_if_known(base)?.plus(constant);
    Some(Effect {
        part,
        value: Word::UNKNOWN,
        address: Some(address),
    })
}

/// The sum's bits must be captured, but as an address it is the old one and a constant.
fn sum(state: &State, instruction: &Instruction, part: Part) -> Option<Effect> {
    if part.bits != 64 {
        return None;
    }
    let amount = match instruction.mnemonic() {
        Mnemonic::Inc => 1,
        Mnemonic::Dec => 1u64.wrapping_neg(),
        Mnemonic::Add => immediate(instruction, 1)?,
        _ => immediate(instruction, 1)?.wrapping_neg(),
    };
    let address = state.address_if_known(part.register)?.plus(amount);
    Some(Effect {
        part,
        value: Word::UNKNOWN,
        address: Some(address),
    })
}

fn is_set(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Seta | Setae
            | Setb
            | Setbe
            | Sete
            | Setg
            | Setge
            | Setl
            | Setle
            | Setne
            | Setno
            | Setnp
            | Setns
            | Seto
            | Setp
            | Sets
    )
}
