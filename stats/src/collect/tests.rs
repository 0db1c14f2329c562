//! Random units, rows and events, counted by the collector and by a model that does everything one by one.

mod naive;

use super::kernels::Isa;
use super::shape::Shapes;
use super::*;
use crate::model::{HistogramKind, PageStatistics};
use crate::protocol::{Step, StepMemory};
use crate::ring::consumer::READABLE_BEHIND;
use crate::ring::event::encode;
use crate::template::{Bits, MemoryAccess, Prefix, Run, Slot, UnitInstruction, row_header};
use crate::testing::Random;
use naive::Naive;

/// Instructions of all sorts.
const CODE: [&[u8]; 14] = [
    &[0x48, 0x01, 0xd8],                   // add rax,rbx
    &[0x89, 0xd1],                         // mov ecx,edx
    &[0xb0, 0x01],                         // mov al,1
    &[0x53],                               // push rbx
    &[0x4c, 0x8b, 0x7f, 0x08],             // mov r15,[rdi+8]
    &[0xd3, 0xe0],                         // shl eax,cl
    &[0x0f, 0x44, 0xc1],                   // cmove eax,ecx
    &[0xf3, 0xa4],                         // rep movsb
    &[0x0f, 0x28, 0xc1],                   // movaps xmm0,xmm1
    &[0xf3, 0x0f, 0x10, 0xe2],             // movss xmm4,xmm2
    &[0x62, 0xf1, 0x6d, 0x49, 0xfe, 0xd9], // vpaddd zmm3{k1},zmm2,zmm1
    &[0xd9, 0xc1],                         // fld st1
    &[0x75, 0x00],                         // jne
    &[0x0f, 0x05],                         // syscall
];

fn random_runs(random: &mut Random, bits: u32, row_bits: u32) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut rest = bits;
    while rest > 0 {
        let length = 1 + random.below(rest.min(row_bits - 32).into()) as u32;
        let first = 32 + random.below(u64::from(row_bits - 32 - length) + 1) as u32;
        let source = match random.below(6) {
            0 => Bits::Zeros,
            1 => Bits::Ones,
            2 => Bits::NotRow(first),
            3 => Bits::Repeat(first),
            4 => Bits::NotRepeat(first),
            _ => Bits::Row(first),
        };
        runs.push(Run {
            source,
            length: length as u16,
        });
        rest -= length;
    }
    runs
}

fn random_slot(random: &mut Random, row: u32) -> Option<Slot> {
    let bytes = [0, 1, 2, 4, 8, 8, 8, 8][random.below(8) as usize];
    let signed = random.below(2) == 0;
    let offset = random.below(u64::from(row - 8)) as u16;
    (bytes != 0).then_some(Slot {
        offset,
        bytes,
        signed,
    })
}

fn random_access(random: &mut Random, row: u32, instruction: u16) -> MemoryAccess {
    let count = |offset| Slot {
        offset,
        bytes: 1,
        signed: false,
    };
    MemoryAccess {
        instruction,
        read: random.below(3) != 0,
        write: random.below(3) == 0,
        bytes: [0, 1, 4, 8, 64, 8, 4, 6000][random.below(8) as usize],
        base: random_slot(random, row),
        index: random_slot(random, row),
        scale: 1 << random.below(4),
        constant: random.below(300).wrapping_sub(100),
        fs: random.below(3) == 0,
        // Of the header, which is not random: the unit's number times 4, and 0.
        repeat: (random.below(6) == 0).then(|| (count(1), count(3))),
    }
}

fn random_unit(random: &mut Random, shapes: &mut Shapes, id: u32, level: Level) -> UnitTemplate {
    let row = if level == Level::Full {
        8 * (2 + random.below(30) as u32)
    } else {
        0
    };
    let pc = 0x1000 + random.below(40);
    let length = 1 + random.below(12) as usize;
    let mut unit = UnitTemplate {
        id,
        pc,
        prefix: (random.below(4) == 0).then_some(Prefix {
            pc: 0x900,
            instructions: 2,
        }),
        ends_block: random.below(4) != 0,
        row_bytes: row,
        instructions: Vec::new(),
        starts: (1..length as u16)
            .filter(|_| random.below(4) == 0)
            .collect(),
        memory: Vec::new(),
    };
    for number in 0..length as u64 {
        let bytes = CODE[random.below(CODE.len() as u64) as usize];
        let mut values = Vec::new();
        if level == Level::Full {
            for value in &shapes.of(bytes).values {
                values.push(random_runs(random, u32::from(value.bytes) * 8, row * 8));
            }
            for _ in 0..random.below(3) {
                unit.memory.push(random_access(random, row, number as u16));
            }
        }
        let pc = pc + 4 * number;
        unit.instructions.push(UnitInstruction {
            pc,
            bytes: bytes.to_vec(),
            values,
        });
    }
    unit
}

