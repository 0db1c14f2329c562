//! System instructions.

use crate::cpu::flags::{self, IF, RF, VM, ZF};
use crate::cpu::interrupt::Source;
use crate::cpu::mmu::canonical;
use crate::cpu::op::Op;
use crate::cpu::state::{CS, CodeSize, Cpu, FS, GS, RSP, SS, Segment, Stop, Table};
use crate::cpu::trap::{self, GP0, INVALID_OPCODE, Trap};
use crate::memory::Scalar;

const CR4_UMIP: u64 = 1 << 11;

impl Cpu {
    pub(crate) fn kernel_only(&self) -> Result<(), Trap> {
        if self.cpl == 0 { Ok(()) } else { Err(GP0) }
    }

    fn not_umip(&self) -> Result<(), Trap> {
        if self.cpl != 0 && self.cr4 & CR4_UMIP != 0 {
            return Err(GP0);
        }
        Ok(())
    }
}

/// `hlt`.
pub(crate) fn hlt(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    cpu.halted = true;
    cpu.block_limit = 0;
    Ok(())
}

/// `int n`, `int3` (`imm` the vector).
pub(crate) fn int(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.deliver(op.imm as u8, None, Source::Software)
}

/// `int1`.
pub(crate) fn int1(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.deliver(trap::DB, None, Source::Exception)
}

/// `into`.
pub(crate) fn into(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    if cpu.ctx.status & flags::OF != 0 {
        return cpu.deliver(trap::OF, None, Source::Software);
    }
    Ok(())
}

/// `ud0`, `ud1`, `ud2`, and everything that is no instruction.
pub(crate) fn undefined(_: &mut Cpu, _: &Op) -> Result<(), Trap> {
    Err(INVALID_OPCODE)
}

/// `iret`; `aux` is the operand size.
pub(crate) fn iret(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.interrupt_return(op.aux)?;
    // Also where it returns from something else than the handler: as on real processors.
    if std::mem::take(&mut cpu.nmi_blocked) {
        cpu.block_limit = 0;
    }
    Ok(())
}

/// `retf`.
pub(crate) fn retf(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.far_return(op.aux, op.imm)
}

/// `jmp` and `call` (`more` set) to a constant selector and offset.
pub(crate) fn far_direct(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let size = (op.more != 0).then_some(op.aux);
    cpu.far_transfer((op.imm >> 32) as u16, op.imm & 0xffff_ffff, size)
}

/// The same from memory.
pub(crate) fn far_memory(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (target, selector) = far_pointer(cpu, op)?;
    let size = (op.more != 0).then_some(op.aux);
    cpu.far_transfer(selector, target, size)
}

fn far_pointer(cpu: &mut Cpu, op: &Op) -> Result<(u64, u16), Trap> {
    let offset = cpu.ea(op);
    let target = match op.aux {
        2 => cpu.read::<u16>(op.seg, offset)?.into(),
        4 => cpu.read::<u32>(op.seg, offset)?.into(),
        _ => cpu.read::<u64>(op.seg, offset)?,
    };
    let behind = offset.wrapping_add(op.aux.into()) & op.mask;
    Ok((target, cpu.read::<u16>(op.seg, behind)?))
}

/// `lss`, `lfs` and so on; `more` is the segment register.
pub(crate) fn load_far(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let (value, selector) = far_pointer(cpu, op)?;
    cpu.load_segment(op.more as usize, selector)?;
    match op.aux {
        2 => cpu.set_reg::<u16>(op.dst, value),
        4 => cpu.set_reg::<u32>(op.dst, value),
        _ => cpu.set_reg::<u64>(op.dst, value),
    }
    Ok(())
}

/// `mov` to a segment register from a register.
pub(crate) fn set_segment_r(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.reg::<u16>(op.src) as u16;
    set_segment(cpu, op.dst, selector)
}

/// From memory.
pub(crate) fn set_segment_m(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let selector = cpu.load::<u16>(op)? as u16;
    set_segment(cpu, op.dst, selector)
}

fn set_segment(cpu: &mut Cpu, register: u8, selector: u16) -> Result<(), Trap> {
    cpu.load_segment(usize::from(register), selector)?;
    if usize::from(register) == SS {
        cpu.shadow = true;
    }
    cpu.block_limit = 0;
    Ok(())
}

/// `mov` from a segment register.
pub(crate) fn get_segment_r<T: Scalar>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.seg[usize::from(op.src) % 6].selector;
    cpu.set_reg::<T>(op.dst, value.into());
    Ok(())
}

/// To memory.
pub(crate) fn get_segment_m(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let value = cpu.seg[usize::from(op.src) % 6].selector;
    cpu.store::<u16>(op, value.into())
}

