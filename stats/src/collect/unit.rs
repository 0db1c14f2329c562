//! Units as the collector uses them: templates checked, and what is the same for every execution computed once.

use std::sync::Arc;

use super::access::Accesses;
use super::error::CollectError;
use super::kernels::UNTOUCHED;
use super::lifetime::GROUPS;
use super::shape::{OperandValue, Shape, Shapes, members};
use crate::model::{BlockKey, InstructionBytes, InstructionKey};
use crate::register::Reg;
use crate::template::{
    Bits, Prefix, ROW_ALIGN, ROW_LIMIT, Run, Slot, UNIT_LIMIT, UnitId, UnitTemplate, blocks,
};

/// The longest unit in instructions.
const MAX_INSTRUCTIONS: usize = UNTOUCHED as usize - 1;

/// A unit, ready to be counted.
#[derive(Debug)]
pub struct Unit {
    /// Its number.
    pub id: UnitId,
    /// Guest address of its first instruction.
    pub pc: u64,
    /// The part of its first basic block before it.
    prefix: Option<Prefix>,
    /// Which instructions begin a basic block; the first is left out.
    starts: Box<[u16]>,
    /// Its basic block ends with it.
    pub ends_block: bool,
    /// Bytes of its rows; 0 if it has none.
    pub row_bytes: usize,
    /// Its instructions.
    pub instructions: Box<[UnitInstruction]>,
    /// The sources of all operand values, one after the other.
    pub runs: Box<[Run]>,
    /// Its effect on the lifetimes of each group of 16 registers.
    pub effects: [Option<Box<Effect>>; GROUPS],
    /// Live points within each execution, by register.
    pub points: Box<[(u8, u32)]>,
    /// Its memory accesses.
    pub accesses: Accesses,
}

/// An instruction of a unit.
#[derive(Debug)]
pub struct UnitInstruction {
    /// Address and bytes.
    pub key: InstructionKey,
    /// Facts.
    pub shape: Arc<Shape>,
}

/// What [`super::kernels::Lane::live`] wants to know about 16 registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// First read of registers that are read first.
    pub first: [u8; 16],
    /// Last read or kill.
    pub last: [u8; 16],
}

impl Effect {
    /// No register is touched.
    pub const NONE: Effect = Effect {
        first: [UNTOUCHED; 16],
        last: [UNTOUCHED; 16],
    };
}

impl Unit {
    /// Checks a template and computes what follows from it.
    pub fn new(template: UnitTemplate, shapes: &mut Shapes) -> Result<Self, CollectError> {
        let id = template.id;
        check(&template).map_err(|what| CollectError::Unit { unit: id, what })?;
        let instructions: Box<[UnitInstruction]> = template
            .instructions
            .iter()
            .map(|instruction| UnitInstruction {
                key: InstructionKey {
                    pc: instruction.pc,
                    bytes: InstructionBytes::new(&instruction.bytes),
                },
                shape: shapes.of(&instruction.bytes),
            })
            .collect();
        if template.row_bytes != 0 {
            for (planned, given) in instructions.iter().zip(&template.instructions) {
                check_values(&planned.shape, &given.values)
                    .map_err(|what| CollectError::Unit { unit: id, what })?;
            }
        }
        let runs = template
            .instructions
            .iter()
            .flat_map(|i| &i.values)
            .flatten();
        let (effects, points) = lifetimes(&instructions);
        Ok(Unit {
            id,
            pc: template.pc,
            prefix: template.prefix,
            starts: template.starts.into(),
            ends_block: template.ends_block,
            row_bytes: template.row_bytes as usize,
            runs: runs.copied().collect(),
            effects,
            points,
            accesses: Accesses::new(&template.memory),
            instructions,
        })
    }

    /// The number of its instructions.
    pub fn length(&self) -> u32 {
        self.instructions.len() as u32
    }

    /// The basic blocks that the first `executed` of its instructions make up, when the last one has ended.
    pub fn blocks(&self, executed: u32) -> impl Iterator<Item = BlockKey> {
        let pc = |index: usize| self.instructions[index].key.pc;
        let cut = self.prefix.filter(|_| executed == 0);
        let before = cut.map(|prefix| (prefix.pc, prefix.instructions));
        blocks(self.prefix, &self.starts, executed, pc)
            .chain(before)
            .filter(|(_, instructions)| *instructions != 0)
            .map(|(pc, instructions)| BlockKey { pc, instructions })
    }

    /// The basic blocks that a complete execution ends.
    pub fn ended_blocks(&self) -> impl Iterator<Item = BlockKey> {
        let all = self.blocks(self.length()).count();
        let ended = if self.ends_block { all } else { all - 1 };
        self.blocks(self.length()).take(ended)
    }

