//! Events: single instructions, interrupted units, blocks and system calls.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::access::{address, iterations};
use super::error::CollectError;
use super::lifetime::Window;
use super::memory::{Access, Pages};
use super::shape::{Shape, Shapes};
use super::unit::Unit;
use crate::model::{
    BlockKey, InstructionBytes, InstructionKey, InstructionStatistics, SyscallStatistics,
};
use crate::protocol::{Step, StepMemory};
use crate::template::{Bits, Run};

/// What is counted from events.
#[derive(Debug, Default)]
pub struct Steps {
    shapes: Shapes,
    /// Instructions.
    pub instructions: FxHashMap<InstructionKey, Stepped>,
    /// Basic blocks.
    pub blocks: FxHashMap<BlockKey, u64>,
    /// System calls by number.
    pub syscalls: BTreeMap<u64, SyscallStatistics>,
}

/// What is counted of one instruction.
#[derive(Debug)]
pub struct Stepped {
    /// Facts.
    pub shape: Arc<Shape>,
    /// Executions and bits.
    pub statistics: InstructionStatistics,
}

impl Steps {
    /// The facts about an instruction.
    pub fn shape(&mut self, bytes: &[u8]) -> Arc<Shape> {
        self.shapes.of(bytes)
    }

    /// Counts one instruction.
    pub fn step(
        &mut self,
        step: &Step,
        window: &mut Window,
        pages: &mut Pages,
    ) -> Result<(), CollectError> {
        let key = InstructionKey {
            pc: step.pc,
            bytes: InstructionBytes::new(&step.bytes),
        };
        let shapes = &mut self.shapes;
        let stepped = self.instructions.entry(key).or_insert_with(|| Stepped {
            shape: shapes.of(&step.bytes),
            statistics: InstructionStatistics::default(),
        });
        if !step.values.is_empty() && step.values.len() != stepped.shape.value_bytes() {
            let what = "its values are not those of its operands";
            return Err(CollectError::Event { pc: step.pc, what });
        }
        stepped.statistics.executions += 1;
        let mut values = &step.values[..];
        for value in &stepped.shape.values {
            if let Some((bytes, rest)) = values.split_at_checked(value.bytes.into()) {
                let width = u16::from(value.bytes) * 8;
                stepped
                    .statistics
                    .operand_mut(value.operand, value.access, width)
                    .add_value(bytes);
                values = rest;
            }
        }
        for memory in &step.memory {
            count_memory(memory, pages);
        }
        window.instruction(stepped.shape.reads, stepped.shape.kills);
        Ok(())
    }

    /// Counts the first `executed` instructions of a unit, whose row (or what there is of it) is `row`.
    pub fn partial(
        &mut self,
        unit: &Unit,
        executed: u32,
        row: &[u8],
        fs: u64,
        window: &mut Window,
        pages: &mut Pages,
    ) -> Result<(), CollectError> {
        let event = |what| CollectError::Event { pc: unit.pc, what };
        let executed = executed as usize;
        let instructions = unit.instructions.get(..executed);
        let instructions = instructions.ok_or_else(|| event("a unit was left behind its end"))?;
        if unit.row_bytes != 0 && row.len() != unit.row_bytes && executed != 0 {
            return Err(event("an unfinished row has not its unit's length"));
        }
        let mut values = unit.values();
        for instruction in instructions {
            let statistics = self.entry(instruction.key, &instruction.shape);
            statistics.executions += 1;
            for (value, runs) in values.next_of(&instruction.shape) {
                let width = u16::from(value.bytes) * 8;
                let operand = statistics.operand_mut(value.operand, value.access, width);
                operand.add_value(&evaluate(runs, row));
            }
            window.instruction(instruction.shape.reads, instruction.shape.kills);
        }
        for access in unit
            .accesses
            .all
            .iter()
            .filter(|a| usize::from(a.instruction) < executed)
        {
            let bytes = Access {
                address: address(access, row, fs),
                bytes: access.bytes.into(),
                read: access.read,
                write: access.write,
            };
            pages.accesses(bytes, iterations(access, row));
        }
        for block in unit.blocks(executed as u32) {
            self.block(block, 1);
        }
        Ok(())
    }

    /// Counts executions of a block; one without instructions is none.
    pub fn block(&mut self, block: BlockKey, executions: u64) {
        if block.instructions != 0 {
            *self.blocks.entry(block).or_default() += executions;
        }
    }

    /// Counts a system call.
    pub fn syscall(&mut self, number: u64, error: bool) {
        let entry = self.syscalls.entry(number).or_default();
        entry.calls += 1;
        entry.errors += u64::from(error);
    }

    fn entry(&mut self, key: InstructionKey, shape: &Arc<Shape>) -> &mut InstructionStatistics {
        let new = || Stepped {
            shape: Arc::clone(shape),
            statistics: InstructionStatistics::default(),
        };
        &mut self.instructions.entry(key).or_insert_with(new).statistics
    }
}

fn count_memory(memory: &StepMemory, pages: &mut Pages) {
    for (total, write) in [(memory.read, false), (memory.written, true)] {
        if total != 0 && memory.count != 0 {
            let bytes = total / memory.count;
            let access = Access {
                address: memory.address,
                bytes,
                read: !write,
                write,
            };
            pages.accesses(access, memory.count);
        }
    }
}

/// The value whose bits come from `runs`, in an execution that left `row`.
pub fn evaluate(runs: &[Run], row: &[u8]) -> Vec<u8> {
    let row_bit = |bit: u32| row[bit as usize / 8] >> (bit % 8) & 1 != 0;
    let bits: usize = runs.iter().map(|run| usize::from(run.length)).sum();
    let mut value = vec![0; bits.div_ceil(8)];
    let mut at = 0;
    for run in runs {
        for i in 0..u32::from(run.length) {
            let bit = match run.source {
                Bits::Zeros => false,
                Bits::Ones => true,
                Bits::Row(first) => row_bit(first + i),
                Bits::NotRow(first) => !row_bit(first + i),
                Bits::Repeat(bit) => row_bit(bit),
                Bits::NotRepeat(bit) => !row_bit(bit),
            };
            value[at / 8] |= u8::from(bit) << (at % 8);
            at += 1;
        }
    }
    value
}