/// `lgdt`, `lidt` (`more` set).
pub(crate) fn load_table(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let offset = cpu.ea(op);
    let limit = cpu.read::<u16>(op.seg, offset)?;
    let behind = offset.wrapping_add(2) & op.mask;
    let base = if cpu.code_size == CodeSize::Bits64 {
        cpu.read::<u64>(op.seg, behind)?
    } else {
        let mask = if op.aux == 2 { 0xff_ffff } else { 0xffff_ffff };
        u64::from(cpu.read::<u32>(op.seg, behind)?) & mask
    };
    if !canonical(base) {
        return Err(GP0);
    }
    let table = Table { base, limit };
    if op.more == 0 {
        cpu.gdtr = table;
    } else {
        cpu.idtr = table;
    }
    Ok(())
}

/// `sgdt`, `sidt`.
pub(crate) fn store_table(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.not_umip()?;
    let table = if op.more == 0 { cpu.gdtr } else { cpu.idtr };
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&table.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&table.base.to_le_bytes());
    let length = if cpu.code_size == CodeSize::Bits64 {
        10
    } else {
        6
    };
    let offset = cpu.ea(op);
    cpu.write_bytes(op.seg, offset, &bytes[..length])
}

/// `lldt`, `ltr` (`more` set) of a register (`aux` set) or memory.
pub(crate) fn load_system(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if !cpu.protected() {
        return Err(INVALID_OPCODE);
    }
    cpu.kernel_only()?;
    let selector = if op.aux != 0 {
        cpu.reg::<u16>(op.dst)
    } else {
        cpu.load::<u16>(op)?
    };
    cpu.load_system(selector as u16, op.more != 0)
}

/// `sldt`, `str` (1), `smsw` (2); `aux` is the size of the register, or 0 for memory.
pub(crate) fn store_system(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if !cpu.protected() && op.more != 2 {
        return Err(INVALID_OPCODE);
    }
    cpu.not_umip()?;
    let value = match op.more {
        0 => cpu.ldtr.selector.into(),
        1 => cpu.tr.selector.into(),
        _ => cpu.cr0,
    };
    match op.aux {
        0 => cpu.store::<u16>(op, value)?,
        2 => cpu.set_reg::<u16>(op.dst, value),
        4 => cpu.set_reg::<u32>(op.dst, value),
        _ => cpu.set_reg::<u64>(op.dst, value),
    }
    Ok(())
}

/// `lmsw`.
pub(crate) fn lmsw(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let value = if op.aux != 0 {
        cpu.reg::<u16>(op.dst)
    } else {
        cpu.load::<u16>(op)?
    };
    let keep = cpu.cr0 & 1;
    cpu.set_cr0((cpu.cr0 & !0xf) | (value & 0xf) | keep)
}

/// `clts`.
pub(crate) fn clts(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    cpu.cr0 &= !8;
    cpu.block_limit = 0;
    Ok(())
}

/// `lar`, `lsl` (`more` 1), `verr` (2), `verw` (3); the selector from a register (`src`, `aux` set) or memory. `imm` is the size of the destination.
pub(crate) fn inspect(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if !cpu.protected() {
        return Err(INVALID_OPCODE);
    }
    let selector = if op.aux != 0 {
        cpu.reg::<u16>(op.src)
    } else {
        cpu.load::<u16>(op)?
    } as u16;
    cpu.ctx.status &= !ZF;
    let descriptor = if selector & !3 == 0 {
        return Ok(());
    } else {
        match cpu.descriptor(selector, trap::GP) {
            Ok(descriptor) => descriptor,
            Err(trap) if trap.vector() == trap::GP => return Ok(()),
            Err(trap) => return Err(trap),
        }
    };
    let s = descriptor.segment;
    let rpl = selector as u8 & 3;
    let system = s.attributes & 0x10 == 0;
    let kind = s.kind();
    let reachable = s.conforming() || (s.dpl() >= cpu.cpl && s.dpl() >= rpl);
    let long = cpu.long_mode();
    let fine = match op.more {
        0 if system => {
            matches!(kind, 2 | 9 | 0xb | 0xc) || (!long && matches!(kind, 1 | 3 | 4 | 5))
        }
        1 if system => matches!(kind, 2 | 9 | 0xb) || (!long && matches!(kind, 1 | 3)),
        0 | 1 => true,
        _ if system => false,
        2 => !s.is_code() || s.second(),
        _ => !s.is_code() && s.second(),
    };
    if !fine || !reachable {
        return Ok(());
    }
    cpu.ctx.status |= ZF;
    let value = match op.more {
        0 => descriptor.raw >> 32 & 0x00ff_ff00,
        1 => s.limit.into(),
        _ => return Ok(()),
    };
    match op.imm {
        2 => cpu.set_reg::<u16>(op.dst, value),
        4 => cpu.set_reg::<u32>(op.dst, value),
        _ => cpu.set_reg::<u64>(op.dst, value),
    }
    Ok(())
}

