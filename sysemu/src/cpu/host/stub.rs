//! Makes stubs: an instruction of the guest, with its registers loaded from the context before and stored to it afterwards, and its
//! memory operand in the context's buffer. Making code is safe; [`super::call`] runs it.

use crate::cpu::state::Context;
use dynasmrt::{DynasmApi, VecAssembler, dynasm, x64::X64Relocation};
use iced_x86::{
    CpuidFeature, Encoder, EncodingKind, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};
use std::mem::offset_of;

/// Which unit executes an instruction, and so what must be enabled and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// General registers only.
    Integer,
    /// x87; `waits` for pending errors; `control` instructions leave no trace in the instruction pointers.
    X87 { waits: bool, control: bool },
    /// MMX registers, perhaps together with vector registers.
    Mmx,
    /// Vector registers, legacy encoding.
    Sse,
    /// Vector registers, VEX encoding.
    Avx,
}

/// The memory operand of a planned instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand {
    pub(crate) bytes: u8,
    pub(crate) read: bool,
    pub(crate) write: bool,
    /// It must be aligned to its size.
    pub(crate) aligned: bool,
}

/// A stub to be, and what has to happen around it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) code: Vec<u8>,
    pub(crate) memory: Option<Operand>,
    pub(crate) unit: Unit,
    /// It uses MXCSR.
    pub(crate) float: bool,
}

const STATUS: i32 = offset_of!(Context, status) as i32;
const RUN_MXCSR: i32 = offset_of!(Context, run_mxcsr) as i32;
const HOST_MXCSR: i32 = offset_of!(Context, host_mxcsr) as i32;
const FX: i32 = offset_of!(Context, fx) as i32;
const YMM: i32 = offset_of!(Context, ymm) as i32;
const BUFFER: i32 = offset_of!(Context, buffer) as i32;
const _: () = assert!(offset_of!(Context, regs) == 0);

/// Registers for the context and for what the guest calls `rsp`: all can be used without a REX prefix.
const FREE: [u8; 6] = [7, 6, 3, 5, 1, 2];

#[derive(Default)]
struct Used {
    gpr_read: u16,
    gpr_written: u16,
    vector: u16,
    vector_written: u16,
    flags: bool,
}

/// Plans the stub of an instruction; none where it cannot be one (the caller has no other way to execute it then).
pub(crate) fn plan(instruction: &Instruction) -> Option<Plan> {
    let mut copy = *instruction;
    let unit = unit(instruction);
    let memory = memory_operand(&mut copy, unit)?;
    let stack_alias = rename_stack(&mut copy)?;
    let mut used = used(&copy)?;
    let taken = used.gpr_read | used.gpr_written;
    let context = free(taken)?;
    if memory.is_some() {
        copy.set_memory_base(Register::RAX + u32::from(context));
    }
    if let Some(alias) = stack_alias {
        // Loaded always: a partial write keeps the rest.
        used.gpr_read |= 1 << alias;
    }
    used.gpr_read |= used.gpr_written;
    let mut encoder = Encoder::new(64);
    encoder.encode(&copy, 0).ok()?;
    let body = encoder.take_buffer();
    let float = matches!(unit, Unit::Sse | Unit::Avx | Unit::Mmx) && uses_mxcsr(instruction);
    let code = emit(&used, context, stack_alias, &body, unit, float)?;
    Some(Plan {
        code,
        memory,
        unit,
        float,
    })
}

fn free(taken: u16) -> Option<u8> {
    FREE.into_iter().find(|&number| taken >> number & 1 == 0)
}

fn unit(instruction: &Instruction) -> Unit {
    use CpuidFeature::{FPU, FPU287, FPU287XL_ONLY, FPU387};
    let features = instruction.cpuid_features();
    let is_x87 = features
        .iter()
        .any(|f| matches!(*f, FPU | FPU287 | FPU387 | FPU287XL_ONLY))
        || matches!(instruction.mnemonic(), Mnemonic::Fisttp)
        || instruction.op_register(0).is_st();
    let registers = || (0..instruction.op_count()).map(|i| instruction.op_register(i));
    if is_x87 {
        return x87_unit(instruction.mnemonic());
    }
    if registers().any(Register::is_mm) || instruction.mnemonic() == Mnemonic::Emms {
        return Unit::Mmx;
    }
    // Conversions from memory to a general register name no vector register.
    let vector = registers().any(|r| r.is_vector_register())
        || format!("{:?}", instruction.mnemonic())
            .to_lowercase()
            .trim_start_matches('v')
            .starts_with("cvt");
    match instruction.encoding() {
        EncodingKind::Legacy if vector => Unit::Sse,
        EncodingKind::Legacy => Unit::Integer,
        _ if vector || instruction.mnemonic() == Mnemonic::Vzeroupper => Unit::Avx,
        _ if instruction.mnemonic() == Mnemonic::Vzeroall => Unit::Avx,
        _ => Unit::Integer,
    }
}