    /// The values of each instruction and where their bits come from, in order.
    pub fn values(&self) -> Values<'_> {
        Values(if self.row_bytes == 0 { &[] } else { &self.runs })
    }
}

/// Walks through the values of a unit's instructions.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(&'a [Run]);

impl<'a> Values<'a> {
    /// The values of the next instruction, which has this shape; none if the unit writes no rows.
    pub fn next_of<'s>(
        &mut self,
        shape: &'s Shape,
    ) -> impl Iterator<Item = (&'s OperandValue, &'a [Run])> {
        shape.values.iter().map_while(|value| {
            let (runs, rest) = self
                .0
                .split_at(runs_of(self.0, usize::from(value.bytes) * 8));
            self.0 = rest;
            (!runs.is_empty()).then_some((value, runs))
        })
    }
}

/// How many of the first runs have so many bits together.
fn runs_of(runs: &[Run], bits: usize) -> usize {
    let mut sum = 0;
    runs.iter()
        .position(|run| {
            sum += usize::from(run.length);
            sum >= bits
        })
        .map_or(runs.len(), |last| last + 1)
}

fn check(template: &UnitTemplate) -> Result<(), &'static str> {
    let row = template.row_bytes as usize;
    let ensure = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    ensure(
        (1..UNIT_LIMIT).contains(&template.id),
        "its number is out of range",
    )?;
    ensure(
        row.is_multiple_of(ROW_ALIGN) && row <= ROW_LIMIT,
        "its row's length is impossible",
    )?;
    let length = template.instructions.len();
    ensure(
        (1..=MAX_INSTRUCTIONS).contains(&length),
        "its number of instructions is impossible",
    )?;
    for instruction in &template.instructions {
        let length = instruction.bytes.len();
        ensure(
            (1..=InstructionBytes::MAX).contains(&length),
            "an instruction's length is impossible",
        )?;
    }
    let ascending = template.starts.is_sorted_by(|a, b| a < b);
    let inner = template
        .starts
        .iter()
        .all(|&start| (1..length).contains(&start.into()));
    ensure(ascending && inner, "its basic blocks begin outside of it")?;
    for access in &template.memory {
        let (before, after) = access.repeat.unzip();
        for slot in [access.base, access.index, before, after]
            .into_iter()
            .flatten()
        {
            ensure(slot_is_in(slot, row), "a slot lies outside of the row")?;
        }
        ensure(
            usize::from(access.instruction) < length,
            "an access belongs to no instruction",
        )?;
    }
    let runs = template
        .instructions
        .iter()
        .flat_map(|i| i.values.iter().flatten());
    for run in runs {
        ensure(
            run.length != 0 && last_bit(run) < row * 8,
            "a value lies outside of the row",
        )?;
    }
    Ok(())
}

fn slot_is_in(slot: Slot, row: usize) -> bool {
    let size = usize::from(slot.bytes);
    matches!(size, 1 | 2 | 4 | 8) && usize::from(slot.offset) + size <= row
}

fn last_bit(run: &Run) -> usize {
    match run.source {
        Bits::Zeros | Bits::Ones => 0,
        Bits::Row(first) | Bits::NotRow(first) => first as usize + usize::from(run.length) - 1,
        Bits::Repeat(bit) | Bits::NotRepeat(bit) => bit as usize,
    }
}

fn check_values(shape: &Shape, values: &[Vec<Run>]) -> Result<(), &'static str> {
    let fits = |(value, runs): (&OperandValue, &Vec<Run>)| {
        let bits: usize = runs.iter().map(|run| usize::from(run.length)).sum();
        bits == usize::from(value.bytes) * 8
    };
    let all = values.len() == shape.values.len() && shape.values.iter().zip(values).all(fits);
    if all {
        Ok(())
    } else {
        Err("an instruction's values are not those of its operands")
    }
}

type Lifetimes = ([Option<Box<Effect>>; GROUPS], Box<[(u8, u32)]>);

fn lifetimes(instructions: &[UnitInstruction]) -> Lifetimes {
    let mut effects = [Effect::NONE; GROUPS];
    let mut points = [0u32; Reg::COUNT];
    for (now, instruction) in instructions.iter().enumerate() {
        let now = now as u8;
        let Shape { reads, kills, .. } = *instruction.shape;
        for register in members(reads | kills) {
            let Effect { first, last } = &mut effects[register / 16];
            let (first, last) = (&mut first[register % 16], &mut last[register % 16]);
            if reads >> register & 1 != 0 {
                match *last {
                    UNTOUCHED => *first = now,
                    since => points[register] += u32::from(now - since),
                }
            }
            *last = now;
        }
    }
    let points = (0u8..).zip(points).filter(|(_, points)| *points != 0);
    let effects = effects.map(|effect| (effect != Effect::NONE).then(|| Box::new(effect)));
    (effects, points.collect())
}