fn random_row(random: &mut Random, unit: &UnitTemplate) -> Vec<u8> {
    let mut row = random.bytes(unit.row_bytes as usize);
    if !row.is_empty() {
        for (at, byte) in row.iter_mut().enumerate().skip(4) {
            // Many addresses near each other, a few far away.
            if at % 8 > 1 && random.below(20) != 0 {
                *byte = 0;
            }
        }
        row[..4].copy_from_slice(&row_header(unit.id, unit.row_bytes as usize).to_le_bytes());
    }
    row
}

fn random_event(
    random: &mut Random,
    shapes: &mut Shapes,
    units: &[UnitTemplate],
    level: Level,
) -> Event {
    match random.below(5) {
        0 => Event::FsBase(random.below(1 << 20)),
        1 => Event::Block(Prefix {
            pc: 0x50,
            instructions: random.below(3) as u32,
        }),
        2 => Event::Syscall {
            number: random.below(9),
            error: random.below(2) == 0,
        },
        3 => {
            let unit = &units[random.below(units.len() as u64) as usize];
            let executed = random.below(unit.instructions.len() as u64 + 1) as u32;
            let row = random_row(random, unit);
            Event::Partial {
                unit: unit.id,
                executed,
                row,
            }
        }
        _ => {
            let bytes = CODE[random.below(CODE.len() as u64) as usize].to_vec();
            let full = level == Level::Full;
            let values = if full {
                shapes.of(&bytes).value_bytes()
            } else {
                0
            };
            let access = StepMemory {
                address: random.below(9000),
                read: 24,
                written: 0,
                count: 3,
            };
            Event::Step(Box::new(Step {
                pc: 0x1000 + 4 * random.below(10),
                values: random.bytes(values),
                memory: if full { vec![access] } else { Vec::new() },
                bytes,
            }))
        }
    }
}

/// A chunk that was not published by anybody.
struct Bytes(Vec<u8>);

impl Source for Bytes {
    fn rows(&self) -> &[u8] {
        &self.0
    }

    fn done(self: Box<Self>) {}
}

/// One random run, in the collector with this instruction set and these who count, and in the model.
fn compare(seed: u64, isa: Isa, crew: Crew, level: Level) {
    let mut random = Random::new(seed);
    let mut shapes = Shapes::default();
    let mut collector = Collector::new(isa, crew);
    let mut naive = Naive::new(level);
    let units: Vec<_> = (1..1 + 1 + random.below(12) as u32)
        .map(|id| random_unit(&mut random, &mut shapes, id, level))
        .collect();
    collector.message(Message::Start { level }).unwrap();
    for unit in &units {
        collector
            .message(Message::Unit(Box::new(unit.clone())))
            .unwrap();
    }
    let mut fs = [0; 3];
    for _ in 0..1 + random.below(12) {
        let thread = random.below(3) as u32;
        let fs = &mut fs[thread as usize];
        if level == Level::Counts {
            let counts: Vec<_> = units
                .iter()
                .map(|unit| (unit.id, random.below(5)))
                .collect();
            for (id, executions) in &counts {
                (0..*executions).for_each(|_| naive.unit(thread, &units[*id as usize - 1], &[], 0));
            }
            collector
                .message(Message::Executions(thread, counts))
                .unwrap();
            let event = random_event(&mut random, &mut shapes, &units, level);
            naive.event(thread, &event, &units, fs);
            collector.message(Message::Event(thread, event)).unwrap();
            continue;
        }
        let start = *fs;
        let mut chunk = Vec::new();
        for _ in 0..random.below(300) {
            if random.below(40) == 0 {
                let event = random_event(&mut random, &mut shapes, &units, level);
                naive.event(thread, &event, &units, fs);
                chunk.extend(encode(&event).unwrap());
            } else {
                let favoured = 1 + random.below(units.len() as u64);
                let unit = &units[random.below(favoured) as usize];
                let row = random_row(&mut random, unit);
                naive.unit(thread, unit, &row, *fs);
                chunk.extend(row);
            }
        }
        let end = chunk.len();
        chunk.extend(random.bytes(READABLE_BEHIND));
        let source = Box::new(Bytes(chunk));
        let more = random.below(2) == 0;
        collector.chunk(thread, source, end, start, more).unwrap();
    }
    let (statistics, _) = collector.finish().unwrap();
    let expected = naive.finish();
    let context = format!("seed {seed}, {}, {crew:?}, {level:?}", isa.name());
    assert_eq!(statistics.threads, expected.threads, "{context}");
    assert_eq!(statistics.registers, expected.registers, "{context}");
    assert_eq!(statistics.blocks, expected.blocks, "{context}");
    assert_eq!(statistics.syscalls, expected.syscalls, "{context}");
    let touched = |page: &PageStatistics| *page != PageStatistics::default();
    assert!(statistics.pages.values().all(touched));
    assert_eq!(statistics.pages, expected.pages, "{context}");
    assert_eq!(
        statistics.instructions.len(),
        expected.instructions.len(),
        "{context}"
    );
    for (key, expected) in expected.instructions {
        let mut counted = statistics.instructions[&key].clone();
        counted.operands.sort_by_key(|o| (o.operand, o.access));
        assert_eq!(counted, expected, "{key:x?} {context}");
    }
    if level == Level::Full {
        let lengths = &statistics.histograms[&HistogramKind::BlockLength];
        assert_eq!(lengths.len(), statistics.blocks.values().sum::<u64>());
    }
}

