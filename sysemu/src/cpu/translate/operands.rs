//! The guest's operands as the host's: registers renamed, the memory operand at the address that the lookup gave.

use super::assembler::encode;
use super::registers::{FIRST, Home, SECOND, home, sized};
use iced_x86::{Code, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register};

/// What must happen around the instruction.
pub(super) struct Plan {
    pub(super) bytes: Vec<u8>,
    pub(super) memory: Option<Memory>,
    /// Guest registers that live in memory, the host registers that stand for them, and whether they are read and written.
    pub(super) lent: Vec<Lent>,
    /// The address must be in the first scratch register alone.
    pub(super) fold: bool,
}

/// The memory operand.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) bytes: usize,
    pub(super) write: bool,
}

/// A guest register that lives in memory, and the host register that stands for it.
#[derive(Clone, Copy)]
pub(super) struct Lent {
    pub(super) guest: u8,
    pub(super) host: u8,
    pub(super) read: bool,
    pub(super) written: bool,
}

/// The form of an instruction that takes any register.
fn general_form(code: Code) -> Code {
    use Code::*;
    match code {
        Add_AL_imm8 => Add_rm8_imm8,
        Add_AX_imm16 => Add_rm16_imm16,
        Add_EAX_imm32 => Add_rm32_imm32,
        Add_RAX_imm32 => Add_rm64_imm32,
        Or_AL_imm8 => Or_rm8_imm8,
        Or_AX_imm16 => Or_rm16_imm16,
        Or_EAX_imm32 => Or_rm32_imm32,
        Or_RAX_imm32 => Or_rm64_imm32,
        Adc_AL_imm8 => Adc_rm8_imm8,
        Adc_AX_imm16 => Adc_rm16_imm16,
        Adc_EAX_imm32 => Adc_rm32_imm32,
        Adc_RAX_imm32 => Adc_rm64_imm32,
        Sbb_AL_imm8 => Sbb_rm8_imm8,
        Sbb_AX_imm16 => Sbb_rm16_imm16,
        Sbb_EAX_imm32 => Sbb_rm32_imm32,
        Sbb_RAX_imm32 => Sbb_rm64_imm32,
        And_AL_imm8 => And_rm8_imm8,
        And_AX_imm16 => And_rm16_imm16,
        And_EAX_imm32 => And_rm32_imm32,
        And_RAX_imm32 => And_rm64_imm32,
        Sub_AL_imm8 => Sub_rm8_imm8,
        Sub_AX_imm16 => Sub_rm16_imm16,
        Sub_EAX_imm32 => Sub_rm32_imm32,
        Sub_RAX_imm32 => Sub_rm64_imm32,
        Xor_AL_imm8 => Xor_rm8_imm8,
        Xor_AX_imm16 => Xor_rm16_imm16,
        Xor_EAX_imm32 => Xor_rm32_imm32,
        Xor_RAX_imm32 => Xor_rm64_imm32,
        Cmp_AL_imm8 => Cmp_rm8_imm8,
        Cmp_AX_imm16 => Cmp_rm16_imm16,
        Cmp_EAX_imm32 => Cmp_rm32_imm32,
        Cmp_RAX_imm32 => Cmp_rm64_imm32,
        Test_AL_imm8 => Test_rm8_imm8,
        Test_AX_imm16 => Test_rm16_imm16,
        Test_EAX_imm32 => Test_rm32_imm32,
        Test_RAX_imm32 => Test_rm64_imm32,
        Xchg_r16_AX => Xchg_rm16_r16,
        Xchg_r32_EAX => Xchg_rm32_r32,
        Xchg_r64_RAX => Xchg_rm64_r64,
        Mov_AL_moffs8 => Mov_r8_rm8,
        Mov_AX_moffs16 => Mov_r16_rm16,
        Mov_EAX_moffs32 => Mov_r32_rm32,
        Mov_RAX_moffs64 => Mov_r64_rm64,
        Mov_moffs8_AL => Mov_rm8_r8,
        Mov_moffs16_AX => Mov_rm16_r16,
        Mov_moffs32_EAX => Mov_rm32_r32,
        Mov_moffs64_RAX => Mov_rm64_r64,
        other => other,
    }
}

/// Plans the instruction with the host's operands; none where there are too few registers or no encoding.
pub(super) fn plan(i: &Instruction) -> Option<Plan> {
    let mut copy = *i;
    copy.set_code(general_form(i.code()));
    copy.set_has_lock_prefix(false);
    copy.set_segment_prefix(Register::None);
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(i);
    let memory = match info.used_memory() {
        [] => None,
        [one] => Some(Memory {
            bytes: i.memory_size().size(),
            write: !matches!(one.access(), OpAccess::Read | OpAccess::CondRead),
        }),
        _ => return None,
    };
    let mut lent: Vec<Lent> = Vec::new();
    for n in 0..i.op_count() {
        if i.op_kind(n) != OpKind::Register {
            continue;
        }
        let register = i.op_register(n);
        if !register.is_gpr() {
            continue;
        }
        let number = register.full_register().number() as u8;
        let host = match home(number) {
            Home::Host(host) => host,
            Home::Memory => {
                let access = info.op_access(n);
                let whole = register.size() >= 4;
                let written = !matches!(access, OpAccess::Read | OpAccess::CondRead);
                let read = access != OpAccess::Write || !whole;
                lend(&mut lent, number, read, written, memory.is_some())?
            }
        };
        copy.set_op_register(n, sized(register, host));
    }
    let fold = lent.iter().any(|one| one.read);
    if memory.is_some() {
        copy.set_memory_base(if fold { Register::R11 } else { Register::R15 });
        copy.set_memory_index(if fold { Register::None } else { Register::R11 });
        copy.set_memory_index_scale(1);
        copy.set_memory_displ_size(0);
        copy.set_memory_displacement64(0);
    }
    Some(Plan {
        bytes: encode(&copy)?,
        memory,
        lent,
        fold,
    })
}

/// A scratch register that stands for a guest register in memory.
fn lend(
    lent: &mut Vec<Lent>,
    guest: u8,
    read: bool,
    written: bool,
    with_memory: bool,
) -> Option<u8> {
    if let Some(one) = lent.iter_mut().find(|one| one.guest == guest) {
        one.read |= read;
        one.written |= written;
        return Some(one.host);
    }
    let host = match (lent.len(), with_memory) {
        (0, _) => SECOND,
        (1, false) => FIRST,
        _ => return None,
    };
    lent.push(Lent {
        guest,
        host,
        read,
        written,
    });
    Some(host)
}
