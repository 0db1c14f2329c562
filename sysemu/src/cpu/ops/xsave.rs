//! Saving and restoring x87 and vector state: FXSAVE, XSAVE (standard form, x87, SSE and AVX) and their counterparts.

use crate::cpu::op::Op;
use crate::cpu::state::{CodeSize, Cpu};
use crate::cpu::trap::{GP0, INVALID_OPCODE, NO_DEVICE, Trap};

/// Bytes of the XSAVE area with everything that this processor has.
pub(crate) const AREA: usize = 832;
/// Where the upper halves of the vector registers lie.
const UPPER: usize = 576;
const HEADER: usize = 512;
const MXCSR_MASK: u32 = 0xffff;
/// `more`: the operand size is 64 bits.
pub(crate) const WIDE: u32 = 1;

const X87: u64 = 1;
const SSE: u64 = 2;
const AVX: u64 = 4;

impl Cpu {
    fn registers(&self) -> usize {
        if self.code_size == CodeSize::Bits64 {
            16
        } else {
            8
        }
    }

    fn x87_image(&self, wide: bool) -> [u8; 160] {
        let mut image = [0; 160];
        image.copy_from_slice(&self.ctx.fx.0[..160]);
        if !wide {
            // Selectors are deprecated: they read 0.
            image[12..16].fill(0);
            image[20..24].fill(0);
        }
        image[24..28].copy_from_slice(&self.ctx.mxcsr.to_le_bytes());
        image[28..32].copy_from_slice(&MXCSR_MASK.to_le_bytes());
        image
    }

    fn load_x87(&mut self, image: &[u8]) {
        self.ctx.fx.0[..24].copy_from_slice(&image[..24]);
        self.ctx.fx.0[32..160].copy_from_slice(&image[32..160]);
        for register in 0..8 {
            self.ctx.fx.0[32 + 16 * register + 10..48 + 16 * register].fill(0);
        }
        // Reserved bits of the control word are fixed; the error summary follows from flags and masks.
        let fx = &mut self.ctx.fx.0;
        fx[0] = fx[0] & 0x3f | 0x40;
        fx[1] &= 0x1f;
        fx[5] = 0;
        let pending = fx[2] & !fx[0] & 0x3f != 0;
        fx[2] = (fx[2] & 0x7f) | u8::from(pending) << 7;
        fx[3] = (fx[3] & 0x7f) | u8::from(pending) << 7;
    }

    /// The part of the state that lies before the XSAVE header.
    fn mxcsr_of(image: &[u8]) -> Result<u32, Trap> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&image[24..28]);
        let value = u32::from_le_bytes(bytes);
        if value & !MXCSR_MASK != 0 {
            return Err(GP0);
        }
        Ok(value)
    }

    fn check_fx(&self) -> Result<(), Trap> {
        if self.cr0 & 12 != 0 {
            return Err(NO_DEVICE);
        }
        Ok(())
    }

    fn check_xsave(&self) -> Result<(), Trap> {
        if self.cr4 & 1 << 18 == 0 {
            return Err(INVALID_OPCODE);
        }
        if self.cr0 & 8 != 0 {
            return Err(NO_DEVICE);
        }
        Ok(())
    }

    fn requested(&self) -> u64 {
        ((self.ctx.regs[2] << 32) | (self.ctx.regs[0] & 0xffff_ffff)) & self.xcr0
    }

    fn aligned(&mut self, op: &Op, offset: u64, to: u64) -> Result<(), Trap> {
        let linear = offset.wrapping_add(self.lin[usize::from(op.seg) % 6]);
        if linear & (to - 1) != 0 {
            return Err(self.misaligned(op.seg, linear, to));
        }
        Ok(())
    }
}

/// `fxsave`.
pub(crate) fn fxsave(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_fx()?;
    let offset = cpu.ea(op);
    cpu.aligned(op, offset, 16)?;
    let linear = cpu.linear(op.seg, offset, 512, true)?;
    cpu.probe(op.seg, linear, 512, true)?;
    let mut area = [0; 512];
    cpu.read_bytes(op.seg, offset, &mut area)?;
    area[..160].copy_from_slice(&cpu.x87_image(op.more & WIDE != 0));
    for (n, ymm) in cpu.ctx.ymm.iter().enumerate().take(cpu.registers()) {
        area[160 + 16 * n..176 + 16 * n].copy_from_slice(&ymm[..16]);
    }
    // The last 96 bytes are left to the program.
    cpu.write_bytes(op.seg, offset, &area[..416])
}

