//! Random operands for a code, by the kinds that iced-x86's tables name.

use crate::places::{CONSTANTS, DATA, DATA_BYTES, LOW, PAGE};
use crate::random::Random;
use crate::start::Roles;
use iced_x86::{
    Code, EncodingKind, Instruction, OpCodeInfo, OpCodeOperandKind, OpKind, Register,
    RoundingControl,
};

/// Builds instructions whose memory operands mostly hit the data.
pub struct Builder<'a> {
    random: &'a mut Random,
    roles: &'a Roles,
}

impl<'a> Builder<'a> {
    /// A builder that knows which registers hold what at the start of the sequence.
    pub fn new(random: &'a mut Random, roles: &'a Roles) -> Self {
        Builder { random, roles }
    }

    /// A random instruction of that code; none if an operand's kind is unknown. Near branches have target 0.
    pub fn build(&mut self, code: Code) -> Option<Instruction> {
        let info = code.op_code();
        let mut instruction = Instruction::default();
        instruction.set_code(code);
        for operand in 0..info.op_count() {
            self.operand(&mut instruction, info, operand)?;
        }
        self.decorate(&mut instruction, info);
        Some(instruction)
    }

    /// Prefixes, masks, broadcast, rounding.
    fn decorate(&mut self, instruction: &mut Instruction, info: &OpCodeInfo) {
        let memory = (0..info.op_count()).any(|i| instruction.op_kind(i) == OpKind::Memory);
        if info.can_use_lock_prefix() && memory && self.random.chance(40) {
            instruction.set_has_lock_prefix(true);
        }
        if info.can_use_rep_prefix() && self.random.chance(50) {
            instruction.set_has_rep_prefix(true);
        } else if info.can_use_repne_prefix() && self.random.chance(40) {
            instruction.set_has_repne_prefix(true);
        }
        if info.encoding() == EncodingKind::EVEX {
            self.decorate_evex(instruction, info, memory);
        }
    }

    fn decorate_evex(&mut self, instruction: &mut Instruction, info: &OpCodeInfo, memory: bool) {
        let must = info.require_op_mask_register();
        if must || info.can_use_op_mask_register() && self.random.chance(45) {
            instruction.set_op_mask(Register::K1 + self.random.below(7) as u32);
            if info.can_use_zeroing_masking() && self.random.chance(40) {
                instruction.set_zeroing_masking(true);
            }
        }
        if memory {
            if info.can_broadcast() && self.random.chance(35) {
                instruction.set_is_broadcast(true);
            }
        } else if info.can_use_rounding_control() && self.random.chance(30) {
            use RoundingControl::{RoundDown, RoundToNearest, RoundTowardZero, RoundUp};
            let rounding = [RoundDown, RoundToNearest, RoundTowardZero, RoundUp];
            instruction.set_rounding_control(self.random.pick(&rounding));
        } else if info.can_suppress_all_exceptions() && self.random.chance(30) {
            instruction.set_suppress_all_exceptions(true);
        }
    }

