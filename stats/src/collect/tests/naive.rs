//! The model: straight from the definitions, one instruction and one bit at a time.

use std::collections::HashMap;

use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};

use crate::facts::Facts;
use crate::model::{Level, PAGE_SIZE, PageStatistics, Statistics, ThreadKey};
use crate::protocol::Event;
use crate::register::Reg;
use crate::template::{Bits, Run, Slot, UnitTemplate};

/// What was counted, and the last access of each register of each thread.
pub(super) struct Naive {
    statistics: Statistics,
    since: HashMap<(u32, Reg), u64>,
}

impl Naive {
    pub(super) fn new(level: Level) -> Self {
        Naive {
            statistics: Statistics::new(level),
            since: HashMap::new(),
        }
    }

    /// A complete execution of a unit.
    pub(super) fn unit(&mut self, thread: u32, unit: &UnitTemplate, row: &[u8], fs: u64) {
        self.part(thread, unit, unit.instructions.len(), row, fs);
        let blocks: Vec<_> = unit.blocks(unit.instructions.len() as u32).collect();
        let ended = blocks.len() - usize::from(!unit.ends_block);
        for (pc, length) in &blocks[..ended] {
            self.statistics.add_block(*pc, *length, 1);
        }
    }

    pub(super) fn event(
        &mut self,
        thread: u32,
        event: &Event,
        units: &[UnitTemplate],
        fs: &mut u64,
    ) {
        match event {
            Event::FsBase(base) => *fs = *base,
            Event::Step(step) => {
                self.instruction(thread, step.pc, &step.bytes);
                let mut rest = &step.values[..];
                for operand in facts(&step.bytes).operands {
                    for access in operand.accesses().filter(|_| !step.values.is_empty()) {
                        let (value, others) = rest.split_at(operand.bytes.into());
                        rest = others;
                        let entry = self.statistics.instruction_mut(step.pc, &step.bytes);
                        let width = u16::from(operand.bytes) * 8;
                        entry
                            .operand_mut(operand.index, access, width)
                            .add_value(value);
                    }
                }
                for memory in &step.memory {
                    for i in 0..memory.count {
                        let (read, written) =
                            (memory.read / memory.count, memory.written / memory.count);
                        let address = memory.address + i * read.max(written);
                        self.access(address, read, read != 0, false);
                        self.access(address, written, false, written != 0);
                    }
                }
                self.sort(step.pc, &step.bytes);
            }
            Event::Partial {
                unit,
                executed,
                row,
            } => {
                let unit = &units[*unit as usize - 1];
                self.part(thread, unit, *executed as usize, row, *fs);
                let blocks: Vec<_> = unit.blocks(*executed).collect();
                for (pc, length) in blocks {
                    self.statistics.add_block(pc, length, 1);
                }
                if let (0, Some(prefix)) = (executed, unit.prefix) {
                    self.statistics.add_block(prefix.pc, prefix.instructions, 1);
                }
            }
            Event::Block(prefix) if prefix.instructions == 0 => {}
            Event::Block(prefix) => self.statistics.add_block(prefix.pc, prefix.instructions, 1),
            Event::Syscall { number, error } => self.statistics.add_syscall(*number, *error),
        }
    }

    pub(super) fn finish(mut self) -> Statistics {
        if self.statistics.level == Level::Counts {
            let registers = self.statistics.registers.values_mut();
            registers.for_each(|register| register.live_points = 0);
        }
        self.statistics
            .pages
            .retain(|_, page| *page != PageStatistics::default());
        self.statistics
    }