/// `invlpg`.
pub(crate) fn invlpg(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let offset = cpu.ea(op);
    let linear = offset.wrapping_add(cpu.lin[usize::from(op.seg) % 6]);
    cpu.tlb.flush_page(linear);
    cpu.block_limit = 0;
    Ok(())
}

/// `wbinvd`, `invd`, and others that need privilege and change nothing here.
pub(crate) fn privileged_nothing(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.kernel_only()
}

/// `mov` from a control register (`src`).
pub(crate) fn get_control(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let value = match op.src {
        0 => cpu.cr0,
        2 => cpu.cr2,
        3 => cpu.cr3,
        4 => cpu.cr4,
        8 => cpu.bus.task_priority().into(),
        _ => return Err(INVALID_OPCODE),
    };
    set_natural(cpu, op.dst, value);
    Ok(())
}

fn set_natural(cpu: &mut Cpu, register: u8, value: u64) {
    if cpu.code_size == CodeSize::Bits64 {
        cpu.set_reg::<u64>(register, value);
    } else {
        cpu.set_reg::<u32>(register, value);
    }
}

fn natural(cpu: &Cpu, register: u8) -> u64 {
    let value = cpu.reg::<u64>(register);
    if cpu.code_size == CodeSize::Bits64 {
        value
    } else {
        value & 0xffff_ffff
    }
}

/// `mov` to a control register (`dst`).
pub(crate) fn set_control(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let value = natural(cpu, op.src);
    match op.dst {
        0 => cpu.set_cr0(value),
        2 => {
            cpu.cr2 = value;
            Ok(())
        }
        3 => cpu.set_cr3(value),
        4 => cpu.set_cr4(value),
        8 => {
            if value > 15 {
                return Err(GP0);
            }
            cpu.bus.set_task_priority(value as u8);
            cpu.block_limit = 0;
            Ok(())
        }
        _ => Err(INVALID_OPCODE),
    }
}

/// `mov` from a debug register.
pub(crate) fn get_debug(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let number = cpu.debug_register(op.src)?;
    let value = cpu.dr[number];
    set_natural(cpu, op.dst, value);
    Ok(())
}

/// `mov` to a debug register.
pub(crate) fn set_debug(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let number = cpu.debug_register(op.dst)?;
    let value = natural(cpu, op.src);
    cpu.set_dr(number, value)
}

/// `cpuid`.
pub(crate) fn cpuid(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let values = cpu.cpuid(cpu.ctx.regs[0] as u32, cpu.ctx.regs[1] as u32);
    for (register, value) in [0, 3, 1, 2].into_iter().zip(values) {
        cpu.ctx.regs[register] = value.into();
    }
    Ok(())
}

/// `rdtsc`; `rdtscp` with `more` set.
pub(crate) fn rdtsc(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.cr4 & 4 != 0 && cpu.cpl != 0 {
        return Err(GP0);
    }
    let value = cpu.tsc();
    cpu.ctx.regs[0] = value & 0xffff_ffff;
    cpu.ctx.regs[2] = value >> 32;
    if op.more != 0 {
        cpu.ctx.regs[1] = cpu.msr.tsc_aux & 0xffff_ffff;
    }
    Ok(())
}

/// `rdpid` is not announced; `rdpmc` has no counters to read.
pub(crate) fn rdpmc(_: &mut Cpu, _: &Op) -> Result<(), Trap> {
    Err(GP0)
}

/// `rdmsr`.
pub(crate) fn rdmsr(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let value = cpu.read_msr(cpu.ctx.regs[1] as u32)?;
    cpu.ctx.regs[0] = value & 0xffff_ffff;
    cpu.ctx.regs[2] = value >> 32;
    Ok(())
}

/// `wrmsr`.
pub(crate) fn wrmsr(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    cpu.kernel_only()?;
    let value = (cpu.ctx.regs[2] << 32) | (cpu.ctx.regs[0] & 0xffff_ffff);
    cpu.block_limit = 0;
    cpu.write_msr(cpu.ctx.regs[1] as u32, value)
}

/// `swapgs`.
pub(crate) fn swapgs(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    if cpu.code_size != CodeSize::Bits64 {
        return Err(INVALID_OPCODE);
    }
    cpu.kernel_only()?;
    std::mem::swap(&mut cpu.seg[GS].base, &mut cpu.msr.kernel_gs_base);
    cpu.lin[GS] = cpu.seg[GS].base;
    Ok(())
}

