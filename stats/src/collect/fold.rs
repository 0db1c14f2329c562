//! From counters to the result.

use super::kernels::UNTOUCHED;
use super::scan::Tally;
use super::shape::{Shape, members};
use super::steps::Steps;
use super::unit::{Unit, Values};
use super::worker::Worker;
use crate::model::{HistogramKind, InstructionStatistics, Level, OperandStatistics, Statistics};
use crate::register::Reg;
use crate::template::{Bits, Run};

const _: () = assert!(Reg::COUNT <= UNTOUCHED as usize);

/// Reads, writes and live points by register.
#[derive(Clone, Debug)]
pub struct RegisterTotals {
    reads: [u64; Reg::COUNT],
    writes: [u64; Reg::COUNT],
    /// Live points.
    pub points: [u64; Reg::COUNT],
}

impl Default for RegisterTotals {
    fn default() -> Self {
        RegisterTotals {
            reads: [0; Reg::COUNT],
            writes: [0; Reg::COUNT],
            points: [0; Reg::COUNT],
        }
    }
}

impl RegisterTotals {
    fn add(&mut self, shape: &Shape, executions: u64) {
        for register in members(shape.reads) {
            self.reads[register] += executions;
        }
        for register in members(shape.writes) {
            self.writes[register] += executions;
        }
    }

    /// Puts the totals of registers that were used into the result.
    pub fn store(&self, statistics: &mut Statistics, with_points: bool) {
        for register in Reg::all() {
            let i = register.index();
            if self.reads[i] + self.writes[i] != 0 {
                let entry = statistics.registers.entry(register).or_default();
                entry.reads += self.reads[i];
                entry.writes += self.writes[i];
                entry.live_points += if with_points { self.points[i] } else { 0 };
            }
        }
    }
}

/// Adds all that a worker has counted.
pub fn fold_worker(mut worker: Worker, statistics: &mut Statistics, totals: &mut RegisterTotals) {
    let (tallies, mut pages) = worker.counts.take();
    let executed = tallies.iter().filter(|tally| tally.executions() != 0);
    let instructions = executed.map(|tally| tally.unit.instructions.len()).sum();
    statistics.instructions.reserve(instructions);
    for tally in &tallies {
        fold_tally(tally, statistics, totals);
    }
    // The process ends soon; taking units apart, one by one, would only make the user wait.
    std::mem::forget(tallies);
    let mut other = worker.histograms.take();
    other.level = statistics.level;
    other.pages = pages.take();
    fold_steps(worker.steps, &mut other, totals);
    statistics.merge(other);
}

/// Block lengths follow from the blocks.
pub fn block_lengths(statistics: &mut Statistics) {
    let lengths: Vec<_> = statistics
        .blocks
        .iter()
        .map(|(block, n)| (block.instructions, *n))
        .collect();
    for (length, executions) in lengths {
        statistics.record(HistogramKind::BlockLength, length.into(), executions);
    }
}

fn fold_steps(steps: Steps, statistics: &mut Statistics, totals: &mut RegisterTotals) {
    for (key, stepped) in steps.instructions {
        totals.add(&stepped.shape, stepped.statistics.executions);
        statistics.instructions.insert(key, stepped.statistics);
    }
    statistics.blocks = steps.blocks;
    statistics.syscalls = steps.syscalls;
}

fn fold_tally(tally: &Tally, statistics: &mut Statistics, totals: &mut RegisterTotals) {
    let executions = tally.executions();
    if executions == 0 {
        return;
    }
    let unit: &Unit = &tally.unit;
    let with_values = statistics.level == Level::Full;
    let ones = if with_values {
        tally.planes.ones()
    } else {
        Vec::new()
    };
    let mut values = unit.values();
    for instruction in &unit.instructions {
        totals.add(&instruction.shape, executions);
        let entry = statistics.instructions.entry(instruction.key).or_default();
        entry.executions += executions;
        if with_values {
            let rows = tally.planes.rows();
            fold_values(entry, &instruction.shape, &mut values, rows, &ones);
        }
    }
    for (register, points) in &unit.points {
        totals.points[usize::from(*register)] += executions * u64::from(*points);
    }
    for block in unit.ended_blocks() {
        *statistics.blocks.entry(block).or_default() += executions;
    }
}

fn fold_values(
    entry: &mut InstructionStatistics,
    shape: &Shape,
    values: &mut Values<'_>,
    rows: u64,
    ones: &[u64],
) {
    if entry.operands.is_empty() {
        entry.operands.reserve_exact(shape.values.len());
    }
    for (value, runs) in values.next_of(shape) {
        let operand = entry.operand_mut(value.operand, value.access, u16::from(value.bytes) * 8);
        add_runs(operand, runs, rows, ones);
    }
}

fn add_runs(operand: &mut OperandStatistics, runs: &[Run], rows: u64, ones: &[u64]) {
    let bits = runs.iter().flat_map(|run| {
        (0..usize::from(run.length)).map(move |i| match run.source {
            Bits::Zeros => 0,
            Bits::Ones => rows,
            Bits::Row(first) => ones[first as usize + i],
            Bits::NotRow(first) => rows - ones[first as usize + i],
            Bits::Repeat(one) => ones[one as usize],
            Bits::NotRepeat(one) => rows - ones[one as usize],
        })
    });
    operand.add(rows, bits);
}
