//! Captures: the stores that put a value into the row.

use super::TranslateError;
use super::bits::in_row;
use super::decode::Guest;
use super::registers::{Plan, RCX, general};
use super::semantics::{Part, part};
use super::state::{Address, Captured, State};
use super::writer::Writer;
use crate::layout::FXSAVE;
use crate::unit::Place;
use fits_stats::facts::{Operand, access_bytes, reads, writes};
use fits_stats::register::Reg;
use fits_stats::template::{MemoryAccess, Slot, Value};
use iced_x86::{CpuidFeature, MemoryOperand, OpKind, Register, UsedMemory};

/// Offset of st0 in the area of `fxsave`, and the distance to the next.
const FXSAVE_ST0: i32 = 32;
const FXSAVE_ST: i32 = 16;

/// Emits captures and keeps account of what is known.
pub(super) struct Capturer<'a, 'b> {
    pub(super) writer: &'a mut Writer<'b>,
    pub(super) state: State,
    cursor: u8,
    scratch: u8,
    /// The accesses of the `rep` instruction at hand: their places in the list, and the slot of its count before.
    repeats: Option<(std::ops::Range<usize>, Slot)>,
}

impl<'a, 'b> Capturer<'a, 'b> {
    pub(super) fn new(writer: &'a mut Writer<'b>, plan: &Plan) -> Self {
        let (cursor, scratch) = (plan.cursor, plan.scratch);
        Capturer {
            writer,
            state: State::new(),
            cursor,
            scratch,
            repeats: None,
        }
    }

    /// The value of a register operand now.
    pub(super) fn register(
        &mut self,
        number: usize,
        register: Register,
    ) -> Result<Value, TranslateError> {
        if let Some(part) = part(register) {
            return self.part(number, part);
        }
        if register.is_st() {
            return self.x87(number, register, 0);
        }
        let captured = self.vector(number, register)?;
        Ok(captured.value(0, register.size()))
    }

    /// The value of a register operand after `guest` has executed.
    pub(super) fn register_after(
        &mut self,
        number: usize,
        guest: &Guest,
        register: Register,
    ) -> Result<Value, TranslateError> {
        if register.is_st() {
            let moved = guest.instruction.fpu_stack_increment_info().increment();
            return self.x87(number, register, moved);
        }
        self.register(number, register)
    }

    /// The value of a part of a general register now.
    pub(super) fn part(&mut self, _number: usize, part: Part) -> Result<Value, TranslateError> {
        if self.state.lacks(part) {
            self.capture(part.register, (part.from + part.bits) / 8);
        }
        Ok(self.state.value(part))
    }

    /// Stores the low `bytes` of a general register.
    fn capture(&mut self, register: u8, bytes: usize) -> Slot {
        let offset = self.state.reserve(bytes);
        self.writer
            .asm
            .store(self.cursor, offset as i32, register, bytes as u8);
        self.state.capture(register, offset, bytes);
        Slot {
            offset: offset as u16,
            bytes: bytes as u8,
            signed: false,
        }
    }

    /// Stores a host register that holds no guest register.
    pub(super) fn host_register(&mut self, register: u8) -> Result<Value, TranslateError> {
        let offset = self.state.reserve(8);
        self.writer
            .asm
            .store(self.cursor, offset as i32, register, 8);
        Ok(in_row(8 * offset, 64))
    }

    /// A vector, mask or MMX register in the row.
    pub(super) fn vector(
        &mut self,
        _number: usize,
        register: Register,
    ) -> Result<Captured, TranslateError> {
        let bytes = register.size();
        if let Some(captured) = self.state.captured(register, bytes) {
            return Ok(captured);
        }
        let offset = self.state.reserve(bytes);
        self.writer
            .asm
            .store_vector(self.cursor, offset as i32, register)?;
        let captured = Captured { offset, bytes };
        self.state.set_captured(register, captured);
        Ok(captured)
    }

    /// An x87 register: no single instruction stores one without changing the stack, so all go to the context first.
    /// `moved` is how far the top of the stack has moved since `register` had its name.
    fn x87(
        &mut self,
        number: usize,
        register: Register,
        moved: i32,
    ) -> Result<Value, TranslateError> {
        self.claim_scratch(number);
        self.writer.asm.fxsave(FXSAVE);
        let index = (register as i32 - Register::ST0 as i32 - moved) & 7;
        let from = FXSAVE + FXSAVE_ST0 + FXSAVE_ST * index;
        let offset = self.state.reserve(10) as i32;
        self.writer.asm.load_context(self.scratch, from);
        self.writer.asm.store(self.cursor, offset, self.scratch, 8);
        self.writer.asm.load_context(self.scratch, from + 8);
        self.writer
            .asm
            .store(self.cursor, offset + 8, self.scratch, 2);
        Ok(in_row(8 * offset as u32, 80))
    }

    fn claim_scratch(&mut self, number: usize) {
        if self.writer.scratch_saved.is_none() {
            self.writer.asm.save(self.scratch);
            self.writer.displace(number, self.scratch, Place::Home);
            self.writer.scratch_saved = Some(self.scratch);
        }
    }