/// `rdfsbase` and its like: `more` is 1 for GS, 2 is added for writing; `aux` is the size.
pub(crate) fn base(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.code_size != CodeSize::Bits64 || cpu.cr4 & 1 << 16 == 0 {
        return Err(INVALID_OPCODE);
    }
    let register = if op.more & 1 != 0 { GS } else { FS };
    if op.more & 2 == 0 {
        let value = cpu.seg[register].base;
        if op.aux == 4 {
            cpu.set_reg::<u32>(op.dst, value);
        } else {
            cpu.set_reg::<u64>(op.dst, value);
        }
        return Ok(());
    }
    let mut value = cpu.reg::<u64>(op.dst);
    if op.aux == 4 {
        value &= 0xffff_ffff;
    }
    if !canonical(value) {
        return Err(GP0);
    }
    cpu.seg[register].base = value;
    cpu.lin[register] = value;
    Ok(())
}

fn flat_code(selector: u16, long: bool, dpl: u16) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes: 0x809b | dpl << 5 | if long { 0x2000 } else { 0x4000 },
    }
}

fn flat_data(selector: u16, dpl: u16) -> Segment {
    Segment {
        selector,
        base: 0,
        limit: u32::MAX,
        attributes: 0xc093 | dpl << 5,
    }
}

/// `syscall`: in 64-bit mode only, as on Intel processors.
pub(crate) fn syscall(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    if cpu.efer & 1 == 0 || cpu.code_size != CodeSize::Bits64 {
        return Err(INVALID_OPCODE);
    }
    let flags = cpu.rflags() & !RF;
    cpu.ctx.regs[1] = cpu.rip();
    cpu.ctx.regs[11] = flags;
    let selector = (cpu.msr.star >> 32) as u16 & !3;
    cpu.seg[CS] = flat_code(selector, true, 0);
    cpu.seg[SS] = flat_data(selector.wrapping_add(8), 0);
    cpu.cpl = 0;
    cpu.set_rflags(flags & !cpu.msr.fmask);
    cpu.update_mode();
    cpu.jump(cpu.msr.lstar);
    cpu.stop_after(cpu.breakpoints.system_calls, Stop::SystemCall);
    Ok(())
}

/// `sysret`; `aux` is 8 for the return to 64-bit code.
pub(crate) fn sysret(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if cpu.efer & 1 == 0 || cpu.code_size != CodeSize::Bits64 {
        return Err(INVALID_OPCODE);
    }
    cpu.kernel_only()?;
    let target = cpu.ctx.regs[1];
    let long = op.aux == 8;
    if long && !canonical(target) {
        return Err(GP0);
    }
    let base = (cpu.msr.star >> 48) as u16;
    let selector = base.wrapping_add(if long { 16 } else { 0 }) | 3;
    cpu.seg[CS] = flat_code(selector, long, 3);
    cpu.seg[SS] = flat_data(base.wrapping_add(8) | 3, 3);
    cpu.cpl = 3;
    cpu.set_rflags(cpu.ctx.regs[11] & !(RF | VM));
    cpu.update_mode();
    cpu.jump(if long { target } else { target & 0xffff_ffff });
    Ok(())
}

/// `sysenter`.
pub(crate) fn sysenter(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    let selector = cpu.msr.sysenter[0] as u16 & !3;
    if !cpu.protected() || selector == 0 {
        return Err(GP0);
    }
    let long = cpu.long_mode();
    cpu.rflags &= !(IF | VM);
    cpu.seg[CS] = flat_code(selector, long, 0);
    cpu.seg[SS] = flat_data(selector.wrapping_add(8), 0);
    cpu.cpl = 0;
    cpu.update_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cpu.ctx.regs[RSP] = cpu.msr.sysenter[1] & mask;
    cpu.jump(cpu.msr.sysenter[2] & mask);
    Ok(())
}

/// `sysexit`; `aux` is 8 for the return to 64-bit code.
pub(crate) fn sysexit(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let base = cpu.msr.sysenter[0] as u16 & !3;
    if !cpu.protected() || base == 0 || cpu.cpl != 0 {
        return Err(GP0);
    }
    let long = op.aux == 8;
    let (rip, rsp) = (cpu.ctx.regs[2], cpu.ctx.regs[1]);
    if long && !(canonical(rip) && canonical(rsp)) {
        return Err(GP0);
    }
    let (code, stack) = if long { (32, 40) } else { (16, 24) };
    cpu.seg[CS] = flat_code(base.wrapping_add(code) | 3, long, 3);
    cpu.seg[SS] = flat_data(base.wrapping_add(stack) | 3, 3);
    cpu.cpl = 3;
    cpu.update_mode();
    let mask = if long { u64::MAX } else { 0xffff_ffff };
    cpu.ctx.regs[RSP] = rsp & mask;
    cpu.jump(rip & mask);
    Ok(())
}

/// Instructions that exist and are not implemented: the machine stops and names them.
pub(crate) fn missing(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    Err(cpu.unimplemented("an instruction that this processor does not implement"))
}
