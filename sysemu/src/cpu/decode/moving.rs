//! Moves, stack, strings, branches.

use super::{Kind, by_number, by_size, by_wide_size, kind, operand_size, size, stack_size};
use crate::cpu::op::{Handler, Op};
use crate::cpu::ops::{branch, moves, stack, string, system};
use crate::cpu::state::CodeSize;
use iced_x86::{Code, ConditionCode, Instruction, Mnemonic, OpKind, Register};

/// True where the instruction belongs here.
pub(super) fn decode(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    plain_moves(i, mode, op)
        || extensions(i, op)
        || conditional(i, op)
        || on_stack(i, op)
        || strings(i, op)
        || branches(i, mode, op)
}

fn special(register: Register) -> bool {
    register.is_segment_register() || register.is_cr() || register.is_dr() || register.is_tr()
}

fn plain_moves(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    use Mnemonic::*;
    let size = size(i);
    op.run = match (i.mnemonic(), kind(i, 0), kind(i, 1)) {
        (Mov, _, _) if special(i.op0_register()) || special(i.op1_register()) => {
            return special_moves(i, mode, op);
        }
        (Mov, Kind::Register, Kind::Register) => by_size!(size; moves::rr),
        (Mov, Kind::Register, Kind::Memory) => by_size!(size; moves::rm),
        (Mov, Kind::Memory, Kind::Register) => by_size!(size; moves::mr),
        (Mov, Kind::Register, Kind::Immediate) => {
            op.imm = i.immediate(1);
            by_size!(size; moves::ri)
        }
        (Mov, Kind::Memory, Kind::Immediate) => {
            op.imm = i.immediate(1);
            by_size!(size; moves::mi)
        }
        (Lea, _, _) => by_wide_size!(size; moves::lea),
        (Xchg, Kind::Register, Kind::Register) => by_size!(size; moves::xchg_rr),
        (Xchg, Kind::Memory, _) => by_size!(size; moves::xchg_m),
        (Xchg, _, _) => {
            op.src = op.dst;
            by_size!(size; moves::xchg_m)
        }
        (Bswap, _, _) if size >= 4 => by_size!(size; moves::bswap),
        (Xlatb, _, _) => {
            op.mask = super::address_mask(i.memory_base());
            op.seg = i.memory_segment().number() as u8;
            moves::xlat
        }
        (Lahf, _, _) => moves::lahf,
        (Sahf, _, _) => moves::sahf,
        _ => return false,
    };
    true
}

/// `mov` with segment, control and debug registers.
fn special_moves(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    let (to, from) = (i.op0_register(), i.op1_register());
    let memory = kind(i, 0) == Kind::Memory || kind(i, 1) == Kind::Memory;
    if to.is_segment_register() && kind(i, 0) == Kind::Register {
        op.run = match (to, memory) {
            (Register::CS, _) => system::undefined,
            (_, true) => system::set_segment_m,
            _ => system::set_segment_r,
        };
        return true;
    }
    op.run = if from.is_segment_register() {
        let size = size(i);
        if memory {
            system::get_segment_m
        } else {
            by_wide_size!(size; system::get_segment_r)
        }
    } else if to.is_cr() {
        system::set_control
    } else if from.is_cr() {
        system::get_control
    } else if to.is_dr() {
        system::set_debug
    } else if from.is_dr() {
        system::get_debug
    } else {
        system::undefined
    };
    let _ = mode;
    true
}

macro_rules! extension {
    ($from:expr, $to:expr, $signed:literal, $path:ident) => {
        match ($from, $to) {
            (1, 2) => moves::$path::<u8, u16, $signed> as Handler,
            (1, 4) => moves::$path::<u8, u32, $signed> as Handler,
            (1, _) => moves::$path::<u8, u64, $signed> as Handler,
            (2, 2) => moves::$path::<u16, u16, $signed> as Handler,
            (2, 4) => moves::$path::<u16, u32, $signed> as Handler,
            (2, _) => moves::$path::<u16, u64, $signed> as Handler,
            (_, 2) => moves::$path::<u32, u16, $signed> as Handler,
            (_, 4) => moves::$path::<u32, u32, $signed> as Handler,
            (_, _) => moves::$path::<u32, u64, $signed> as Handler,
        }
    };
}

