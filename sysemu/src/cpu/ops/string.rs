//! String instructions. A repeated one counts as one instruction; where it faults, what was done before stays done, and it can be resumed.

use crate::cpu::flags::{DF, ZF};
use crate::cpu::host::alu;
use crate::cpu::op::Op;
use crate::cpu::state::{Cpu, ES};
use crate::cpu::tlb::SLOW;
use crate::cpu::trap::Trap;
use crate::memory::Scalar;

/// `movs`.
pub(crate) const MOVS: u8 = 0;
/// `stos`.
pub(crate) const STOS: u8 = 1;
/// `lods`.
pub(crate) const LODS: u8 = 2;
/// `scas`.
pub(crate) const SCAS: u8 = 3;
/// `cmps`.
pub(crate) const CMPS: u8 = 4;
/// `ins`.
pub(crate) const INS: u8 = 5;
/// `outs`.
pub(crate) const OUTS: u8 = 6;

const RCX: usize = 1;
const RSI: usize = 6;
const RDI: usize = 7;
const EXTRA: u8 = ES as u8;

/// Adds to a register of which the address size uses a part.
#[inline(always)]
fn advance(cpu: &mut Cpu, register: usize, by: u64, mask: u64) {
    let old = cpu.ctx.regs[register];
    let new = old.wrapping_add(by) & mask;
    cpu.ctx.regs[register] = if mask == 0xffff {
        (old & !0xffff) | new
    } else {
        new
    };
}

/// One element.
#[inline(always)]
fn element<T: Scalar, const KIND: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let size = T::BYTES as u64;
    let step = if cpu.rflags & DF == 0 {
        size
    } else {
        size.wrapping_neg()
    };
    let source = cpu.ctx.regs[RSI] & op.mask;
    let target = cpu.ctx.regs[RDI] & op.mask;
    match KIND {
        MOVS => {
            let value = cpu.read::<T>(op.seg, source)?;
            cpu.write::<T>(EXTRA, target, value)?;
        }
        STOS => cpu.write::<T>(EXTRA, target, T::from_u64(cpu.ctx.regs[0]))?,
        LODS => {
            let value = cpu.read::<T>(op.seg, source)?.to_u64();
            cpu.set_reg::<T>(0, value);
        }
        SCAS => {
            let value = cpu.read::<T>(EXTRA, target)?.to_u64();
            alu::cmp::<T>(cpu.ctx.regs[0], value, &mut cpu.ctx.status);
        }
        CMPS => {
            let left = cpu.read::<T>(op.seg, source)?.to_u64();
            let right = cpu.read::<T>(EXTRA, target)?.to_u64();
            alu::cmp::<T>(left, right, &mut cpu.ctx.status);
        }
        INS => {
            cpu.check_ports(cpu.ctx.regs[2] as u16, T::BYTES as u8)?;
            let linear = cpu.linear(EXTRA, target, size, true)?;
            cpu.probe(EXTRA, linear, size, true)?;
            let value = cpu.port_in(cpu.ctx.regs[2] as u16, T::BYTES as u8);
            cpu.write::<T>(EXTRA, target, T::from_u64(value.into()))?;
        }
        _ => {
            cpu.check_ports(cpu.ctx.regs[2] as u16, T::BYTES as u8)?;
            let value = cpu.read::<T>(op.seg, source)?.to_u64();
            cpu.port_out(cpu.ctx.regs[2] as u16, T::BYTES as u8, value as u32);
        }
    }
    if matches!(KIND, MOVS | LODS | CMPS | OUTS) {
        advance(cpu, RSI, step, op.mask);
    }
    if matches!(KIND, MOVS | STOS | SCAS | CMPS | INS) {
        advance(cpu, RDI, step, op.mask);
    }
    Ok(())
}

/// `aux` is 0 without a prefix, 1 for `rep` and `repe`, 2 for `repne`.
pub(crate) fn run<T: Scalar, const KIND: u8>(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.aux == 0 {
        return element::<T, KIND>(cpu, op);
    }
    while cpu.ctx.regs[RCX] & op.mask != 0 {
        if matches!(KIND, MOVS | STOS) && bulk::<T, KIND>(cpu, op) {
            continue;
        }
        element::<T, KIND>(cpu, op)?;
        advance(cpu, RCX, u64::MAX, op.mask);
        if matches!(KIND, SCAS | CMPS) && (cpu.ctx.status & ZF != 0) != (op.aux == 1) {
            break;
        }
    }
    Ok(())
}

/// As many elements as lie in the current pages at once, where nothing can go wrong.
fn bulk<T: Scalar, const KIND: u8>(cpu: &mut Cpu, op: &Op) -> bool {
    if cpu.segmented || cpu.rflags & DF != 0 || op.mask != u64::MAX || cpu.class == SLOW {
        return false;
    }
    let size = T::BYTES as u64;
    let target = cpu.ctx.regs[RDI].wrapping_add(cpu.lin[ES]);
    let Some((to, mut room)) = cpu.tlb.unwatched(cpu.class, true, target) else {
        return false;
    };
    let mut from = 0;
    if KIND == MOVS {
        let source = cpu.ctx.regs[RSI].wrapping_add(cpu.lin[usize::from(op.seg) % 6]);
        let Some((physical, clear)) = cpu.tlb.unwatched(cpu.class, false, source) else {
            return false;
        };
        from = physical;
        room = room.min(clear);
    }
    let count = (room / size).min(cpu.ctx.regs[RCX]);
    let bytes = count * size;
    if count < 2 {
        return false;
    }
    if KIND == MOVS {
        if to.wrapping_sub(from) < bytes {
            // What is copied first is copied again.
            return false;
        }
        let span = from.min(to);
        let length = from.max(to) + bytes - span;
        let memory = cpu.ram.slice_mut(span, length as usize);
        let from = (from - span) as usize;
        memory.copy_within(from..from + bytes as usize, (to - span) as usize);
        cpu.ctx.regs[RSI] = cpu.ctx.regs[RSI].wrapping_add(bytes);
    } else {
        let pattern = cpu.ctx.regs[0].to_le_bytes();
        let memory = cpu.ram.slice_mut(to, bytes as usize);
        if T::BYTES == 1 {
            memory.fill(pattern[0]);
        } else {
            for element in memory.chunks_exact_mut(T::BYTES) {
                element.copy_from_slice(&pattern[..T::BYTES]);
            }
        }
    }
    cpu.ctx.regs[RDI] = cpu.ctx.regs[RDI].wrapping_add(bytes);
    cpu.ctx.regs[RCX] -= count;
    true
}
