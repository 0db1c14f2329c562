//! Merging is exact, keys keep apart what they must.

use super::*;

fn sample(pc: u64, value: u8) -> Statistics {
    let mut statistics = Statistics::new(Level::Full);
    let entry = statistics.instruction_mut(pc, &[0x90]);
    entry.executions += 1;
    entry.operand_mut(0, Access::Read, 8).add_value(&[value]);
    statistics.add_block(pc, 3, 2);
    statistics.add_syscall(1, value == 0xff);
    statistics.record(HistogramKind::BlockLength, 3, 2);
    *statistics
        .threads
        .entry(ThreadKey {
            process: 0,
            thread: 0,
        })
        .or_default() += 6;
    statistics.pages.entry(0x1000).or_default().reads += 1;
    statistics
}

#[test]
fn merge_sums_everything() {
    let mut all = sample(0x10, 0b0101);
    all.merge(sample(0x10, 0b0001));
    all.merge(sample(0x20, 0xff));
    let first = &all.instructions[&InstructionKey {
        pc: 0x10,
        bytes: InstructionBytes::new(&[0x90]),
    }];
    assert_eq!(first.executions, 2);
    assert!(first.operands[0].ones.iter().take(4).eq([2, 0, 1, 0]));
    assert_eq!(first.operands[0].zeros(2), 1);
    assert_eq!(all.instructions.len(), 2);
    assert_eq!(
        all.blocks[&BlockKey {
            pc: 0x10,
            instructions: 3
        }],
        4
    );
    assert_eq!(
        all.syscalls[&1],
        SyscallStatistics {
            calls: 3,
            errors: 1
        }
    );
    assert_eq!(all.histograms[&HistogramKind::BlockLength].count_at(3), 6);
    assert_eq!(all.total_instructions(), 18);
    assert_eq!(all.pages[&0x1000].reads, 3);
}

#[test]
fn other_bytes_at_an_address_are_another_instruction() {
    let mut statistics = Statistics::new(Level::Counts);
    statistics.instruction_mut(0x10, &[0x90]).executions += 1;
    statistics.instruction_mut(0x10, &[0x90, 0x90]).executions += 1;
    assert_eq!(statistics.instructions.len(), 2);
}

#[test]
fn a_value_counts_for_every_bit_of_its_width() {
    let mut operand = OperandStatistics::new(0, Access::Written, 12);
    operand.add_value(&[0x01, 0xff]);
    assert_eq!(operand.width(), 12);
    assert_eq!(operand.ones.get(0), 1);
    assert_eq!(operand.ones.get(11), 1);
    assert_eq!(operand.zeros(1), 1);
}

#[test]
fn distributions_take_values_of_any_size() {
    let mut statistics = Statistics::new(Level::Full);
    let mut other = Statistics::new(Level::Full);
    for value in [0, 5_000, u64::MAX] {
        statistics.record(HistogramKind::RegisterLifetime, value, 1);
        other.record(HistogramKind::RegisterLifetime, value, 1);
    }
    statistics.merge(other);
    let histogram = &statistics.histograms[&HistogramKind::RegisterLifetime];
    assert_eq!(histogram.len(), 6);
    assert_eq!(histogram.count_at(5_000), 2);
    assert_eq!(histogram.max(), u64::MAX);
}
