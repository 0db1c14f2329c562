//! The encodings that emitted code is made of. Nothing here changes the guest's flags, except
//! [`Assembler::increment`].

#![expect(
    clippy::useless_conversion,
    reason = "dynasm! converts register numbers by itself"
)]

use super::TranslateError;
use crate::layout::home;
use dynasmrt::{DynasmApi, VecAssembler, dynasm, x64::X64Relocation};
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

/// A trap to the supervisor.
pub(super) const INT3: u8 = 0xcc;

/// Host code under construction.
pub(super) struct Assembler {
    ops: VecAssembler<X64Relocation>,
    host: u64,
}

impl Assembler {
    pub(super) fn new(host: u64) -> Self {
        Assembler {
            ops: VecAssembler::new(host as usize),
            host,
        }
    }

    /// Bytes emitted so far.
    pub(super) fn offset(&self) -> u32 {
        self.ops.offset().0 as u32
    }

    /// Host address of the next byte.
    pub(super) fn here(&self) -> u64 {
        self.host + u64::from(self.offset())
    }

    /// The finished code.
    pub(super) fn finish(self, pc: u64) -> Result<Vec<u8>, TranslateError> {
        let refused = |error| TranslateError::Assemble {
            pc,
            reason: format!("{error}"),
        };
        self.ops.finalize().map_err(refused)
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.ops.extend(bytes);
    }

    /// Encodes an instruction of iced-x86 for this place.
    pub(super) fn encode(&mut self, instruction: &Instruction) -> Result<(), TranslateError> {
        let refused = |error| TranslateError::Encode {
            pc: instruction.ip(),
            reason: format!("{error}"),
        };
        let mut encoder = Encoder::new(64);
        encoder.encode(instruction, self.here()).map_err(refused)?;
        self.bytes(&encoder.take_buffer());
        Ok(())
    }

    /// `mov gs:[offset], register`
    pub(super) fn store_context(&mut self, offset: i32, register: u8) {
        dynasm!(self.ops ; .arch x64 ; gs mov [offset], Rq(register));
    }