fn x87_unit(mnemonic: Mnemonic) -> Unit {
    use Mnemonic::*;
    let waits = !matches!(
        mnemonic,
        Fninit | Fnstcw | Fnstsw | Fnclex | Fnsave | Fnstenv | Fneni | Fndisi | Fnsetpm
    );
    let control = !waits || matches!(mnemonic, Fldcw | Fldenv | Frstor | Wait);
    Unit::X87 { waits, control }
}

/// Puts the buffer in the place of the memory operand. None: no stub. `Some(None)`: no memory operand.
fn memory_operand(copy: &mut Instruction, unit: Unit) -> Option<Option<Operand>> {
    let mut kinds = (0..copy.op_count()).map(|i| copy.op_kind(i));
    let memory = kinds.clone().any(|kind| kind == OpKind::Memory);
    let odd = kinds.any(|kind| {
        !matches!(
            kind,
            OpKind::Memory
                | OpKind::Register
                | OpKind::Immediate8
                | OpKind::Immediate8_2nd
                | OpKind::Immediate16
                | OpKind::Immediate32
                | OpKind::Immediate64
                | OpKind::Immediate8to16
                | OpKind::Immediate8to32
                | OpKind::Immediate8to64
                | OpKind::Immediate32to64
        )
    });
    if odd || copy.is_vsib() {
        return None;
    }
    copy.set_has_lock_prefix(false);
    copy.set_segment_prefix(Register::None);
    if !memory {
        return Some(None);
    }
    let bytes = copy.memory_size().size();
    if bytes == 0 || bytes > 108 {
        return None;
    }
    let mut factory = InstructionInfoFactory::new();
    let access = factory.info(copy).used_memory().first()?.access();
    let (read, write) = match access {
        OpAccess::Read | OpAccess::CondRead => (true, false),
        // An unmasked x87 error leaves the operand as it was.
        OpAccess::Write => (matches!(unit, Unit::X87 { .. }), true),
        OpAccess::ReadWrite | OpAccess::ReadCondWrite | OpAccess::CondWrite => (true, true),
        _ => return None,
    };
    let aligned = must_align(copy, unit, bytes);
    // A place-holder that is no general register, until one is known to be free.
    copy.set_memory_base(Register::RIP);
    copy.set_memory_index(Register::None);
    copy.set_memory_index_scale(1);
    copy.set_memory_displ_size(8);
    copy.set_memory_displacement64(BUFFER as u64);
    Some(Some(Operand {
        bytes: bytes as u8,
        read,
        write,
        aligned,
    }))
}

fn must_align(instruction: &Instruction, unit: Unit, bytes: usize) -> bool {
    use Mnemonic::*;
    let mnemonic = instruction.mnemonic();
    if mnemonic == Cmpxchg16b {
        return true;
    }
    match unit {
        Unit::Avx => matches!(
            mnemonic,
            Vmovaps | Vmovapd | Vmovdqa | Vmovntdq | Vmovntdqa | Vmovntps | Vmovntpd
        ),
        Unit::Sse | Unit::Mmx => {
            bytes == 16
                && !matches!(
                    mnemonic,
                    Movups
                        | Movupd
                        | Movdqu
                        | Lddqu
                        | Pcmpestri
                        | Pcmpestrm
                        | Pcmpistri
                        | Pcmpistrm
                        | Pcmpestri64
                        | Pcmpestrm64
                )
        }
        _ => false,
    }
}

/// Uses another register for `rsp`, which the host's code needs. None: impossible.
fn rename_stack(copy: &mut Instruction) -> Option<Option<u8>> {
    let is_stack = |register: Register| register.full_register() == Register::RSP;
    let named = (0..copy.op_count())
        .any(|i| copy.op_kind(i) == OpKind::Register && is_stack(copy.op_register(i)));
    if !named {
        return Some(None);
    }
    let before = used(copy)?;
    let alias = FREE
        .into_iter()
        .rev()
        .find(|&n| (before.gpr_read | before.gpr_written) >> n & 1 == 0)?;
    for operand in 0..copy.op_count() {
        let register = copy.op_register(operand);
        if copy.op_kind(operand) != OpKind::Register || !is_stack(register) {
            continue;
        }
        let number = u32::from(alias);
        let other = match register.size() {
            8 => Register::RAX + number,
            4 => Register::EAX + number,
            2 => Register::AX + number,
            _ if number < 4 => Register::AL + number,
            _ => Register::SPL + (number - 4),
        };
        copy.set_op_register(operand, other);
    }
    Some(Some(alias))
}

