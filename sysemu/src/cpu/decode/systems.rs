//! System instructions, ports, flags, state saving, and those that do nothing here.

use super::{Kind, kind, size};
use crate::cpu::op::Op;
use crate::cpu::ops::{hosted, masked, moves, ports, stack, system, xsave};
use crate::cpu::state::CodeSize;
use iced_x86::{Code, EncodingKind, Instruction, Mnemonic, OpKind};

/// True where the instruction belongs here.
pub(super) fn decode(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    flags_and_ports(i, op)
        || transfers(i, op)
        || tables(i, mode, op)
        || processor(i, op)
        || saving(i, op)
        || elements(i, op)
        || nothing(i, op)
}

fn flags_and_ports(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    op.aux = match i.mnemonic() {
        Clc => 0,
        Stc => 1,
        Cmc => 2,
        Cld => 3,
        Std => 4,
        Cli => 5,
        Sti => 6,
        Clac => 7,
        Stac => 8,
        In | Out => {
            let (value, port) = if i.mnemonic() == In { (0, 1) } else { (1, 0) };
            op.aux = i.op_register(value).size() as u8;
            if kind(i, port) == Kind::Immediate {
                op.imm = i.immediate(port);
                op.more = 1;
            }
            op.run = if i.mnemonic() == In {
                ports::input
            } else {
                ports::output
            };
            return true;
        }
        _ => return false,
    };
    op.run = stack::flag;
    true
}

fn transfers(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    op.run = match i.mnemonic() {
        Int => {
            op.imm = i.immediate(0);
            system::int
        }
        Int3 => {
            op.imm = 3;
            system::int
        }
        Int1 => system::int1,
        Into => system::into,
        Iret | Iretd | Iretq => {
            op.aux = match i.code() {
                Code::Iretw => 2,
                Code::Iretd => 4,
                _ => 8,
            };
            system::iret
        }
        Retf => {
            if i.op_count() == 1 {
                op.imm = i.immediate(0);
            }
            op.aux = match i.code() {
                Code::Retfw | Code::Retfw_imm16 => 2,
                Code::Retfd | Code::Retfd_imm16 => 4,
                _ => 8,
            };
            system::retf
        }
        Jmp | Call => {
            op.more = u32::from(i.mnemonic() == Call);
            match i.op_kind(0) {
                OpKind::FarBranch16 => {
                    op.aux = 2;
                    op.imm = u64::from(i.far_branch_selector()) << 32 | u64::from(i.far_branch16());
                    system::far_direct
                }
                OpKind::FarBranch32 => {
                    op.aux = 4;
                    op.imm = u64::from(i.far_branch_selector()) << 32 | u64::from(i.far_branch32());
                    system::far_direct
                }
                _ => {
                    op.aux = i.memory_size().size() as u8 - 2;
                    system::far_memory
                }
            }
        }
        Lss | Lfs | Lgs | Lds | Les => {
            op.aux = i.memory_size().size() as u8 - 2;
            op.more = match i.mnemonic() {
                Les => 0,
                Lss => 2,
                Lds => 3,
                Lfs => 4,
                _ => 5,
            };
            system::load_far
        }
        Syscall => system::syscall,
        Sysret | Sysretq => {
            op.aux = if i.code() == Code::Sysretq { 8 } else { 4 };
            system::sysret
        }
        Sysenter => system::sysenter,
        Sysexit | Sysexitq => {
            op.aux = if i.code() == Code::Sysexitq { 8 } else { 4 };
            system::sysexit
        }
        _ => return false,
    };
    true
}

fn tables(i: &Instruction, mode: CodeSize, op: &mut Op) -> bool {
    use Mnemonic::*;
    let register = kind(i, 0) == Kind::Register;
    op.run = match i.mnemonic() {
        Lgdt | Lidt => {
            op.more = u32::from(i.mnemonic() == Lidt);
            op.aux = match (i.code(), mode) {
                (Code::Lgdt_m1632_16 | Code::Lidt_m1632_16, _) => 2,
                _ => 4,
            };
            system::load_table
        }
        Sgdt | Sidt => {
            op.more = u32::from(i.mnemonic() == Sidt);
            system::store_table
        }
        Lldt | Ltr => {
            op.more = u32::from(i.mnemonic() == Ltr);
            op.aux = u8::from(register);
            system::load_system
        }
        Sldt | Str | Smsw => {
            op.more = match i.mnemonic() {
                Sldt => 0,
                Str => 1,
                _ => 2,
            };
            op.aux = if register { size(i) as u8 } else { 0 };
            system::store_system
        }
        Lmsw => {
            op.aux = u8::from(register);
            system::lmsw
        }
        Lar | Lsl => {
            op.more = u32::from(i.mnemonic() == Lsl);
            op.aux = u8::from(kind(i, 1) == Kind::Register);
            op.imm = size(i) as u64;
            system::inspect
        }
        Verr | Verw => {
            op.more = 2 + u32::from(i.mnemonic() == Verw);
            op.aux = u8::from(register);
            op.src = op.dst;
            system::inspect
        }
        _ => return false,
    };
    true
}