#[test]
fn random_runs_are_counted_as_one_by_one() {
    for isa in Isa::all() {
        for seed in 0..8 {
            compare(seed, isa, Crew::Alone, Level::Full);
        }
        compare(99, isa, Crew::Alone, Level::Counts);
    }
}

#[test]
fn any_number_of_workers_counts_the_same() {
    let crews = [Crew::WithDeputy(0)]
        .into_iter()
        .chain((2..5).map(Crew::Workers));
    for crew in crews {
        for seed in 200..203 {
            compare(seed, Isa::detect(), crew, Level::Full);
        }
    }
}

#[test]
fn inconsistent_units_are_refused() {
    let mut random = Random::new(0);
    let mut shapes = Shapes::default();
    let good = random_unit(&mut random, &mut shapes, 5, Level::Full);
    let refused = |change: fn(&mut UnitTemplate)| {
        let mut unit = good.clone();
        change(&mut unit);
        Collector::default()
            .message(Message::Unit(Box::new(unit)))
            .is_err()
    };
    assert!(!refused(|_| ()));
    assert!(refused(|unit| unit.id = 0));
    assert!(refused(|unit| unit.row_bytes = 12));
    assert!(refused(|unit| unit.instructions.clear()));
    assert!(refused(|unit| unit.instructions[0].values.push(Vec::new())));
    assert!(refused(|unit| unit.instructions[0].bytes.clear()));
    assert!(refused(|unit| unit.starts = vec![200]));
    assert!(refused(|unit| {
        let far = Run {
            source: Bits::Row(1 << 20),
            length: 1,
        };
        unit.instructions[0].values = vec![vec![far]];
    }));
}

#[test]
fn damaged_rows_are_found() {
    for bytes in [[0; 8], [8, 0, 0, 0, 0, 0, 0, 0], [1, 4, 0, 0, 0, 0, 0, 0]] {
        let mut chunk = bytes.to_vec();
        chunk.resize(8 + READABLE_BEHIND, 0);
        let error = Collector::default()
            .chunk(3, Box::new(Bytes(chunk)), 8, 0, false)
            .unwrap_err();
        assert!(
            matches!(
                error,
                CollectError::Row {
                    thread: 3,
                    offset: 0
                }
            ),
            "{bytes:?}"
        );
    }
}

#[test]
fn events_that_contradict_the_facts_are_refused() {
    let step = |values| Step {
        pc: 1,
        bytes: CODE[0].to_vec(),
        values,
        memory: Vec::new(),
    };
    let error = |event| {
        Collector::default()
            .message(Message::Event(0, event))
            .is_err()
    };
    assert!(!error(Event::Step(Box::new(step(vec![0; 24])))));
    assert!(error(Event::Step(Box::new(step(vec![0; 23])))));
    assert!(error(Event::Partial {
        unit: 7,
        executed: 0,
        row: Vec::new()
    }));
}