    fn operand(&mut self, i: &mut Instruction, info: &OpCodeInfo, operand: u32) -> Option<()> {
        use OpCodeOperandKind::*;
        let evex = info.encoding() == EncodingKind::EVEX;
        let legacy = info.encoding() == EncodingKind::Legacy;
        let register = match info.op_kind(operand) {
            mem => return self.memory(i, operand, info, legacy),
            mem_vsib32x | mem_vsib64x => return self.gather(i, operand, Register::XMM0, evex),
            mem_vsib32y | mem_vsib64y => return self.gather(i, operand, Register::YMM0, evex),
            mem_vsib32z | mem_vsib64z => return self.gather(i, operand, Register::ZMM0, evex),
            mem_offs => return self.offset(i, operand),
            r8_or_mem | r16_or_mem | r32_or_mem | r64_or_mem | mm_or_mem | xmm_or_mem
            | ymm_or_mem | zmm_or_mem | k_or_mem
                if self.random.chance(45) =>
            {
                return self.memory(i, operand, info, legacy);
            }
            r8_or_mem | r8_reg | r8_opcode => self.byte(operand, legacy),
            r16_or_mem | r16_reg | r16_reg_mem | r16_rm | r16_opcode => {
                self.general(operand, Register::AX)
            }
            r32_or_mem | r32_reg | r32_reg_mem | r32_rm | r32_opcode | r32_vvvv => {
                self.general(operand, Register::EAX)
            }
            r64_or_mem | r64_reg | r64_reg_mem | r64_rm | r64_opcode | r64_vvvv => {
                self.general(operand, Register::RAX)
            }
            mm_or_mem | mm_reg | mm_rm => Register::MM0 + self.random.below(8) as u32,
            xmm_or_mem | xmm_reg | xmm_rm | xmm_vvvv | xmm_is4 | xmm_is5 => {
                self.vector(Register::XMM0, evex)
            }
            ymm_or_mem | ymm_reg | ymm_rm | ymm_vvvv | ymm_is4 | ymm_is5 => {
                self.vector(Register::YMM0, evex)
            }
            zmm_or_mem | zmm_reg | zmm_rm | zmm_vvvv => self.vector(Register::ZMM0, evex),
            xmmp3_vvvv => self.vector(Register::XMM0, evex),
            zmmp3_vvvv => self.vector(Register::ZMM0, evex),
            k_or_mem | k_reg | k_rm | k_vvvv => Register::K0 + self.random.below(8) as u32,
            kp1_reg => Register::K0 + 2 * self.random.below(4) as u32,
            sti_opcode => Register::ST0 + self.random.below(8) as u32,
            seg_reg => self
                .random
                .pick(&[Register::DS, Register::CS, Register::SS, Register::FS]),
            al => Register::AL,
            cl => Register::CL,
            ax => Register::AX,
            dx => Register::DX,
            eax => Register::EAX,
            rax => Register::RAX,
            st0 => Register::ST0,
            es => Register::ES,
            cs => Register::CS,
            ss => Register::SS,
            ds => Register::DS,
            fs => Register::FS,
            gs => Register::GS,
            seg_rSI => return implied(i, operand, OpKind::MemorySegRSI),
            seg_rDI => return implied(i, operand, OpKind::MemorySegRDI),
            es_rDI => return implied(i, operand, OpKind::MemoryESRDI),
            seg_rBX_al => {
                i.set_op_kind(operand, OpKind::Memory);
                i.set_memory_base(Register::RBX);
                i.set_memory_index(Register::AL);
                return Some(());
            }
            br64_1 | br64_4 => {
                i.set_op_kind(operand, OpKind::NearBranch64);
                return Some(());
            }
            kind => return self.immediate(i, operand, kind),
        };
        i.set_op_kind(operand, OpKind::Register);
        i.set_op_register(operand, register);
        Some(())
    }

    fn immediate(
        &mut self,
        i: &mut Instruction,
        operand: u32,
        kind: OpCodeOperandKind,
    ) -> Option<()> {
        use OpCodeOperandKind::*;
        let value = self.random.integer();
        let second = operand > 0
            && matches!(
                i.op_kind(operand - 1),
                OpKind::Immediate8 | OpKind::Immediate16
            );
        let (kind, value) = match kind {
            imm8 if second => (OpKind::Immediate8_2nd, value & 0xff),
            imm8 => (OpKind::Immediate8, value & 0xff),
            imm4_m2z => (OpKind::Immediate8, value & 3),
            imm8_const_1 => (OpKind::Immediate8, 1),
            imm8sex16 => (OpKind::Immediate8to16, value as i8 as u64),
            imm8sex32 => (OpKind::Immediate8to32, value as i8 as u64),
            imm8sex64 => (OpKind::Immediate8to64, value as i8 as u64),
            imm16 => (OpKind::Immediate16, value & 0xffff),
            imm32 => (OpKind::Immediate32, value & 0xffff_ffff),
            imm32sex64 => (OpKind::Immediate32to64, value as i32 as u64),
            imm64 => (OpKind::Immediate64, value),
            _ => return Option::None,
        };
        // `enter` with a frame as large as the stack, or `ret` past its end, would only fault.
        let value = match i.code() {
            Code::Enterq_imm16_imm8 if kind == OpKind::Immediate16 => value & 0xff,
            Code::Retnq_imm16 => value & 0x38,
            _ => value,
        };
        i.set_op_kind(operand, kind);
        i.try_set_immediate_u64(operand, value).ok()
    }

    fn general(&mut self, operand: u32, first: Register) -> Register {
        first + self.number(operand)
    }

    /// A general register: as a destination mostly none that addresses are made of.
    fn number(&mut self, operand: u32) -> u32 {
        if operand == 0 && self.random.chance(80) {
            return u32::from(self.random.pick(&self.roles.values));
        }
        if self.random.chance(3) {
            return 4;
        }
        self.random.below(16) as u32
    }

    fn byte(&mut self, operand: u32, legacy: bool) -> Register {
        if legacy && self.random.chance(15) {
            let high = [Register::AH, Register::BH, Register::CH, Register::DH];
            return self.random.pick(&high);
        }
        match self.number(operand) {
            low @ 0..4 => Register::AL + low,
            other => Register::SPL + (other - 4),
        }
    }

