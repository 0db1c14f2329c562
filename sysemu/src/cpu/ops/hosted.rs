//! Instructions that run as themselves on the host: x87, MMX, vectors, and the rarer integer ones.

use crate::cpu::host;
use crate::cpu::op::Op;
use crate::cpu::state::Cpu;
use crate::cpu::trap::{self, GP0, INVALID_OPCODE, NO_DEVICE, Trap};

/// `more` of an op: what its operand and unit need.
pub(crate) const READ: u32 = 1;
/// The operand is written.
pub(crate) const WRITE: u32 = 2;
/// It must be aligned.
pub(crate) const ALIGNED: u32 = 4;
/// x87.
pub(crate) const X87: u32 = 8;
/// Waits for pending x87 errors.
pub(crate) const WAITS: u32 = 16;
/// MMX.
pub(crate) const MMX: u32 = 32;
/// Vectors, legacy encoding.
pub(crate) const SSE: u32 = 64;
/// Vectors, VEX encoding.
pub(crate) const AVX: u32 = 128;
/// MXCSR is used.
pub(crate) const FLOAT: u32 = 256;
/// Leaves the x87 instruction pointers alone.
pub(crate) const CONTROL: u32 = 512;
/// `wait` itself: only the checks.
pub(crate) const WAIT: u32 = 1024;

const CR0_MP: u64 = 2;
const CR0_EM: u64 = 4;
const CR0_TS: u64 = 8;
const CR0_NE: u64 = 32;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_OSXSAVE: u64 = 1 << 18;

impl Cpu {
    /// Whether x87 instructions may execute, and no error waits to be reported.
    fn check_x87(&mut self, more: u32) -> Result<(), Trap> {
        if more & WAIT != 0 {
            if self.cr0 & (CR0_MP | CR0_TS) == CR0_MP | CR0_TS {
                return Err(NO_DEVICE);
            }
        } else if self.cr0 & (CR0_EM | CR0_TS) != 0 {
            return Err(NO_DEVICE);
        }
        if more & WAITS != 0 {
            self.check_x87_error()?;
        }
        Ok(())
    }

    fn check_x87_error(&mut self) -> Result<(), Trap> {
        let pending = self.ctx.fx.0[2] & 0x80 != 0;
        if !pending {
            return Ok(());
        }
        if self.cr0 & CR0_NE != 0 {
            return Err(Trap::plain(trap::MF));
        }
        self.bus.fpu_error();
        self.block_limit = 0;
        Ok(())
    }

    /// Whether legacy vector instructions may execute.
    pub(crate) fn check_sse(&self) -> Result<(), Trap> {
        if self.cr0 & CR0_EM != 0 || self.cr4 & CR4_OSFXSR == 0 {
            return Err(INVALID_OPCODE);
        }
        if self.cr0 & CR0_TS != 0 {
            return Err(NO_DEVICE);
        }
        Ok(())
    }

    /// Whether VEX instructions may execute.
    pub(crate) fn check_avx(&self) -> Result<(), Trap> {
        if self.cr4 & CR4_OSXSAVE == 0 || self.xcr0 & 6 != 6 || !self.protected() {
            return Err(INVALID_OPCODE);
        }
        if self.cr0 & CR0_TS != 0 {
            return Err(NO_DEVICE);
        }
        Ok(())
    }

    /// Whether MMX instructions may execute.
    pub(crate) fn check_mmx(&mut self) -> Result<(), Trap> {
        if self.cr0 & CR0_EM != 0 {
            return Err(INVALID_OPCODE);
        }
        if self.cr0 & CR0_TS != 0 {
            return Err(NO_DEVICE);
        }
        self.check_x87_error()
    }

    fn check_unit(&mut self, more: u32) -> Result<(), Trap> {
        if more & X87 != 0 {
            return self.check_x87(more);
        }
        if more & MMX != 0 {
            if more & FLOAT != 0 && self.cr4 & CR4_OSFXSR == 0 {
                return Err(INVALID_OPCODE);
            }
            return self.check_mmx();
        }
        if more & SSE != 0 {
            return self.check_sse();
        }
        if more & AVX != 0 {
            return self.check_avx();
        }
        Ok(())
    }

    /// What the guest's MXCSR becomes by an instruction that ran with everything masked; an exception if one is not.
    fn settle_mxcsr(&mut self) -> Result<(), Trap> {
        const DURING: u32 = 0x7;
        let raised = self.ctx.run_mxcsr & 0x3f;
        let unmasked = raised & !(self.ctx.mxcsr >> 7) & 0x3f;
        if unmasked == 0 {
            self.ctx.mxcsr |= raised;
            return Ok(());
        }
        // Exceptions of the operands come before those of the result.
        self.ctx.mxcsr |= if unmasked & DURING != 0 {
            raised & DURING
        } else {
            raised
        };
        if self.cr4 & CR4_OSXMMEXCPT == 0 {
            Err(INVALID_OPCODE)
        } else {
            Err(Trap::plain(trap::XM))
        }
    }
}