    /// The value of a memory operand before the instruction.
    pub(super) fn memory_before(
        &mut self,
        number: usize,
        guest: &Guest,
        operand: &Operand,
    ) -> Result<Value, TranslateError> {
        self.memory(number, guest, operand)
    }

    /// The value of a memory operand now; the registers of its address are as the instruction names them.
    pub(super) fn memory(
        &mut self,
        number: usize,
        guest: &Guest,
        operand: &Operand,
    ) -> Result<Value, TranslateError> {
        self.claim_scratch(number);
        let bytes = usize::from(operand.bytes);
        let offset = self.state.reserve(bytes);
        let mut done = 0;
        while done < bytes {
            let piece = [8, 4, 2, 1]
                .into_iter()
                .find(|&piece| piece <= bytes - done)
                .unwrap_or(1);
            self.load(guest, operand, done as u64, piece)?;
            let at = (offset as usize + done) as i32;
            self.writer
                .asm
                .store(self.cursor, at, self.scratch, piece as u8);
            done += piece;
        }
        Ok(in_row(8 * offset, 8 * bytes as u16))
    }

    fn load(
        &mut self,
        guest: &Guest,
        operand: &Operand,
        offset: u64,
        bytes: usize,
    ) -> Result<(), TranslateError> {
        let base = match guest.instruction.op_kind(u32::from(operand.index)) {
            OpKind::MemorySegRSI => Register::RSI,
            OpKind::MemorySegRDI | OpKind::MemoryESRDI => Register::RDI,
            _ => {
                return self
                    .writer
                    .load_operand(self.scratch, &guest.instruction, offset, bytes);
            }
        };
        let memory = MemoryOperand::with_base(base);
        self.writer
            .asm
            .load(self.scratch, memory, bytes, guest.pc())
    }

    /// Registers whose vector, mask or MMX value the instruction changed are unknown again.
    pub(super) fn forget_written(&mut self, guest: &Guest) {
        if guest.instruction.is_save_restore_instruction() {
            // `fxrstor` and its like change registers that iced-x86 does not list.
            for reg in Reg::all() {
                self.state.forget_captured(reg.index());
            }
        }
        for reg in &guest.facts.writes {
            if reg.index() >= 16 {
                self.state.forget_captured(reg.index());
            }
        }
        // x87 and MMX registers are the same storage under two names.
        let shares = |reg: &Reg| reg.name().starts_with("st") || reg.name().starts_with("mm");
        // Not every x87 instruction that writes one says so in its facts (`fbld`).
        let is_x87 = guest
            .instruction
            .cpuid_features()
            .iter()
            .any(|feature| matches!(feature, CpuidFeature::FPU | CpuidFeature::FPU387));
        if is_x87 || guest.facts.writes.iter().any(shares) {
            for reg in Reg::all().filter(shares) {
                self.state.forget_captured(reg.index());
            }
        }
    }

    /// Describes the instruction's memory accesses; called before it executes.
    pub(super) fn addresses(&mut self, number: usize, guest: &Guest) -> Result<(), TranslateError> {
        let first = self.writer.memory.len();
        for used in &guest.facts.memory {
            let mut access = self.access(number, used);
            access.bytes = access_bytes(&guest.instruction, used) as u32;
            self.writer.memory.push(access);
        }
        if guest.facts.rep {
            let count = self.slot(RCX);
            self.repeats = Some((first..self.writer.memory.len(), count));
        }
        Ok(())
    }

    /// After a `rep` instruction: what is left of its count.
    pub(super) fn repeat(&mut self, _number: usize, guest: &Guest) -> Result<(), TranslateError> {
        debug_assert_eq!(guest.facts.rep, self.repeats.is_some());
        if let Some((places, before)) = self.repeats.take() {
            let after = self.slot(RCX);
            for place in places {
                self.writer.memory[place].repeat = Some((before, after));
            }
        }
        Ok(())
    }

    fn access(&mut self, number: usize, used: &UsedMemory) -> MemoryAccess {
        let base = self.address(used.base());
        let index = self.address(used.index());
        let scale = used.scale() as u8;
        let constant = used
            .displacement()
            .wrapping_add(base.constant)
            .wrapping_add(index.constant.wrapping_mul(u64::from(scale)));
        MemoryAccess {
            instruction: number as u16,
            read: reads(used.access()),
            write: writes(used.access()),
            bytes: used.memory_size().size() as u32,
            base: base.slot,
            index: index.slot,
            scale,
            constant,
            fs: used.segment() == Register::FS,
            repeat: None,
        }
    }

    /// A register of an address, captured if need be.
    fn address(&mut self, register: Register) -> Address {
        let Some(number) = general(register) else {
            return Address {
                slot: None,
                constant: 0,
            };
        };
        if let Some(address) = self.state.address_if_known(number) {
            return address;
        }
        Address {
            slot: Some(self.capture(number, 8)),
            constant: 0,
        }
    }

    /// A register as a plain number in the row.
    fn slot(&mut self, register: u8) -> Slot {
        match self.state.address_if_known(register) {
            Some(Address {
                slot: Some(slot),
                constant: 0,
            }) => slot,
            _ => self.capture(register, 8),
        }
    }
}
