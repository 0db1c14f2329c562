//! Integer instructions that run as themselves, with other registers and the host's address of their memory operand.

use super::assembler::encode;
use super::block::{Builder, has_memory};
use super::registers::{FIRST, Home, SECOND, home, is_high_byte, sized};
use iced_x86::{
    Code, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

/// The six status flags as iced numbers them.
const STATUS: u32 = iced_x86::RflagsBits::OF
    | iced_x86::RflagsBits::SF
    | iced_x86::RflagsBits::ZF
    | iced_x86::RflagsBits::AF
    | iced_x86::RflagsBits::CF
    | iced_x86::RflagsBits::PF;

/// What must happen around the instruction.
struct Plan {
    bytes: Vec<u8>,
    memory: Option<Memory>,
    /// Guest registers that live in memory, the host registers that stand for them, and whether they are read and written.
    lent: Vec<Lent>,
    /// The address must be in the first scratch register alone.
    fold: bool,
}

#[derive(Clone, Copy)]
struct Memory {
    bytes: usize,
    write: bool,
}

#[derive(Clone, Copy)]
struct Lent {
    guest: u8,
    host: u8,
    read: bool,
    written: bool,
}

/// Whether the instruction has no operands but those that it names (a count in `cl` aside), and does nothing but compute.
fn is_plain(i: &Instruction) -> bool {
    use Mnemonic::*;
    let known = matches!(
        i.mnemonic(),
        Mov | Add | Or | Adc | Sbb | And | Sub | Xor | Cmp | Test | Not | Neg | Inc | Dec | Shl
            | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Movzx | Movsx | Movsxd | Bswap | Xchg
            | Xadd | Bt | Bts | Btr | Btc | Bsf | Bsr | Popcnt | Lzcnt | Tzcnt | Shld | Shrd
            | Andn | Bextr | Blsi | Blsmsk | Blsr | Bzhi | Pdep | Pext | Rorx | Sarx | Shlx | Shrx
            | Adcx | Adox | Movbe | Crc32 | Clc | Stc | Cmc
            | Cmovo | Cmovno | Cmovb | Cmovae | Cmove | Cmovne | Cmovbe | Cmova
            | Cmovs | Cmovns | Cmovp | Cmovnp | Cmovl | Cmovge | Cmovle | Cmovg
            | Seto | Setno | Setb | Setae | Sete | Setne | Setbe | Seta
            | Sets | Setns | Setp | Setnp | Setl | Setge | Setle | Setg
    );
    let products = i.mnemonic() == Imul && i.op_count() > 1;
    let registers = (0..i.op_count()).all(|n| {
        i.op_kind(n) != OpKind::Register
            || i.op_register(n).is_gpr() && !is_high_byte(i.op_register(n))
    });
    // A bit number in a register reaches beyond a memory operand.
    let bit_string = matches!(i.mnemonic(), Bt | Bts | Btr | Btc)
        && has_memory(i)
        && i.op_kind(1) == OpKind::Register;
    (known || products) && registers && !bit_string && general_form(i.code()).is_some()
}

/// The form of an instruction that takes any register; none where there is no such form.
fn general_form(code: Code) -> Option<Code> {
    use Code::*;
    Some(match code {
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
    })
}

/// Plans the instruction with the host's operands; none where there are too few registers or no encoding.
fn plan(i: &Instruction) -> Option<Plan> {
    let mut copy = *i;
    copy.set_code(general_form(i.code())?);
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

/// What the instruction does with the status flags.
pub(super) struct FlagUse {
    /// It reads some, keeps some, or leaves some undefined, which is the host's business.
    pub(super) before: bool,
    pub(super) after: bool,
}

impl FlagUse {
    pub(super) fn of(i: &Instruction) -> FlagUse {
        let modified = i.rflags_modified() & STATUS;
        let undefined = i.rflags_undefined() & STATUS;
        // Logic leaves AF undefined; all processors clear it.
        let logic = matches!(
            i.mnemonic(),
            Mnemonic::And | Mnemonic::Or | Mnemonic::Xor | Mnemonic::Test
        );
        let allowed = if logic { iced_x86::RflagsBits::AF } else { 0 };
        let all = modified == STATUS && undefined & !allowed == 0;
        FlagUse {
            before: i.rflags_read() & STATUS != 0 || modified != 0 && !all,
            after: modified != 0,
        }
    }
}

impl Builder<'_> {
    /// Emits an integer instruction; false where it is not one of those, and nothing was emitted.
    pub(super) fn integer(&mut self, i: &Instruction, site: usize) -> bool {
        if !is_plain(i) {
            return false;
        }
        let Some(plan) = plan(i) else {
            return false;
        };
        let access = plan
            .memory
            .map(|memory| self.access(i, memory.bytes, memory.write));
        if plan.fold && access.is_some() {
            self.code.fold();
        }
        for lent in plan.lent.iter().filter(|lent| lent.read) {
            self.code.load_guest(lent.host, lent.guest);
        }
        let flags = FlagUse::of(i);
        if flags.before {
            self.code.own_flags();
        }
        self.code.bytes(&plan.bytes);
        if flags.after {
            self.code.flags_are_own();
        }
        for lent in plan.lent.iter().filter(|lent| lent.written) {
            self.code.store_guest(lent.guest, lent.host);
        }
        if let Some(access) = access {
            self.accessed(access, site);
        }
        true
    }
}