fn used(instruction: &Instruction) -> Option<Used> {
    let mut factory = InstructionInfoFactory::new();
    let mut used = Used::default();
    for register in factory.info(instruction).used_registers() {
        let reads = !matches!(register.access(), OpAccess::None | OpAccess::NoMemAccess);
        let writes = matches!(
            register.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        let full = register.register().full_register();
        if full.is_gpr() {
            used.gpr_read |= u16::from(reads) << full.number();
            used.gpr_written |= u16::from(writes) << full.number();
        } else if full.is_vector_register() {
            if full.number() > 15 {
                return None;
            }
            used.vector |= 1 << full.number();
            used.vector_written |= u16::from(writes) << full.number();
        } else if full.is_segment_register()
            || full.is_st()
            || full.is_mm()
            || full == Register::RIP
        {
            // Not ours to load: x87 and MMX registers go as a whole.
        } else {
            return None;
        }
    }
    used.flags = (instruction.rflags_read() | instruction.rflags_modified()) & 0x3f != 0;
    Some(used)
}

/// Whether rounding or exceptions of SIMD arithmetic may matter: too many is slow, too few would be wrong.
fn uses_mxcsr(instruction: &Instruction) -> bool {
    let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
    let base = name.strip_prefix('v').unwrap_or(&name);
    if base.starts_with("mov") || base.starts_with("gather") || base.starts_with("broadcast") {
        return false;
    }
    base.starts_with("cvt")
        || base.starts_with("round")
        || ["ps", "pd", "ss", "sd"]
            .iter()
            .any(|end| base.ends_with(end))
}

#[expect(
    clippy::useless_conversion,
    reason = "dynasm converts the numbers of registers"
)]
fn emit(
    used: &Used,
    p: u8,
    alias: Option<u8>,
    body: &[u8],
    unit: Unit,
    float: bool,
) -> Option<Vec<u8>> {
    let mut ops: VecAssembler<X64Relocation> = VecAssembler::new(0);
    let legacy_state = matches!(unit, Unit::X87 { .. } | Unit::Mmx);
    let touched = used.gpr_read | 1 << p;
    let saved: Vec<u8> = [3_u8, 5, 12, 13, 14, 15]
        .into_iter()
        .filter(|&number| touched >> number & 1 != 0)
        .collect();
    for &register in &saved {
        dynasm!(ops; .arch x64; push Rq(register));
    }
    if p != 7 {
        dynasm!(ops; .arch x64; mov Rq(p), rdi);
    }
    if legacy_state {
        dynasm!(ops; .arch x64; fxrstor64 [Rq(p) + FX]);
    }
    if float {
        dynasm!(ops; .arch x64; ldmxcsr [Rq(p) + RUN_MXCSR]);
    }
    let all = matches!(unit, Unit::Avx) && used.vector == 0;
    let vectors = |mask: u16| (0..16_u8).filter(move |n| mask >> n & 1 != 0);
    let (loaded, stored) = if all {
        // `vzeroupper`, `vzeroall`.
        (u16::MAX, u16::MAX)
    } else {
        (used.vector, used.vector_written)
    };
    for n in vectors(loaded) {
        dynasm!(ops; .arch x64; vmovdqu Ry(n), [Rq(p) + YMM + 32 * i32::from(n)]);
    }
    if used.flags {
        dynasm!(ops; .arch x64; movzx eax, WORD [Rq(p) + STATUS]; add al, 127; sahf);
    }
    let place = |n: u8| 8 * i32::from(if alias == Some(n) { 4 } else { n });
    for n in vectors(used.gpr_read) {
        dynasm!(ops; .arch x64; mov Rq(n), [Rq(p) + place(n)]);
    }
    ops.extend(body);
    for n in vectors(used.gpr_written) {
        dynasm!(ops; .arch x64; mov [Rq(p) + place(n)], Rq(n));
    }
    if used.flags {
        dynasm!(ops; .arch x64; lahf; seto al; mov [Rq(p) + STATUS], ax);
    }
    for n in vectors(stored) {
        dynasm!(ops; .arch x64; vmovdqu [Rq(p) + YMM + 32 * i32::from(n)], Ry(n));
    }
    if float {
        dynasm!(ops; .arch x64; stmxcsr [Rq(p) + RUN_MXCSR]; ldmxcsr [Rq(p) + HOST_MXCSR]);
    }
    if loaded != 0 {
        dynasm!(ops; .arch x64; vzeroupper);
    }
    if legacy_state {
        dynasm!(ops; .arch x64; fxsave64 [Rq(p) + FX]; fninit);
    }
    for &register in saved.iter().rev() {
        dynasm!(ops; .arch x64; pop Rq(register));
    }
    dynasm!(ops; .arch x64; ret);
    ops.finalize().ok()
}
