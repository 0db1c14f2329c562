//! Memory values that need no load of their own, because the instruction leaves them in a register or takes them from one.

use super::TranslateError;
use super::bits::{Bit, Word, value};
use super::capture::Capturer;
use super::decode::Guest;
use super::registers::general;
use super::semantics::{Part, part};
use super::tracing::branch_target;
use fits_stats::facts::{Operand, OperandKind};
use fits_stats::register::Reg;
use fits_stats::template::Value;
use iced_x86::{Mnemonic, OpKind, Register};

/// An instruction whose result tells what it loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    /// The low `bits` of a general register; the rest is zero, a sign, or untouched.
    General { to: Part, bits: usize, signed: bool },
    /// The low `bytes` of a vector register.
    Vector { to: Register, bytes: usize },
    /// The target of a branch, in a host register.
    Target(u8),
    /// `xchg` and `xadd`: the register operand.
    Exchanged(Part),
}

/// How `guest`'s memory operand is known afterwards, if it is.
pub(super) fn of(guest: &Guest) -> Option<Load> {
    let instruction = &guest.instruction;
    let memory = guest
        .facts
        .operands
        .iter()
        .find(|operand| operand.kind == OperandKind::Memory)?;
    if let Some(register) = branch_target(guest) {
        return Some(Load::Target(register));
    }
    if !memory.read {
        return None;
    }
    let bits = 8 * usize::from(memory.bytes);
    use Mnemonic::{Lodsb, Lodsd, Lodsq, Lodsw, Mov, Movsx, Movsxd, Movzx, Xadd, Xchg};
    match instruction.mnemonic() {
        Mov | Movzx | Lodsb | Lodsw | Lodsd | Lodsq => {
            let to = part(instruction.op0_register())?;
            Some(Load::General {
                to,
                bits,
                signed: false,
            })
        }
        Movsx | Movsxd => {
            let to = part(instruction.op0_register())?;
            Some(Load::General {
                to,
                bits,
                signed: true,
            })
        }
        Xchg | Xadd => {
            let index = u32::from(memory.index == 0);
            Some(Load::Exchanged(part(instruction.op_register(index))?))
        }
        mnemonic if is_vector_move(mnemonic) => {
            let to = instruction.op0_register();
            let plain = instruction.op_count() == 2 && to.is_vector_register();
            plain.then_some(Load::Vector {
                to,
                bytes: usize::from(memory.bytes),
            })
        }
        _ => None,
    }
}

/// The operands (by place) whose read value is captured before `guest` executes, in order.
///
/// Capturing an MMX register puts the x87 unit into MMX state. An instruction that faults must not have done so: what its memory
/// operand says comes first, and a register that it leaves as it is comes after it.
pub(super) fn captured_before(guest: &Guest) -> Vec<usize> {
    let operands = &guest.facts.operands;
    let is_mmx = |operand: &Operand| matches!(operand.kind, OperandKind::Register(register) if register.is_mm());
    let mut places: Vec<usize> = (0..operands.len())
        .filter(|&place| operands[place].read)
        .collect();
    if operands.iter().any(is_mmx) && !guest.facts.memory.is_empty() {
        let name = |operand: &Operand| match operand.kind {
            OperandKind::Register(register) => Reg::of(register),
            OperandKind::Memory => None,
        };
        let survives = |operand: &Operand| {
            is_mmx(operand) && name(operand).is_some_and(|reg| !guest.facts.writes.contains(&reg))
        };
        places.retain(|&place| !survives(&operands[place]));
        places.sort_by_key(|&place| is_mmx(&operands[place]));
    }
    places
}

/// Captures what the instruction loaded; the memory operand's value.
pub(super) fn finish(
    capturer: &mut Capturer,
    number: usize,
    guest: &Guest,
    load: Option<Load>,
) -> Result<Option<Value>, TranslateError> {
    match load {
        None => Ok(None),
        Some(Load::Target(register)) => capturer.host_register(register).map(Some),
        Some(Load::Exchanged(part)) => capturer.part(number, part).map(Some),
        Some(Load::Vector { to, bytes }) => {
            let captured = capturer.vector(number, to)?;
            Ok(Some(captured.value(0, bytes)))
        }
        Some(Load::General { to, bits, signed }) => {
            let mut word = Word::constant(0);
            word.fill(0, bits, Bit::UNKNOWN);
            capturer.state.write(to, &word, None);
            let low = Part { bits, ..to };
            let loaded = capturer.part(number, low)?;
            if signed {
                capturer.state.sign_extend(to.register, bits, to.bits);
            }
            debug_assert!(!guest.facts.ends_block);
            Ok(Some(loaded))
        }
    }
}

