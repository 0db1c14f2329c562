//! An instruction, what the shared facts say about it, and where its operand values are to be found.

use std::rc::Rc;

use fits_stats::facts::{Access, Facts, OperandKind};
use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Mnemonic, OpKind, Register,
};
use rustc_hash::FxHashMap;

use super::values::{View, is_extended};

/// What an executor must know before it executes an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Plain,
    /// It repeats: a single step may be one iteration, or some elements, only.
    Repeat,
    /// `syscall`.
    Syscall,
    /// `rdtsc`.
    Rdtsc,
    /// `rdtscp`.
    Rdtscp,
    /// `cpuid`.
    Cpuid,
    /// `rdpid`.
    Rdpid,
    /// It pushes the flags, among them the trap flag of a single step.
    PushFlags,
    /// It pops the flags: the kernel's record of who set the trap flag is wrong after a step over it.
    PopFlags,
    /// `int3` or `int1`: `SIGTRAP` follows, with rip after it.
    Breakpoint,
    /// It loads `ss`: the processor does not trap after it, but after the next instruction.
    LoadStackSegment,
    /// Not in iced-x86's tables.
    Invalid,
}

/// Where one operand value is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) access: Access,
    pub(super) offset: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Place {
    Register(Register),
    /// The memory operand with this index.
    Memory(u32),
}

/// A decoded instruction.
#[derive(Debug)]
pub struct Decoded {
    /// Its address.
    pub pc: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// As iced-x86 has it.
    pub instruction: Instruction,
    /// What it touches.
    pub facts: Facts,
    /// What the executor must know.
    pub kind: Kind,
    pub(super) slots: Vec<Slot>,
    pub(super) value_bytes: usize,
    extended_before: bool,
    extended_after: bool,
}

impl Decoded {
    /// Decodes the instruction at `pc`, of whose bytes (and what follows) up to 15 are given. `None`: cut off by the end of `bytes`.
    #[must_use]
    pub fn new(pc: u64, bytes: &[u8], factory: &mut InstructionInfoFactory) -> Option<Self> {
        let mut decoder = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            let cut_off = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes;
            return (!cut_off).then(|| Self::invalid(pc, bytes, instruction));
        }
        let facts = Facts::new(&instruction, factory);
        let mut slots = Vec::new();
        let mut offset = 0;
        for operand in &facts.operands {
            let place = match operand.kind {
                OperandKind::Register(register) => Place::Register(register),
                OperandKind::Memory => Place::Memory(operand.index.into()),
            };
            let bytes = usize::from(operand.bytes);
            for access in operand.accesses() {
                slots.push(Slot {
                    place,
                    access,
                    offset,
                    bytes,
                });
                offset += bytes;
            }
        }
        let extended = |access| {
            slots.iter().any(|slot| {
                slot.access == access
                    && matches!(slot.place, Place::Register(register) if is_extended(register))
            })
        };
        let after = extended(Access::Written);
        // The top of the x87 stack before the instruction tells which register the name meant.
        let x87 = slots
            .iter()
            .any(|slot| matches!(slot.place, Place::Register(register) if register.is_st()));
        Some(Self {
            pc,
            bytes: bytes[..instruction.len()].to_vec(),
            kind: kind(&instruction, &facts),
            extended_before: extended(Access::Read) || x87,
            extended_after: after,
            instruction,
            facts,
            slots,
            value_bytes: offset,
        })
    }

    fn invalid(pc: u64, bytes: &[u8], instruction: Instruction) -> Self {
        Self {
            pc,
            bytes: bytes.to_vec(),
            instruction,
            facts: Facts::default(),
            kind: Kind::Invalid,
            slots: Vec::new(),
            value_bytes: 0,
            extended_before: false,
            extended_after: false,
        }
    }

    /// Address of the instruction after it.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.pc.wrapping_add(self.bytes.len() as u64)
    }

    /// Whether its operand values need x87, vector or mask registers before it executes.
    #[must_use]
    pub fn extended_before(&self) -> bool {
        self.extended_before
    }

    /// Whether its operand values need x87, vector or mask registers after it executed.
    #[must_use]
    pub fn extended_after(&self) -> bool {
        self.extended_after
    }

    /// Address of a memory operand, from the registers before the instruction.
    pub(super) fn operand_address(&self, operand: u32, view: View) -> u64 {
        let address = self
            .instruction
            .virtual_address(operand, 0, |register, _, _| {
                Some(view.address_part(register))
            });
        let popped = match self.instruction.mnemonic() {
            // `pop [rsp+x]` forms its address from rsp after the pop.
            Mnemonic::Pop if self.instruction.memory_base().full_register() == Register::RSP => {
                self.instruction.memory_size().size() as u64
            }
            _ => 0,
        };
        address.unwrap_or_default().wrapping_add(popped)
    }
}

fn kind(instruction: &Instruction, facts: &Facts) -> Kind {
    let loads_ss =
        instruction.op0_kind() == OpKind::Register && instruction.op0_register() == Register::SS;
    match instruction.mnemonic() {
        // A gather or scatter traps in place of a page fault once an element has been done.
        _ if facts.rep || instruction.is_vsib() => Kind::Repeat,
        Mnemonic::Syscall => Kind::Syscall,
        Mnemonic::Rdtsc => Kind::Rdtsc,
        Mnemonic::Rdtscp => Kind::Rdtscp,
        Mnemonic::Cpuid => Kind::Cpuid,
        Mnemonic::Rdpid => Kind::Rdpid,
        Mnemonic::Pushf | Mnemonic::Pushfd | Mnemonic::Pushfq => Kind::PushFlags,
        Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => Kind::PopFlags,
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => Kind::PopFlags,
        Mnemonic::Int3 | Mnemonic::Int1 => Kind::Breakpoint,
        Mnemonic::Int if instruction.code() == Code::Int_imm8 && instruction.immediate8() == 3 => {
            Kind::Breakpoint
        }
        Mnemonic::Mov | Mnemonic::Pop if loads_ss => Kind::LoadStackSegment,
        _ => Kind::Plain,
    }
}

/// Decoded instructions by address. The bytes must be compared at each use: code changes.
#[derive(Debug)]
pub struct DecodeCache {
    entries: FxHashMap<u64, Rc<Decoded>>,
    factory: InstructionInfoFactory,
}

impl Default for DecodeCache {
    fn default() -> Self {
        Self {
            entries: FxHashMap::default(),
            factory: InstructionInfoFactory::new(),
        }
    }
}

impl DecodeCache {
    /// What was decoded at `pc` last.
    #[must_use]
    pub fn get(&self, pc: u64) -> Option<Rc<Decoded>> {
        self.entries.get(&pc).cloned()
    }

    /// Decodes `bytes` at `pc` and remembers it.
    pub fn decode(&mut self, pc: u64, bytes: &[u8]) -> Option<Rc<Decoded>> {
        let decoded = Rc::new(Decoded::new(pc, bytes, &mut self.factory)?);
        self.entries.insert(pc, Rc::clone(&decoded));
        Some(decoded)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