/// Runs the stub whose address is `imm`; `aux` is the size of its memory operand.
pub(crate) fn run(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    let more = op.more;
    cpu.check_unit(more)?;
    if more & WAIT != 0 {
        return Ok(());
    }
    let offset = cpu.ea(op);
    if more & (READ | WRITE) != 0 {
        prepare(cpu, op, offset)?;
    }
    if more & FLOAT != 0 {
        return run_float(cpu, op, offset);
    }
    if more & X87 == 0 && more & WRITE == 0 {
        host::run(op.imm, &mut cpu.ctx);
        return Ok(());
    }
    if more & WRITE == 0 {
        host::run(op.imm, &mut cpu.ctx);
        note_pointers(cpu, op, offset);
        return Ok(());
    }
    // A fault of the write would have to undo the instruction: `prepare` has made sure that it can't fault.
    host::run(op.imm, &mut cpu.ctx);
    note_pointers(cpu, op, offset);
    write_back(cpu, op, offset)
}

/// Reads the operand; makes sure that it can be written if it will be.
fn prepare(cpu: &mut Cpu, op: &Op, offset: u64) -> Result<(), Trap> {
    let size = u64::from(op.aux);
    let write = op.more & WRITE != 0;
    let linear = cpu.linear(op.seg, offset, size, write)?;
    if op.more & ALIGNED != 0 && linear & (size - 1) != 0 {
        return Err(cpu.misaligned(op.seg, linear, size));
    }
    if write {
        cpu.probe(op.seg, linear, size, true)?;
    }
    if op.more & READ == 0 {
        return Ok(());
    }
    let mut bytes = [0; 128];
    match op.aux {
        4 => {
            let value = cpu.read::<u32>(op.seg, offset)?;
            bytes[..4].copy_from_slice(&value.to_le_bytes());
        }
        8 => {
            let value = cpu.read::<u64>(op.seg, offset)?;
            bytes[..8].copy_from_slice(&value.to_le_bytes());
        }
        16 => {
            let low = cpu.read::<u64>(op.seg, offset)?;
            let high = cpu.read::<u64>(op.seg, offset.wrapping_add(8) & op.mask)?;
            bytes[..8].copy_from_slice(&low.to_le_bytes());
            bytes[8..16].copy_from_slice(&high.to_le_bytes());
        }
        size => cpu.read_bytes(op.seg, offset, &mut bytes[..usize::from(size)])?,
    }
    let size = usize::from(op.aux);
    cpu.ctx.buffer.0[..size].copy_from_slice(&bytes[..size]);
    Ok(())
}

fn write_back(cpu: &mut Cpu, op: &Op, offset: u64) -> Result<(), Trap> {
    let buffer = cpu.ctx.buffer.0;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&buffer[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    match op.aux {
        8 => cpu.write::<u64>(op.seg, offset, word(0)),
        4 => cpu.write::<u32>(op.seg, offset, word(0) as u32),
        size => cpu.write_bytes(op.seg, offset, &buffer[..usize::from(size)]),
    }
}

/// The x87 instruction and data pointers are the guest's, not those of the stub.
fn note_pointers(cpu: &mut Cpu, op: &Op, offset: u64) {
    if op.more & X87 == 0 || op.more & CONTROL != 0 {
        return;
    }
    let start = cpu.rip().wrapping_sub(op.len.into());
    cpu.ctx.fx.0[8..16].copy_from_slice(&start.to_le_bytes());
    let data = if op.more & (READ | WRITE) != 0 {
        offset
    } else {
        0
    };
    cpu.ctx.fx.0[16..24].copy_from_slice(&data.to_le_bytes());
}

fn run_float(cpu: &mut Cpu, op: &Op, offset: u64) -> Result<(), Trap> {
    const ALL_MASKED: u32 = 0x1f80;
    cpu.ctx.run_mxcsr = (cpu.ctx.mxcsr & !0x3f) | ALL_MASKED;
    if cpu.ctx.mxcsr & ALL_MASKED == ALL_MASKED {
        host::run(op.imm, &mut cpu.ctx);
        cpu.ctx.mxcsr |= cpu.ctx.run_mxcsr & 0x3f;
    } else {
        let before = cpu.ctx.clone();
        host::run(op.imm, &mut cpu.ctx);
        if let Err(trap) = cpu.settle_mxcsr() {
            let mxcsr = cpu.ctx.mxcsr;
            cpu.ctx = before;
            cpu.ctx.mxcsr = mxcsr;
            return Err(trap);
        }
    }
    if op.more & WRITE != 0 {
        write_back(cpu, op, offset)?;
    }
    Ok(())
}

/// `ldmxcsr`, in the legacy encoding.
pub(crate) fn ldmxcsr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.more & AVX != 0 {
        cpu.check_avx()?;
    } else {
        cpu.check_sse()?;
    }
    let value = cpu.load::<u32>(op)? as u32;
    if value & !0xffff != 0 {
        return Err(GP0);
    }
    cpu.ctx.mxcsr = value;
    Ok(())
}

/// `stmxcsr`.
pub(crate) fn stmxcsr(cpu: &mut Cpu, op: &Op) -> Result<(), Trap> {
    if op.more & AVX != 0 {
        cpu.check_avx()?;
    } else {
        cpu.check_sse()?;
    }
    let value = cpu.ctx.mxcsr;
    cpu.store::<u32>(op, value.into())
}