/// The value that `guest` is about to store, if a register, a constant or the value that it `read` tells.
pub(super) fn stored(
    capturer: &mut Capturer,
    number: usize,
    guest: &Guest,
    read: Option<Value>,
) -> Result<Option<Value>, TranslateError> {
    use Mnemonic::{
        Mov, Movhpd, Movhps, Movnti, Movsb, Movsd, Movsq, Movsw, Stosb, Stosd, Stosq, Stosw,
        Vmovhpd, Vmovhps, Xchg,
    };
    let instruction = &guest.instruction;
    let memory = guest
        .facts
        .operands
        .iter()
        .find(|operand| operand.kind == OperandKind::Memory);
    let Some(memory) = memory.filter(|operand| operand.written) else {
        return Ok(None);
    };
    let bytes = usize::from(memory.bytes);
    let source = u32::from(memory.index == 0);
    match instruction.mnemonic() {
        Movsb | Movsw | Movsq | Movsd if instruction.is_string_instruction() => {
            let source = guest.facts.operands.iter().find(|operand| operand.read);
            match (read, source) {
                (Some(read), _) => Ok(Some(read)),
                (None, Some(source)) => capturer.memory_before(number, guest, source).map(Some),
                (None, None) => Ok(None),
            }
        }
        Stosb | Stosw | Stosd | Stosq => capturer
            .register(number, instruction.op1_register())
            .map(Some),
        Mov | Movnti | Xchg if instruction.op_kind(source) == OpKind::Register => capturer
            .register(number, instruction.op_register(source))
            .map(Some),
        Mov => Ok(instruction
            .try_immediate(source)
            .ok()
            .map(|constant| value(&Word::constant(constant).0[..8 * bytes]))),
        Movhps | Movhpd | Vmovhps | Vmovhpd => {
            let captured = capturer.vector(number, instruction.op_register(source))?;
            Ok(Some(captured.value(8, bytes)))
        }
        mnemonic if is_vector_move(mnemonic) => {
            let from = instruction.op_register(source);
            if !from.is_vector_register() {
                return Ok(None);
            }
            let captured = capturer.vector(number, from)?;
            Ok(Some(captured.value(0, bytes)))
        }
        _ => Ok(None),
    }
}

/// An instruction whose memory operand can be read neither before nor after it: it changes the registers of its
/// own address, or its operand is of a kind that no capture exists for.
pub(super) fn is_beyond_capture(guest: &Guest) -> bool {
    let instruction = &guest.instruction;
    let unknown = guest
        .facts
        .operands
        .iter()
        .any(|operand| match operand.kind {
            OperandKind::Register(register) => !can_capture(register),
            OperandKind::Memory => false,
        });
    let written = guest
        .facts
        .operands
        .iter()
        .any(|operand| operand.kind == OperandKind::Memory && operand.written);
    let moves = written
        && !instruction.is_string_instruction()
        && instruction.mnemonic() != Mnemonic::Pop
        && [instruction.memory_base(), instruction.memory_index()]
            .into_iter()
            .any(|register| {
                general(register).is_some_and(|number| {
                    guest
                        .facts
                        .writes
                        .iter()
                        .any(|reg| reg.index() == usize::from(number))
                })
            });
    unknown || moves
}

fn can_capture(register: Register) -> bool {
    general(register).is_some()
        || register.is_vector_register()
        || register.is_k()
        || register.is_st()
        || register.is_mm()
}

/// Moves between a vector register's low bytes and memory that change nothing on the way.
fn is_vector_move(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(
        mnemonic,
        Movups
            | Movupd
            | Movaps
            | Movapd
            | Movdqu
            | Movdqa
            | Lddqu
            | Movss
            | Movsd
            | Movd
            | Movq
            | Movntps
            | Movntpd
            | Movntdq
            | Movntdqa
            | Movlps
            | Movlpd
            | Vmovups
            | Vmovupd
            | Vmovaps
            | Vmovapd
            | Vmovdqu
            | Vmovdqa
            | Vlddqu
            | Vmovss
            | Vmovsd
            | Vmovd
            | Vmovq
            | Vmovntps
            | Vmovntpd
            | Vmovntdq
            | Vmovntdqa
            | Vmovdqu8
            | Vmovdqu16
            | Vmovdqu32
            | Vmovdqu64
            | Vmovdqa32
            | Vmovdqa64
            | Vmovlps
            | Vmovlpd
    )
}