/// `fxrstor`.
pub(crate) fn fxrstor(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_fx()?;
    let offset = cpu.ea(op);
    cpu.aligned(op, offset, 16)?;
    let mut area = [0; 512];
    cpu.read_bytes(op.seg, offset, &mut area)?;
    cpu.ctx.mxcsr = Cpu::mxcsr_of(&area)?;
    cpu.load_x87(&area);
    let registers = cpu.registers();
    for (n, ymm) in cpu.ctx.ymm.iter_mut().enumerate().take(registers) {
        ymm[..16].copy_from_slice(&area[160 + 16 * n..176 + 16 * n]);
    }
    Ok(())
}

/// `xsave`; `xsaveopt`, which may save all that it could leave out.
pub(crate) fn xsave(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_xsave()?;
    let offset = cpu.ea(op);
    cpu.aligned(op, offset, 64)?;
    let what = cpu.requested();
    let last = if what & AVX != 0 { AREA } else { UPPER };
    let linear = cpu.linear(op.seg, offset, last as u64, true)?;
    cpu.probe(op.seg, linear, last as u64, true)?;
    let mut area = [0; AREA];
    cpu.read_bytes(op.seg, offset, &mut area[..last])?;
    let image = cpu.x87_image(op.more & WIDE != 0);
    if what & X87 != 0 {
        area[..24].copy_from_slice(&image[..24]);
        area[32..160].copy_from_slice(&image[32..160]);
    }
    if what & (SSE | AVX) != 0 {
        area[24..32].copy_from_slice(&image[24..32]);
    }
    for (n, ymm) in cpu.ctx.ymm.iter().enumerate().take(cpu.registers()) {
        if what & SSE != 0 {
            area[160 + 16 * n..176 + 16 * n].copy_from_slice(&ymm[..16]);
        }
        if what & AVX != 0 {
            area[UPPER + 16 * n..UPPER + 16 + 16 * n].copy_from_slice(&ymm[16..]);
        }
    }
    area[HEADER] = (area[HEADER] & !(what as u8)) | what as u8;
    cpu.write_bytes(op.seg, offset, &area[..last])
}

/// `xrstor`.
pub(crate) fn xrstor(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    cpu.check_xsave()?;
    let offset = cpu.ea(op);
    cpu.aligned(op, offset, 64)?;
    let what = cpu.requested();
    let last = if what & AVX != 0 { AREA } else { UPPER };
    let mut area = [0; AREA];
    cpu.read_bytes(op.seg, offset, &mut area[..last])?;
    let mut header = [0; 8];
    header.copy_from_slice(&area[HEADER..HEADER + 8]);
    let saved = u64::from_le_bytes(header);
    if saved & !cpu.xcr0 != 0 || area[HEADER + 8..HEADER + 24].iter().any(|&byte| byte != 0) {
        return Err(GP0);
    }
    if what & (SSE | AVX) != 0 {
        cpu.ctx.mxcsr = Cpu::mxcsr_of(&area)?;
    }
    if what & X87 != 0 {
        if saved & X87 != 0 {
            cpu.load_x87(&area);
        } else {
            cpu.ctx.init_x87();
        }
    }
    let registers = cpu.registers();
    for (n, ymm) in cpu.ctx.ymm.iter_mut().enumerate().take(registers) {
        if what & SSE != 0 {
            match saved & SSE {
                0 => ymm[..16].fill(0),
                _ => ymm[..16].copy_from_slice(&area[160 + 16 * n..176 + 16 * n]),
            }
        }
        if what & AVX != 0 {
            match saved & AVX {
                0 => ymm[16..].fill(0),
                _ => ymm[16..].copy_from_slice(&area[UPPER + 16 * n..UPPER + 16 + 16 * n]),
            }
        }
    }
    Ok(())
}

/// `xgetbv`.
pub(crate) fn xgetbv(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    if cpu.cr4 & 1 << 18 == 0 {
        return Err(INVALID_OPCODE);
    }
    if cpu.ctx.regs[1] as u32 != 0 {
        return Err(GP0);
    }
    cpu.ctx.regs[0] = cpu.xcr0 & 0xffff_ffff;
    cpu.ctx.regs[2] = cpu.xcr0 >> 32;
    Ok(())
}

/// `xsetbv`.
pub(crate) fn xsetbv(cpu: &mut Cpu, _: &Op) -> Result<(), Trap> {
    if cpu.cr4 & 1 << 18 == 0 {
        return Err(INVALID_OPCODE);
    }
    let value = (cpu.ctx.regs[2] << 32) | (cpu.ctx.regs[0] & 0xffff_ffff);
    let bad = value & !7 != 0 || value & 1 == 0 || value & 6 == 4;
    if cpu.cpl != 0 || cpu.ctx.regs[1] as u32 != 0 || bad {
        return Err(GP0);
    }
    cpu.xcr0 = value;
    cpu.block_limit = 0;
    Ok(())
}