fn processor(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    op.run = match i.mnemonic() {
        Hlt => system::hlt,
        Ud0 | Ud1 | Ud2 => system::undefined,
        Clts => system::clts,
        Invlpg => system::invlpg,
        Wbinvd | Invd => system::privileged_nothing,
        Cpuid => system::cpuid,
        Rdtsc => system::rdtsc,
        Rdtscp => {
            op.more = 1;
            system::rdtsc
        }
        Rdpmc => system::rdpmc,
        Rdmsr => system::rdmsr,
        Wrmsr => system::wrmsr,
        Swapgs => system::swapgs,
        Rdfsbase | Rdgsbase | Wrfsbase | Wrgsbase => {
            op.more = match i.mnemonic() {
                Rdfsbase => 0,
                Rdgsbase => 1,
                Wrfsbase => 2,
                _ => 3,
            };
            op.aux = size(i) as u8;
            system::base
        }
        _ => return false,
    };
    true
}

fn saving(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    op.run = match i.mnemonic() {
        Fxsave | Fxsave64 => xsave::fxsave,
        Fxrstor | Fxrstor64 => xsave::fxrstor,
        Xsave | Xsave64 | Xsaveopt | Xsaveopt64 => xsave::xsave,
        Xrstor | Xrstor64 => xsave::xrstor,
        Xgetbv => xsave::xgetbv,
        Xsetbv => xsave::xsetbv,
        Ldmxcsr | Vldmxcsr => {
            if i.mnemonic() == Vldmxcsr {
                op.more = hosted::AVX;
            }
            hosted::ldmxcsr
        }
        Stmxcsr | Vstmxcsr => {
            if i.mnemonic() == Vstmxcsr {
                op.more = hosted::AVX;
            }
            hosted::stmxcsr
        }
        _ => return false,
    };
    if matches!(
        i.mnemonic(),
        Fxsave64 | Fxrstor64 | Xsave64 | Xsaveopt64 | Xrstor64
    ) {
        op.more = xsave::WIDE;
    }
    true
}

/// Masked moves and gathers (the VEX encoded ones: others are not announced).
fn elements(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    let ymm = (0..i.op_count()).any(|n| i.op_register(n).is_ymm() || i.memory_index().is_ymm());
    let mut more = if ymm { masked::YMM } else { 0 };
    match i.mnemonic() {
        Maskmovdqu | Vmaskmovdqu | Maskmovq => {
            let seg = i.memory_segment().number() as u8;
            let vex = i.encoding() == EncodingKind::VEX;
            op.dst = i.op_register(1).number() as u8;
            op.src = i.op_register(2).number() as u8;
            op.seg = seg;
            op.base = 7;
            op.mask = if i.op_kind(0) == OpKind::MemorySegRDI {
                u64::MAX
            } else {
                0xffff_ffff
            };
            op.more = if vex { hosted::AVX } else { 0 };
            op.run = if i.mnemonic() == Maskmovq {
                masked::mmx_bytes
            } else {
                masked::bytes
            };
            return true;
        }
        Vmaskmovps | Vpmaskmovd => {}
        Vmaskmovpd | Vpmaskmovq => more |= masked::WIDE,
        Vpgatherdd | Vgatherdps => {}
        Vpgatherqd | Vgatherqps => more |= masked::WIDE_INDEX,
        Vpgatherdq | Vgatherdpd => more |= masked::WIDE,
        Vpgatherqq | Vgatherqpd => more |= masked::WIDE | masked::WIDE_INDEX,
        _ => return false,
    }
    if i.encoding() != EncodingKind::VEX {
        op.run = system::undefined;
        return true;
    }
    op.more = more;
    let register = |n: u32| i.op_register(n).number() as u8;
    if i.is_vsib() {
        op.dst = register(0);
        op.src = register(2);
        op.aux = i.memory_index().number() as u8;
        op.index = crate::cpu::state::ZERO;
        op.run = masked::gather;
    } else if kind(i, 0) == Kind::Memory {
        op.dst = register(1);
        op.src = register(2);
        op.run = masked::store;
    } else {
        op.dst = register(0);
        op.src = register(1);
        op.run = masked::load;
    }
    true
}

/// Hints, fences, and what a processor without the feature takes for a NOP.
fn nothing(i: &Instruction, op: &mut Op) -> bool {
    use Mnemonic::*;
    op.run = match i.mnemonic() {
        Nop | Pause | Lfence | Mfence | Sfence | Prefetch | Prefetchw | Prefetchwt1
        | Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Reservednop | Endbr32 | Endbr64
        | Rdsspd | Rdsspq | Cldemote => moves::nothing,
        Clflush | Clflushopt => |cpu, op| cpu.load::<u8>(op).map(|_| ()),
        _ => return false,
    };
    true
}
