//! Vector instructions that touch only some elements of memory: masked moves and gathers.

use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::{INVALID_OPCODE, Trap};

/// In `more`: the element has 8 bytes, not 4.
pub(crate) const WIDE: u32 = 1;
/// The vector has 32 bytes, not 16.
pub(crate) const YMM: u32 = 2;
/// The indices of a gather have 8 bytes.
pub(crate) const WIDE_INDEX: u32 = 4;

fn size(op: &Op) -> usize {
    if op.more & WIDE != 0 { 8 } else { 4 }
}

fn length(op: &Op) -> usize {
    if op.more & YMM != 0 { 32 } else { 16 }
}

fn selected(mask: &[u8; 32], at: usize, size: usize) -> bool {
    mask[at + size - 1] & 0x80 != 0
}

fn read(cpu: &mut Cpu, op: &Op, offset: u64, into: &mut [u8]) -> Result<(), Trap> {
    if into.len() == 4 {
        into.copy_from_slice(&cpu.read::<u32>(op.seg, offset)?.to_le_bytes());
    } else {
        into.copy_from_slice(&cpu.read::<u64>(op.seg, offset)?.to_le_bytes());
    }
    Ok(())
}

/// `vmaskmov`, `vpmaskmov` from memory: `src` is the mask.
pub(crate) fn load(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_avx()?;
    let mask = cpu.ctx.ymm[usize::from(op.src & 15)];
    let mut result = [0; 32];
    let base = cpu.ea(op);
    for at in (0..length(op)).step_by(size(op)) {
        if selected(&mask, at, size(op)) {
            let offset = base.wrapping_add(at as u64) & op.mask;
            read(cpu, op, offset, &mut result[at..at + size(op)])?;
        }
    }
    cpu.ctx.ymm[usize::from(op.dst & 15)] = result;
    Ok(())
}

/// To memory: `dst` is the mask, `src` the value. Nothing is written where one element faults.
pub(crate) fn store(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_avx()?;
    let mask = cpu.ctx.ymm[usize::from(op.dst & 15)];
    let value = cpu.ctx.ymm[usize::from(op.src & 15)];
    write_elements(cpu, op, &mask, &value, length(op), size(op))
}

fn write_elements(
    cpu: &mut Cpu,
    op: &Op,
    mask: &[u8; 32],
    value: &[u8; 32],
    length: usize,
    size: usize,
) -> Result<(), Trap> {
    let base = cpu.ea(op);
    if size == 1 {
        probe_bytes(cpu, op, mask, base, length)?;
    }
    for write in [false, true] {
        for at in (0..length).step_by(size) {
            if !selected(mask, at, size) {
                continue;
            }
            let offset = base.wrapping_add(at as u64) & op.mask;
            if write {
                cpu.write_bytes(op.seg, offset, &value[at..at + size])?;
            } else {
                let linear = cpu.linear(op.seg, offset, size as u64, true)?;
                cpu.probe(op.seg, linear, size as u64, true)?;
            }
        }
    }
    Ok(())
}

/// Faults of byte moves name where the operand begins in the page, not the byte.
fn probe_bytes(
    cpu: &mut Cpu,
    op: &Op,
    mask: &[u8; 32],
    base: u64,
    length: usize,
) -> Result<(), Trap> {
    let first = (4096 - (base & 0xfff) as usize).min(length);
    for (from, to) in [(0, first), (first, length)] {
        if (from..to).any(|at| selected(mask, at, 1)) {
            let linear = cpu.linear(op.seg, base.wrapping_add(from as u64) & op.mask, 1, true)?;
            cpu.probe(op.seg, linear, 1, true)?;
        }
    }
    Ok(())
}

/// `maskmovdqu`, bytes at `rdi`: `dst` the value, `src` the mask; `more` is [`crate::cpu::ops::hosted::AVX`] for the VEX form.
pub(crate) fn bytes(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.more != 0 {
        cpu.check_avx()?;
    } else {
        cpu.check_sse()?;
    }
    let value = cpu.ctx.ymm[usize::from(op.dst & 15)];
    let mask = cpu.ctx.ymm[usize::from(op.src & 15)];
    write_elements(cpu, op, &mask, &value, 16, 1)
}

/// `maskmovq`: the same with MMX registers.
pub(crate) fn mmx_bytes(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_mmx()?;
    let register = |number: u8| {
        let at = 32 + 16 * ((usize::from(number) + 8 - cpu.ctx.x87_top()) & 7);
        let mut value = [0; 32];
        value[..8].copy_from_slice(&cpu.ctx.fx.0[at..at + 8]);
        value
    };
    let (value, mask) = (register(op.dst), register(op.src));
    write_elements(cpu, op, &mask, &value, 8, 1)?;
    cpu.ctx.enter_mmx();
    Ok(())
}

/// Gathers: `dst` the result, `src` the mask, of which each element is cleared when its value has arrived; `index` the vector of indices.
pub(crate) fn gather(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_avx()?;
    let [dst, mask, index] = [op.dst, op.src, op.aux].map(usize::from);
    if dst == mask || dst == index || mask == index {
        return Err(INVALID_OPCODE);
    }
    let (size, wide_index) = (size(op), op.more & WIDE_INDEX != 0);
    let index_size = if wide_index { 8 } else { 4 };
    let count = length(op) / size.max(index_size);
    let indices = cpu.ctx.ymm[index & 15];
    for element in 0..count {
        let at = element * size;
        if !selected(&cpu.ctx.ymm[mask & 15], at, size) {
            clear(cpu, mask, at, size);
            continue;
        }
        let mut raw = [0; 8];
        let from = element * index_size;
        raw[..index_size].copy_from_slice(&indices[from..from + index_size]);
        let number = if wide_index {
            u64::from_le_bytes(raw)
        } else {
            u64::from_le_bytes(raw) as u32 as i32 as u64
        };
        let base = cpu.ctx.regs[usize::from(op.base & 31)];
        let offset = base.wrapping_add(number << op.shift).wrapping_add(op.disp) & op.mask;
        let mut value = [0; 8];
        read(cpu, op, offset, &mut value[..size])?;
        cpu.ctx.ymm[dst & 15][at..at + size].copy_from_slice(&value[..size]);
        clear(cpu, mask, at, size);
    }
    cpu.ctx.ymm[dst & 15][count * size..].fill(0);
    cpu.ctx.ymm[mask & 15].fill(0);
    Ok(())
}

fn clear(cpu: &mut Cpu, mask: usize, at: usize, size: usize) {
    cpu.ctx.ymm[mask & 15][at..at + size].fill(0);
}