    fn vector(&mut self, first: Register, evex: bool) -> Register {
        let limit = match (evex, self.random.below(3)) {
            (true, 0) => 32,
            (_, 1) => 16,
            _ => 6,
        };
        first + self.random.below(limit) as u32
    }

    fn gather(
        &mut self,
        i: &mut Instruction,
        operand: u32,
        first: Register,
        evex: bool,
    ) -> Option<()> {
        i.set_op_kind(operand, OpKind::Memory);
        i.set_memory_base(self.pointer());
        // Registers 4, 9, 14 … hold small numbers.
        let small = 4 + 5 * self.random.below(if evex { 5 } else { 3 }) as u32;
        i.set_memory_index(first + small);
        i.set_memory_index_scale(1 << self.random.below(4));
        i.set_memory_displ_size(1);
        i.set_memory_displacement64(self.random.below(128) as u64);
        Some(())
    }

    fn offset(&mut self, i: &mut Instruction, operand: u32) -> Option<()> {
        i.set_op_kind(operand, OpKind::Memory);
        i.set_memory_displ_size(8);
        let address = self.random.pick(&[DATA, CONSTANTS, LOW]) + self.random.below(4080) as u64;
        i.set_memory_displacement64(address);
        Some(())
    }

    fn pointer(&mut self) -> Register {
        if self.random.chance(20) {
            return Register::RSP;
        }
        Register::RAX + u32::from(self.random.pick(&self.roles.pointers))
    }

    fn memory(
        &mut self,
        i: &mut Instruction,
        operand: u32,
        info: &OpCodeInfo,
        legacy: bool,
    ) -> Option<()> {
        i.set_op_kind(operand, OpKind::Memory);
        let align = if self.random.chance(70) {
            (info.memory_size().size() as u64)
                .clamp(1, 64)
                .next_power_of_two()
        } else {
            1
        };
        let aligned = |value: u64| value & !(align - 1);
        match self.random.below(100) {
            0..10 => {
                let within = self.random.below((DATA_BYTES + PAGE) as usize - 64) as u64;
                i.set_memory_base(Register::RIP);
                i.set_memory_displ_size(8);
                i.set_memory_displacement64(aligned(DATA + within));
            }
            10..13 => {
                i.set_memory_displ_size(8);
                i.set_memory_displacement64(aligned(LOW + self.random.below(4000) as u64));
            }
            13..17 => {
                let segment = if self.random.chance(85) {
                    Register::FS
                } else {
                    Register::GS
                };
                i.set_segment_prefix(segment);
                i.set_memory_displ_size(8);
                i.set_memory_displacement64(
                    aligned(self.random.below(512) as u64).wrapping_sub(128),
                );
                if self.random.chance(30) {
                    i.set_memory_base(
                        Register::RAX + u32::from(self.random.pick(&self.roles.small)),
                    );
                }
            }
            17 => {
                let base = u32::from(self.random.pick(&self.roles.small));
                i.set_memory_base(Register::EAX + base);
                i.set_memory_displ_size(4);
                i.set_memory_displacement64(aligned(LOW + self.random.below(2000) as u64));
            }
            18..20 => {
                i.set_memory_base(Register::RAX + self.random.below(16) as u32);
                let index = self.random.below(16) as u32;
                if index != 4 {
                    i.set_memory_index(Register::RAX + index);
                    i.set_memory_index_scale(1 << self.random.below(4));
                }
            }
            _ => self.through_pointer(i, align),
        }
        let segment = legacy && self.random.chance(1) && i.memory_base() != Register::RIP;
        if segment && i.segment_prefix() == Register::None {
            i.set_segment_prefix(
                self.random
                    .pick(&[Register::CS, Register::DS, Register::ES]),
            );
        }
        Some(())
    }

    fn through_pointer(&mut self, i: &mut Instruction, align: u64) {
        let base = self.pointer();
        i.set_memory_base(base);
        if self.random.chance(30) {
            i.set_memory_index(Register::RAX + u32::from(self.random.pick(&self.roles.small)));
            i.set_memory_index_scale(1 << self.random.below(4));
        }
        let range = if self.random.chance(70) { 128 } else { 1024 };
        let displacement =
            (self.random.below(2 * range) as u64 & !(align - 1)).wrapping_sub(range as u64);
        if self.random.chance(80) {
            i.set_memory_displ_size(1);
            i.set_memory_displacement64(displacement);
        }
    }
}

fn implied(i: &mut Instruction, operand: u32, kind: OpKind) -> Option<()> {
    i.set_op_kind(operand, kind);
    Some(())
}