fn extensions(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let to = size(i);
    op.run = match i.mnemonic() {
        Movzx | Movsx | Movsxd => {
            let from = operand_size(i, 1);
            let signed = i.mnemonic() != Movzx;
            match (kind(i, 1), signed) {
                (Kind::Register, true) => extension!(from, to, true, extend_r),
                (Kind::Register, false) => extension!(from, to, false, extend_r),
                (_, true) => extension!(from, to, true, extend_m),
                (_, false) => extension!(from, to, false, extend_m),
            }
        }
        Cbw => moves::widen::<u8, u16>,
        Cwde => moves::widen::<u16, u32>,
        Cdqe => moves::widen::<u32, u64>,
        Cwd => moves::sign::<u16>,
        Cdq => moves::sign::<u32>,
        Cqo => moves::sign::<u64>,
        _ => return false,
    };
    true
}

/// The condition's number in opcodes.
pub(crate) fn condition(code: ConditionCode) -> Option<u8> {
    use ConditionCode as C;
    Some(match code {
        C::o => 0,
        C::no => 1,
        C::b => 2,
        C::ae => 3,
        C::e => 4,
        C::ne => 5,
        C::be => 6,
        C::a => 7,
        C::s => 8,
        C::ns => 9,
        C::p => 10,
        C::np => 11,
        C::l => 12,
        C::ge => 13,
        C::le => 14,
        C::g => 15,
        C::None => return None,
    })
}

fn conditional(i: &Instruction, op: &mut Op) -> bool {
    let Some(number) = condition(i.condition_code()) else {
        return false;
    };
    op.aux = number;
    let size = size(i);
    let register = kind(i, 0) == Kind::Register;
    if i.is_jcc_short_or_near() {
        relative(i, op);
        op.run = jcc(number);
        return true;
    }
    let code = i.code().op_code();
    let is_cmov = i.op_count() == 2 && register && i.op0_register().is_gpr() && size > 1;
    op.run = if is_cmov && code.instruction_string().starts_with("CMOV") {
        if kind(i, 1) == Kind::Register {
            by_wide_size!(size; moves::cmov_r)
        } else {
            by_wide_size!(size; moves::cmov_m)
        }
    } else if i.op_count() == 1 && code.instruction_string().starts_with("SET") {
        if register { moves::set_r } else { moves::set_m }
    } else {
        // `loope`, FCMOVcc: not here.
        op.aux = 0;
        return false;
    };
    true
}

fn jcc(number: u8) -> Handler {
    match number {
        0 => branch::jcc::<0>,
        1 => branch::jcc::<1>,
        2 => branch::jcc::<2>,
        3 => branch::jcc::<3>,
        4 => branch::jcc::<4>,
        5 => branch::jcc::<5>,
        6 => branch::jcc::<6>,
        7 => branch::jcc::<7>,
        8 => branch::jcc::<8>,
        9 => branch::jcc::<9>,
        10 => branch::jcc::<10>,
        11 => branch::jcc::<11>,
        12 => branch::jcc::<12>,
        13 => branch::jcc::<13>,
        14 => branch::jcc::<14>,
        _ => branch::jcc::<15>,
    }
}

fn on_stack(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let size = stack_size(i);
    op.run = match (i.mnemonic(), kind(i, 0)) {
        (Push, Kind::Register) if i.op0_register().is_segment_register() => {
            by_wide_size!(size; stack::push_segment)
        }
        (Pop, Kind::Register) if i.op0_register().is_segment_register() => {
            by_wide_size!(size; stack::pop_segment)
        }
        (Push, Kind::Register) => by_wide_size!(size; stack::push_r),
        (Push, Kind::Memory) => by_wide_size!(size; stack::push_m),
        (Push, _) => {
            op.imm = i.immediate(0);
            by_wide_size!(size; stack::push_i)
        }
        (Pop, Kind::Register) => by_wide_size!(size; stack::pop_r),
        (Pop, _) => by_wide_size!(size; stack::pop_m),
        (Pushf | Pushfd | Pushfq, _) => by_wide_size!(size; stack::pushf),
        (Popf | Popfd | Popfq, _) => by_wide_size!(size; stack::popf),
        (Pusha | Pushad, _) => by_wide_size!(size / 8; stack::pusha),
        (Popa | Popad, _) => by_wide_size!(size / 8; stack::popa),
        (Enter, _) => {
            op.imm = i.immediate(0);
            op.aux = i.immediate(1) as u8;
            match i.code() {
                Code::Enterw_imm16_imm8 => stack::enter::<u16>,
                Code::Enterd_imm16_imm8 => stack::enter::<u32>,
                _ => stack::enter::<u64>,
            }
        }
        (Leave, _) => match i.code() {
            Code::Leavew => stack::leave::<u16>,
            Code::Leaved => stack::leave::<u32>,
            _ => stack::leave::<u64>,
        },
        _ => return false,
    };
    true
}