    fn part(&mut self, thread: u32, unit: &UnitTemplate, executed: usize, row: &[u8], fs: u64) {
        for (number, instruction) in unit.instructions[..executed].iter().enumerate() {
            self.instruction(thread, instruction.pc, &instruction.bytes);
            let operands = facts(&instruction.bytes).operands;
            let accesses = operands
                .iter()
                .flat_map(|o| o.accesses().map(move |access| (o, access)));
            for ((operand, access), runs) in accesses.zip(&instruction.values) {
                let value = value(runs, row);
                let entry = self
                    .statistics
                    .instruction_mut(instruction.pc, &instruction.bytes);
                let width = u16::from(operand.bytes) * 8;
                entry
                    .operand_mut(operand.index, access, width)
                    .add_value(&value);
            }
            self.sort(instruction.pc, &instruction.bytes);
            for access in unit
                .memory
                .iter()
                .filter(|a| usize::from(a.instruction) == number)
            {
                let slot = |slot: Option<Slot>| slot.map_or(0, |slot| number_in(slot, row));
                let mut address = slot(access.base)
                    .wrapping_add(slot(access.index).wrapping_mul(access.scale.into()))
                    .wrapping_add(access.constant);
                if access.fs {
                    address = address.wrapping_add(fs);
                }
                let times = access.repeat.map_or(1, |(before, after)| {
                    number_in(before, row).wrapping_sub(number_in(after, row))
                });
                for _ in 0..times {
                    self.access(address, access.bytes.into(), access.read, access.write);
                    address = address.wrapping_add(access.bytes.into());
                }
            }
        }
    }

    fn instruction(&mut self, thread: u32, pc: u64, bytes: &[u8]) {
        self.statistics.instruction_mut(pc, bytes).executions += 1;
        let key = ThreadKey { process: 0, thread };
        let now = *self.statistics.threads.entry(key).or_default();
        let facts = facts(bytes);
        for reg in facts.reads {
            let since = self.since.insert((thread, reg), now).unwrap_or(0);
            let entry = self.statistics.registers.entry(reg).or_default();
            entry.reads += 1;
            entry.live_points += now - since;
        }
        for reg in facts.writes {
            self.statistics.registers.entry(reg).or_default().writes += 1;
        }
        for reg in facts.kills {
            self.since.insert((thread, reg), now);
        }
        self.statistics.threads.insert(key, now + 1);
    }

    fn access(&mut self, address: u64, bytes: u64, read: bool, write: bool) {
        let mut last = None;
        for byte in (0..bytes).map(|i| address.wrapping_add(i)) {
            let page = byte / PAGE_SIZE * PAGE_SIZE;
            let first = u64::from(last != Some(page));
            last = Some(page);
            let entry = self.statistics.pages.entry(page).or_default();
            entry.reads += first * u64::from(read);
            entry.writes += first * u64::from(write);
            entry.bytes_read += u64::from(read);
            entry.bytes_written += u64::from(write);
        }
    }

    fn sort(&mut self, pc: u64, bytes: &[u8]) {
        let operands = &mut self.statistics.instruction_mut(pc, bytes).operands;
        operands.sort_by_key(|operand| (operand.operand, operand.access));
    }
}

fn facts(bytes: &[u8]) -> Facts {
    let instruction = Decoder::with_ip(64, bytes, 0, DecoderOptions::NONE).decode();
    Facts::new(&instruction, &mut InstructionInfoFactory::new())
}

fn bit(row: &[u8], bit: u32) -> bool {
    row[bit as usize / 8] & (1 << (bit % 8)) != 0
}

fn value(runs: &[Run], row: &[u8]) -> Vec<u8> {
    let mut bits = Vec::new();
    for run in runs {
        for i in 0..u32::from(run.length) {
            bits.push(match run.source {
                Bits::Zeros => false,
                Bits::Ones => true,
                Bits::Row(first) => bit(row, first + i),
                Bits::NotRow(first) => !bit(row, first + i),
                Bits::Repeat(one) => bit(row, one),
                Bits::NotRepeat(one) => !bit(row, one),
            });
        }
    }
    let byte = |bits: &[bool]| {
        bits.iter()
            .rev()
            .fold(0, |byte, bit| byte << 1 | u8::from(*bit))
    };
    bits.chunks(8).map(byte).collect()
}

fn number_in(slot: Slot, row: &[u8]) -> u64 {
    let at = usize::from(slot.offset);
    let negative = slot.signed && row[at + usize::from(slot.bytes) - 1] & 0x80 != 0;
    let mut bytes = [if negative { 0xff } else { 0 }; 8];
    for (i, byte) in bytes.iter_mut().take(slot.bytes.into()).enumerate() {
        *byte = row[at + i];
    }
    u64::from_le_bytes(bytes)
}