    /// `mov register, gs:[offset]`
    pub(super) fn load_context(&mut self, register: u8, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; gs mov Rq(register), [offset]);
    }

    /// `mov e(register), gs:[offset]`
    pub(super) fn load_context32(&mut self, register: u8, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; gs mov Rd(register), [offset]);
    }

    /// Saves a register to its home.
    pub(super) fn save(&mut self, register: u8) {
        self.store_context(home(register), register);
    }

    /// Restores a register from its home.
    pub(super) fn restore(&mut self, register: u8) {
        self.load_context(register, home(register));
    }

    pub(super) fn mov(&mut self, to: u8, from: u8) {
        dynasm!(self.ops ; .arch x64 ; mov Rq(to), Rq(from));
    }

    /// `mov register, value`, in the shortest form.
    pub(super) fn constant(&mut self, register: u8, value: u64) {
        if let Ok(value) = u32::try_from(value) {
            dynasm!(self.ops ; .arch x64 ; mov Rd(register), value as i32);
        } else if let Ok(value) = i32::try_from(value as i64) {
            dynasm!(self.ops ; .arch x64 ; mov Rq(register), value);
        } else {
            dynasm!(self.ops ; .arch x64 ; mov Rq(register), QWORD value as i64);
        }
    }

    /// `lea to, [from + offset]`
    pub(super) fn add(&mut self, to: u8, from: u8, offset: i32) {
        if let Ok(short) = i8::try_from(offset) {
            dynasm!(self.ops ; .arch x64 ; lea Rq(to), [BYTE Rq(from) + short]);
        } else {
            dynasm!(self.ops ; .arch x64 ; lea Rq(to), [DWORD Rq(from) + offset]);
        }
    }

    /// `inc qword gs:[offset]`: changes all flags but cf.
    pub(super) fn increment(&mut self, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; gs inc QWORD [offset]);
    }

    /// `mov dword gs:[offset], value`
    pub(super) fn store_context_constant(&mut self, offset: i32, value: u32) {
        dynasm!(self.ops ; .arch x64 ; gs mov DWORD [offset], value as i32);
    }

    /// Stores the low `bytes` (1, 2, 4 or 8) of `register` at `[base + offset]`.
    pub(super) fn store(&mut self, base: u8, offset: i32, register: u8, bytes: u8) {
        let short = i8::try_from(offset);
        macro_rules! store {
            ($family:ident) => {
                match short {
                    Ok(o) => {
                        dynasm!(self.ops ; .arch x64 ; mov [BYTE Rq(base) + o], $family(register))
                    }
                    Err(_) => {
                        dynasm!(self.ops ; .arch x64 ; mov [DWORD Rq(base) + offset], $family(register))
                    }
                }
            };
        }
        match bytes {
            1 => store!(Rb),
            2 => store!(Rw),
            4 => store!(Rd),
            _ => store!(Rq),
        }
    }

    /// `mov dword [base], value`
    pub(super) fn store_header(&mut self, base: u8, value: u32) {
        dynasm!(self.ops ; .arch x64 ; mov DWORD [Rq(base)], value as i32);
    }

    /// `prefetchw [base + offset]`: this core is to own that line. It never faults, and does nothing on a processor without it.
    pub(super) fn prefetch_for_writing(&mut self, base: u8, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; prefetchw [DWORD Rq(base) + offset]);
    }

    /// Stores vector register `number` (`bytes` 16, 32 or 64) at `[base + offset]`.
    pub(super) fn store_vector(
        &mut self,
        base: u8,
        offset: i32,
        register: Register,
    ) -> Result<(), TranslateError> {
        let code = match register {
            r if r.is_zmm() => Code::EVEX_Vmovdqu64_zmmm512_k1z_zmm,
            r if r.is_ymm() && r as u32 - Register::YMM0 as u32 >= 16 => {
                Code::EVEX_Vmovdqu64_ymmm256_k1z_ymm
            }
            r if r.is_ymm() => Code::VEX_Vmovdqu_ymmm256_ymm,
            r if r.is_xmm() && r as u32 - Register::XMM0 as u32 >= 16 => {
                Code::EVEX_Vmovdqu64_xmmm128_k1z_xmm
            }
            r if r.is_xmm() => Code::Movups_xmmm128_xmm,
            r if r.is_k() => Code::VEX_Kmovq_m64_kr,
            _ => Code::Movq_mmm64_mm,
        };
        let memory = MemoryOperand::with_base_displ(gpr64(base), i64::from(offset));
        let instruction = Instruction::with2(code, memory, register).map_err(|error| {
            TranslateError::Assemble {
                pc: 0,
                reason: format!("capturing {register:?}: {error}"),
            }
        })?;
        self.encode(&instruction)
    }

    /// `fxsave64 gs:[offset]`
    pub(super) fn fxsave(&mut self, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; gs fxsave64 [offset]);
    }

    /// Loads `bytes` (1, 2, 4 or 8) at `memory` into `register`, zero-extended.
    pub(super) fn load(
        &mut self,
        register: u8,
        memory: MemoryOperand,
        bytes: usize,
        pc: u64,
    ) -> Result<(), TranslateError> {
        let (code, to) = match bytes {
            1 => (Code::Movzx_r32_rm8, gpr32(register)),
            2 => (Code::Movzx_r32_rm16, gpr32(register)),
            4 => (Code::Mov_r32_rm32, gpr32(register)),
            _ => (Code::Mov_r64_rm64, gpr64(register)),
        };
        let mut instruction =
            Instruction::with2(code, to, memory).map_err(|error| TranslateError::Encode {
                pc,
                reason: format!("{error}"),
            })?;
        instruction.set_ip(pc);
        self.encode(&instruction)
    }

    /// `bswap register`
    pub(super) fn swap_bytes(&mut self, register: u8) {
        dynasm!(self.ops ; .arch x64 ; bswap Rq(register));
    }

    pub(super) fn pop(&mut self, register: u8) {
        dynasm!(self.ops ; .arch x64 ; pop Rq(register));
    }

    /// `movzx e(register), (register)w`: the low 16 bits.
    pub(super) fn low16(&mut self, register: u8) {
        dynasm!(self.ops ; .arch x64 ; movzx Rd(register), Rw(register));
    }

    /// `jmp gs:[register * 8 + offset]`
    pub(super) fn jump_table(&mut self, register: u8, offset: i32) {
        dynasm!(self.ops ; .arch x64 ; gs jmp QWORD [Rq(register) * 8 + offset]);
    }

    /// `lea rsp, [rsp + bytes]`
    pub(super) fn drop_stack(&mut self, bytes: i32) {
        // An addition of nothing would still make the processor catch up with the stack pointer.
        if bytes != 0 {
            dynasm!(self.ops ; .arch x64 ; lea rsp, [rsp + bytes]);
        }
    }

    /// `push qword [rip + …]` of an 8-byte constant to be placed later; returns the offset of the displacement.
    pub(super) fn push_constant(&mut self) -> u32 {
        self.bytes(&[0xff, 0x35, 0, 0, 0, 0]);
        self.offset() - 4
    }

    /// An instruction whose opcode is followed by a 4-byte displacement that doesn't cross a cache line, so that it can be patched
    /// while other threads run it; returns the displacement's offset.
    pub(super) fn linkable(&mut self, opcode: &[u8]) -> u32 {
        while (self.offset() as usize + opcode.len()) % 64 > 60 {
            self.bytes(&[0x90]);
        }
        self.relative(opcode)
    }

    /// `opcode` and a 4-byte displacement to be filled in later; returns the displacement's offset.
    pub(super) fn relative(&mut self, opcode: &[u8]) -> u32 {
        self.bytes(opcode);
        self.bytes(&[0; 4]);
        self.offset() - 4
    }

    /// `jrcxz` over a following near jump (5 bytes).
    pub(super) fn skip_jump_if_rcx_zero(&mut self) {
        self.bytes(&[0xe3, 5]);
    }
}

/// The 64-bit register of that encoding number.
pub(super) fn gpr64(number: u8) -> Register {
    Register::RAX + u32::from(number)
}

/// The 32-bit register of that encoding number.
pub(super) fn gpr32(number: u8) -> Register {
    Register::EAX + u32::from(number)
}

/// Fills in the 4-byte displacement at `at` so that it leads to `target` (both offsets in `code`).
pub(super) fn point(code: &mut [u8], at: u32, target: u32) {
    let displacement = target.wrapping_sub(at + 4) as i32;
    code[at as usize..at as usize + 4].copy_from_slice(&displacement.to_le_bytes());
}