fn strings(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let number = match i.mnemonic() {
        Movsb | Movsw | Movsq => string::MOVS,
        Movsd if i.is_string_instruction() => string::MOVS,
        Stosb | Stosw | Stosd | Stosq => string::STOS,
        Lodsb | Lodsw | Lodsd | Lodsq => string::LODS,
        Scasb | Scasw | Scasd | Scasq => string::SCAS,
        Cmpsb | Cmpsw | Cmpsq => string::CMPS,
        Cmpsd if i.is_string_instruction() => string::CMPS,
        Insb | Insw | Insd => string::INS,
        Outsb | Outsw | Outsd => string::OUTS,
        _ => return false,
    };
    op.aux = if i.has_repne_prefix() {
        2
    } else {
        u8::from(i.has_rep_prefix())
    };
    op.seg = i.memory_segment().number() as u8;
    op.mask = u64::MAX;
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => op.mask = 0xffff,
            OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => {
                op.mask = 0xffff_ffff;
            }
            _ => {}
        }
    }
    let size = i.memory_size().size();
    op.run = by_number!(number; [0, 1, 2, 3, 4, 5, 6]; by_size; size; string::run);
    true
}

/// The distance of a relative branch, and the bits of its target.
fn relative(i: &Instruction, op: &mut Op) {
    let (target, mask) = match i.op_kind(0) {
        OpKind::NearBranch16 => (u64::from(i.near_branch16()), 0xffff),
        OpKind::NearBranch32 => (u64::from(i.near_branch32()), 0xffff_ffff),
        _ => (i.near_branch64(), u64::MAX),
    };
    op.imm = target.wrapping_sub(i.len() as u64);
    op.mask = mask;
}

fn branches(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    use Mnemonic::*;
    let near = matches!(
        i.op_kind(0),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    ) && i.op_count() == 1;
    let size = size(i);
    let natural = match mode {
        CodeSize::Bits16 => 2,
        CodeSize::Bits32 => 4,
        CodeSize::Bits64 => 8,
    };
    op.run = match i.mnemonic() {
        Jmp | Call if i.is_jmp_far_indirect() || i.is_call_far_indirect() => return false,
        Jmp if near => {
            relative(i, op);
            branch::jmp
        }
        Jmp if kind(i, 0) == Kind::Register => by_wide_size!(size; branch::jmp_r),
        Jmp if kind(i, 0) == Kind::Memory => by_wide_size!(size; branch::jmp_m),
        Call if near => {
            relative(i, op);
            let size = stack_size(i);
            by_wide_size!(size; branch::call)
        }
        Call if kind(i, 0) == Kind::Register => by_wide_size!(size; branch::call_r),
        Call if kind(i, 0) == Kind::Memory => by_wide_size!(size; branch::call_m),
        Ret => {
            if i.op_count() == 1 {
                op.imm = i.immediate(0);
            }
            match i.code() {
                Code::Retnw | Code::Retnw_imm16 => branch::ret::<u16>,
                Code::Retnd | Code::Retnd_imm16 => branch::ret::<u32>,
                _ => branch::ret::<u64>,
            }
        }
        Jcxz | Jecxz | Jrcxz | Loop | Loope | Loopne => {
            relative(i, op);
            op.more = match i.mnemonic() {
                Loop => 1,
                Loope => 2,
                Loopne => 3,
                _ => 0,
            };
            op.aux = count_size(i, natural);
            branch::loops
        }
        _ => return false,
    };
    true
}

/// Size of the register that `loop` and `jcxz` count in: the address size, which their opcode name tells.
fn count_size(i: &Instruction, natural: u8) -> u8 {
    match i.mnemonic() {
        Mnemonic::Jcxz => return 2,
        Mnemonic::Jecxz => return 4,
        Mnemonic::Jrcxz => return 8,
        _ => {}
    }
    let name = format!("{:?}", i.code());
    if name.ends_with("_RCX") {
        8
    } else if name.ends_with("_ECX") {
        4
    } else if name.ends_with("_CX") {
        2
    } else {
        natural
    }
}
