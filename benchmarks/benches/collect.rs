//! Counting rows: how fast the collector goes through chunks of a stream, by kind of code.
//!
//! `items` are guest instructions.

use std::sync::Arc;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fits_stats::collect::Collector;
use fits_stats::collect::pool::Source;
use fits_stats::facts::Facts;
use fits_stats::protocol::Message;
use fits_stats::template::{
    Bits, MemoryAccess, ROW_HEADER, Run, Slot, UnitInstruction, UnitTemplate, row_header,
};
use iced_x86::{Decoder, DecoderOptions, InstructionInfoFactory};

const CHUNK: usize = 1 << 20;
const BEHIND: usize = 128;

fn main() {
    divan::main();
}

/// Code of one kind: so many units, each of so many instructions, leaving rows of so many bytes.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    units: u32,
    instructions: usize,
    row_bytes: usize,
    /// Memory accesses, and how far apart the addresses of successive executions are.
    accesses: usize,
    stride: u64,
    vectors: bool,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "tight loop, 5 instructions, 32 bytes",
        units: 1,
        instructions: 5,
        row_bytes: 32,
        accesses: 1,
        stride: 8,
        vectors: false,
    },
    Kind {
        name: "recursion, 6 units of 8, 48 bytes",
        units: 6,
        instructions: 8,
        row_bytes: 48,
        accesses: 3,
        stride: 0,
        vectors: false,
    },
    Kind {
        name: "block cipher, 12 units of 14, 120 bytes",
        units: 12,
        instructions: 14,
        row_bytes: 120,
        accesses: 4,
        stride: 64,
        vectors: false,
    },
    Kind {
        name: "vectors, 4 units of 10, 200 bytes",
        units: 4,
        instructions: 10,
        row_bytes: 200,
        accesses: 2,
        stride: 64,
        vectors: true,
    },
    Kind {
        name: "interpreter, 1000 units of 8, 64 bytes",
        units: 1000,
        instructions: 8,
        row_bytes: 64,
        accesses: 3,
        stride: 4096,
        vectors: false,
    },
    Kind {
        name: "compiler, 20000 units of 7, 56 bytes",
        units: 20_000,
        instructions: 7,
        row_bytes: 56,
        accesses: 2,
        stride: 4096,
        vectors: false,
    },
];

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const SCALAR: [&[u8]; 6] = [
    &[0x48, 0x8b, 0x47, 0x08], // mov rax,[rdi+8]
    &[0x48, 0x01, 0xd8],       // add rax,rbx
    &[0x48, 0x89, 0x04, 0x24], // mov [rsp],rax
    &[0x48, 0x83, 0xc1, 0x01], // add rcx,1
    &[0x48, 0x39, 0xd1],       // cmp rcx,rdx
    &[0x75, 0xf0],             // jne
];
const VECTOR: [&[u8]; 3] = [
    &[0x66, 0x0f, 0xfe, 0xda], // paddd xmm3,xmm2
    &[0x0f, 0x57, 0xe3],       // xorps xmm4,xmm3
    &[0x48, 0x83, 0xc1, 0x01], // add rcx,1
];

fn unit(kind: Kind, id: u32) -> UnitTemplate {
    let mut factory = InstructionInfoFactory::new();
    let row_bits = kind.row_bytes as u32 * 8;
    let mut at = 64;
    let code = if kind.vectors {
        &VECTOR[..]
    } else {
        &SCALAR[..]
    };
    let instruction = |number: usize| {
        let pc = 0x40_0000 + u64::from(id) * 64 + number as u64 * 4;
        let bytes = code[(number + id as usize) % code.len()];
        let decoded = Decoder::with_ip(64, bytes, pc, DecoderOptions::NONE).decode();
        let facts = Facts::new(&decoded, &mut factory);
        let accesses = facts
            .operands
            .iter()
            .flat_map(|o| o.accesses().map(|_| o.bytes));
        let value = |bytes: u8| {
            let length = u16::from(bytes) * 8;
            if at + u32::from(length) > row_bits {
                at = 64;
            }
            let run = Run {
                source: Bits::Row(at),
                length,
            };
            at += 64;
            vec![run]
        };
        UnitInstruction {
            pc,
            bytes: bytes.to_vec(),
            values: accesses.map(value).collect(),
        }
    };
    let instructions = (0..kind.instructions).map(instruction).collect();
    let access = |number: usize| MemoryAccess {
        instruction: number as u16,
        read: true,
        write: false,
        bytes: 8,
        base: Some(Slot {
            offset: 8 + 8 * (number as u16 / 2),
            bytes: 8,
            signed: false,
        }),
        index: None,
        scale: 1,
        constant: 16 * number as u64,
        fs: false,
        repeat: None,
    };
    UnitTemplate {
        id,
        pc: 0x40_0000 + u64::from(id) * 64,
        prefix: None,
        ends_block: true,
        row_bytes: kind.row_bytes as u32,
        instructions,
        starts: Vec::new(),
        memory: (0..kind.accesses).map(access).collect(),
    }
}

fn chunk(kind: Kind, seed: u64) -> Vec<u8> {
    let mut rows = Vec::with_capacity(CHUNK + BEHIND);
    let mut state = seed;
    let mut number = 0u64;
    while rows.len() + kind.row_bytes <= CHUNK {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Loops go round their units in order, with some jumps; the rest of a program is more random.
        let step = if (state >> 33).is_multiple_of(8) {
            state >> 40
        } else {
            number
        };
        let id = 1 + (step % u64::from(kind.units)) as u32;
        let start = rows.len();
        rows.extend(row_header(id, kind.row_bytes).to_le_bytes());
        rows.resize(start + 2 * ROW_HEADER, 0);
        while rows.len() < start + kind.row_bytes {
            let address = 0x7fff_0000_0000 + (number * kind.stride) % (1 << 22);
            rows.extend(address.to_le_bytes());
        }
        number += 1;
    }
    rows
}

/// Rows that are counted again and again.
#[derive(Clone)]
struct Shared(Arc<Vec<u8>>);

impl Source for Shared {
    fn rows(&self) -> &[u8] {
        &self.0
    }

    fn done(self: Box<Self>) {}
}

#[divan::bench(args = KINDS)]
fn full(bencher: Bencher, kind: &Kind) {
    let mut collector = Collector::default();
    for id in 1..=kind.units {
        collector
            .message(Message::Unit(Box::new(unit(*kind, id))))
            .expect("a good unit");
    }
    let mut bytes = chunk(*kind, 1);
    let end = bytes.len();
    bytes.resize(end + BEHIND, 0);
    let shared = Shared(Arc::new(bytes));
    let mut count = || {
        let source = Box::new(shared.clone());
        collector
            .chunk(0, source, end, 0, false)
            .expect("good rows");
    };
    for _ in 0..8 {
        count();
    }
    let rows = end / kind.row_bytes;
    bencher
        .counter(BytesCount::new(end))
        .counter(ItemsCount::new(rows * kind.instructions))
        .bench_local(count);
}
