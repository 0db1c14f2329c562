//! Integer arithmetic and bits.

use super::{Kind, by_number, by_size, by_wide_size, kind, size};
use crate::cpu::op::{Handler, Op};
use crate::cpu::ops::{alu, bits};
use iced_x86::{Instruction, Mnemonic};

/// True where the instruction belongs here.
pub(super) fn decode(i: &Instruction, op: &mut Op) -> bool {
    two_operands(i, op)
        || one_operand(i, op)
        || shifts(i, op)
        || products(i, op)
        || exchanges(i, op)
        || bit_tests(i, op)
}

fn two_operands(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let number = match i.mnemonic() {
        Add => 0,
        Or => 1,
        Adc => 2,
        Sbb => 3,
        And => 4,
        Sub => 5,
        Xor => 6,
        Cmp => alu::CMP,
        Test => alu::TEST,
        _ => return false,
    };
    let size = size(i);
    op.run = match (kind(i, 0), kind(i, 1)) {
        (Kind::Register, Kind::Register) => {
            by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7, 8]; by_size; size; alu::rr)
        }
        (Kind::Register, Kind::Memory) => {
            by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7, 8]; by_size; size; alu::rm)
        }
        (Kind::Memory, Kind::Register) => {
            by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7, 8]; by_size; size; alu::mr)
        }
        (Kind::Register, Kind::Immediate) => {
            op.imm = i.immediate(1);
            by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7, 8]; by_size; size; alu::ri)
        }
        (Kind::Memory, Kind::Immediate) => {
            op.imm = i.immediate(1);
            by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7, 8]; by_size; size; alu::mi)
        }
        _ => return false,
    };
    true
}

fn one_operand(i: &Instruction, op: &mut Op) -> bool {
    let number = match i.mnemonic() {
        Mnemonic::Inc => 0,
        Mnemonic::Dec => 1,
        Mnemonic::Not => 2,
        Mnemonic::Neg => 3,
        _ => return false,
    };
    let size = size(i);
    op.run = if kind(i, 0) == Kind::Register {
        by_number!(number; [0, 1, 2, 3]; by_size; size; alu::one_r)
    } else {
        by_number!(number; [0, 1, 2, 3]; by_size; size; alu::one_m)
    };
    true
}

fn shifts(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let number = match i.mnemonic() {
        Rol => 0,
        Ror => 1,
        Rcl => 2,
        Rcr => 3,
        Shl => 4,
        Shr => 5,
        Sal => 6,
        Sar => 7,
        _ => return false,
    };
    if kind(i, 1) == Kind::Immediate {
        op.imm = i.immediate(1);
    } else {
        op.aux = 1;
    }
    let size = size(i);
    op.run = if kind(i, 0) == Kind::Register {
        by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7]; by_size; size; alu::shift_r)
    } else {
        by_number!(number; [0, 1, 2, 3, 4, 5, 6, 7]; by_size; size; alu::shift_m)
    };
    true
}

fn products(i: &Instruction, op: &mut Op) -> bool {
    let size = size(i);
    let register = kind(i, 0) == Kind::Register;
    let number = match i.mnemonic() {
        Mnemonic::Mul => 0,
        Mnemonic::Imul if i.op_count() == 1 => 1,
        Mnemonic::Div => 2,
        Mnemonic::Idiv => 3,
        Mnemonic::Imul => {
            if i.op_count() == 3 {
                op.imm = i.immediate(2);
            }
            op.run = match (kind(i, 1), i.op_count()) {
                (Kind::Register, 2) => by_wide_size!(size; alu::imul_rr),
                (Kind::Memory, 2) => by_wide_size!(size; alu::imul_rm),
                (Kind::Register, _) => by_wide_size!(size; alu::imul_rri),
                _ => by_wide_size!(size; alu::imul_rmi),
            };
            return true;
        }
        _ => return false,
    };
    op.run = if register {
        by_number!(number; [0, 1, 2, 3]; by_size; size; alu::wide_r)
    } else {
        by_number!(number; [0, 1, 2, 3]; by_size; size; alu::wide_m)
    };
    true
}

fn exchanges(i: &Instruction, op: &mut Op) -> bool {
    let size = size(i);
    let register = kind(i, 0) == Kind::Register;
    op.run = match (i.mnemonic(), register) {
        (Mnemonic::Xadd, true) => by_size!(size; alu::xadd_r),
        (Mnemonic::Xadd, false) => by_size!(size; alu::xadd_m),
        (Mnemonic::Cmpxchg, true) => by_size!(size; alu::cmpxchg_r),
        (Mnemonic::Cmpxchg, false) => by_size!(size; alu::cmpxchg_m),
        _ => return false,
    };
    true
}

fn bit_tests(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let size = size(i);
    let number = match i.mnemonic() {
        Bt => 0,
        Bts => 1,
        Btr => 2,
        Btc => 3,
        Bsf | Bsr => {
            let number = u8::from(i.mnemonic() == Bsr);
            op.run = if kind(i, 1) == Kind::Register {
                by_number!(number; [0, 1]; by_wide_size; size; bits::scan_r)
            } else {
                by_number!(number; [0, 1]; by_wide_size; size; bits::scan_m)
            };
            return true;
        }
        _ => return false,
    };
    if kind(i, 1) == Kind::Immediate {
        op.imm = i.immediate(1);
        op.aux = 1;
    }
    op.run = if kind(i, 0) == Kind::Register {
        by_number!(number; [0, 1, 2, 3]; by_wide_size; size; bits::test_r)
    } else {
        by_number!(number; [0, 1, 2, 3]; by_wide_size; size; bits::test_m)
    };
    true
}
