//! An instruction that is about to execute, with its operand values as far as they are known.

use std::rc::Rc;

use fits_stats::facts::{Access, access_bytes, reads, writes};
use fits_stats::protocol::{Level, Step, StepMemory};
use iced_x86::Register;

use super::decoded::{Decoded, Place};
use super::values::{View, general, top};
use crate::ptrace::Registers;

const DIRECTION: u64 = 1 << 10;

/// An operand value that lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryValue {
    /// Where.
    pub address: u64,
    /// How many bytes.
    pub bytes: usize,
    offset: usize,
    access: Access,
}

/// An instruction between the state before it and the state after it.
///
/// [`Pending::begin`]; the memory values that it reads, from [`Pending::memory_before`], go to [`Pending::set`]; it executes; those that
/// it wrote, from [`Pending::memory_after`], go to [`Pending::set`]; [`Pending::finish`].
#[derive(Debug)]
pub struct Pending {
    decoded: Rc<Decoded>,
    level: Level,
    registers: Registers,
    top: u8,
    values: Vec<u8>,
    memory: Vec<MemoryValue>,
}

impl Pending {
    /// Takes the register values before the instruction.
    #[must_use]
    pub fn begin(decoded: Rc<Decoded>, level: Level, view: View) -> Self {
        let mut pending = Self {
            level,
            registers: *view.registers,
            top: top(view.xstate),
            values: Vec::new(),
            memory: Vec::new(),
            decoded,
        };
        if level == Level::Full {
            pending.values.resize(pending.decoded.value_bytes, 0);
            pending.take_registers(Access::Read, view);
            pending.locate(view);
        }
        pending
    }

    /// The instruction.
    #[must_use]
    pub fn decoded(&self) -> &Rc<Decoded> {
        &self.decoded
    }

    /// The registers before it.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The values in memory that it is about to read.
    pub fn memory_before(&self) -> impl Iterator<Item = MemoryValue> {
        self.memory_values(Access::Read)
    }

    /// The values in memory that it has written.
    pub fn memory_after(&self) -> impl Iterator<Item = MemoryValue> {
        self.memory_values(Access::Written)
    }

    fn memory_values(&self, access: Access) -> impl Iterator<Item = MemoryValue> {
        let values = self.memory.clone();
        values
            .into_iter()
            .filter(move |value| value.access == access)
    }

    /// Takes a value from memory.
    pub fn set(&mut self, value: MemoryValue, bytes: &[u8]) {
        let place = self
            .values
            .get_mut(value.offset..value.offset + value.bytes);
        if let (Some(place), true) = (place, bytes.len() == value.bytes) {
            place.copy_from_slice(bytes);
        }
    }

    /// The instruction has retired: takes the register values after it.
    #[must_use]
    pub fn finish(mut self, view: View) -> Step {
        let mut memory = Vec::new();
        if self.level == Level::Full {
            self.take_registers(Access::Written, view);
            memory = self.accesses(view.registers);
        }
        Step {
            pc: self.decoded.pc,
            bytes: self.decoded.bytes.clone(),
            values: self.values,
            memory,
        }
    }

    fn take_registers(&mut self, access: Access, view: View) {
        for slot in &self.decoded.slots {
            if let Place::Register(register) = slot.place
                && slot.access == access
            {
                let out = &mut self.values[slot.offset..slot.offset + slot.bytes];
                view.copy(register, self.top, out);
            }
        }
    }

    fn locate(&mut self, view: View) {
        for slot in &self.decoded.slots {
            if let Place::Memory(operand) = slot.place {
                self.memory.push(MemoryValue {
                    address: self.decoded.operand_address(operand, view),
                    bytes: slot.bytes,
                    offset: slot.offset,
                    access: slot.access,
                });
            }
        }
    }

    fn accesses(&self, after: &Registers) -> Vec<StepMemory> {
        let view = View {
            registers: &self.registers,
            xstate: None,
        };
        let count = if self.decoded.facts.rep {
            self.iterations(after)
        } else {
            1
        };
        let backward = self.decoded.facts.rep && self.registers.eflags & DIRECTION != 0;
        let access = |used: &iced_x86::UsedMemory| {
            let size = access_bytes(&self.decoded.instruction, used) as u64;
            let address = used
                .virtual_address(0, |register, _, _| Some(view.address_part(register)))
                .unwrap_or_default();
            let total = size * count;
            let behind = if backward {
                total.saturating_sub(size)
            } else {
                0
            };
            StepMemory {
                address: address.wrapping_sub(behind),
                read: if reads(used.access()) { total } else { 0 },
                written: if writes(used.access()) { total } else { 0 },
                count,
            }
        };
        self.decoded.facts.memory.iter().map(access).collect()
    }

    /// Iterations of a `rep`: what its counter lost.
    fn iterations(&self, after: &Registers) -> u64 {
        let counter = self.counter();
        let lost = general(&self.registers, counter).wrapping_sub(general(after, counter));
        if counter == Register::ECX {
            lost & 0xffff_ffff
        } else {
            lost
        }
    }

    /// The register that counts the iterations of a `rep`.
    fn counter(&self) -> Register {
        use iced_x86::OpKind::{MemoryESEDI, MemorySegEDI, MemorySegESI};
        let instruction = &self.decoded.instruction;
        let narrow = (0..instruction.op_count()).any(|operand| {
            matches!(
                instruction.op_kind(operand),
                MemoryESEDI | MemorySegEDI | MemorySegESI
            )
        });
        if narrow { Register::ECX } else { Register::RCX }
    }
}
