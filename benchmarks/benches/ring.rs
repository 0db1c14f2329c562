//! From one core to the other: a producer fills chunks with rows, the collector counts them, by size of the chunks.
//!
//! `items` are rows; what is measured is the time until the last row is counted.

use std::os::fd::AsFd;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use fits_stats::collect::Collector;
use fits_stats::collect::pool::Source;
use fits_stats::protocol::Message;
use fits_stats::ring::consumer::{Chunk, Consumer};
use fits_stats::ring::producer::Producer;
use fits_stats::ring::{CHUNKS, Layout};
use fits_stats::template::{Bits, Run, UnitInstruction, UnitTemplate, row_header};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const TOTAL: usize = 256 << 20;
const UNITS: u32 = 8;
const ROW: usize = 96;

fn main() {
    divan::main();
}

/// Puts the thread on a CPU; where there is no such CPU, it stays where it is.
fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    if set.set(cpu).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

/// `mov rax,rbx` eleven times, each leaving 8 bytes.
fn unit(id: u32) -> UnitTemplate {
    let instruction = |number: u32| {
        let value = vec![Run {
            source: Bits::Row(64 + 64 * number),
            length: 64,
        }];
        UnitInstruction {
            pc: u64::from(id * 64 + number * 3),
            bytes: vec![0x48, 0x89, 0xd8],
            values: vec![value.clone(), value],
        }
    };
    UnitTemplate {
        id,
        pc: u64::from(id * 64),
        prefix: None,
        ends_block: true,
        row_bytes: ROW as u32,
        instructions: (0..11).map(instruction).collect(),
        starts: Vec::new(),
        memory: Vec::new(),
    }
}

fn produce(mut producer: Producer) {
    pin(0);
    producer.open(0, 0);
    let mut rows = vec![0x5a; ROW * UNITS as usize];
    for (id, row) in (1..).zip(rows.chunks_exact_mut(ROW)) {
        row[..4].copy_from_slice(&row_header(id, ROW).to_le_bytes());
    }
    let mut last = CHUNKS - 1;
    let mut sent = 0;
    while sent < TOTAL {
        let mut cursor = loop {
            match producer.free_chunk(0, last) {
                Some(cursor) => break cursor,
                None => std::thread::yield_now(),
            }
        };
        while producer.fits(cursor, rows.len()) {
            cursor = producer.write(cursor, &rows);
        }
        sent += cursor.at as usize;
        last = cursor.chunk;
        producer.publish(cursor);
    }
}

/// A chunk that goes back when it is counted.
struct Published(Chunk);

impl Source for Published {
    fn rows(&self) -> &[u8] {
        self.0.rows()
    }

    fn done(self: Box<Self>) {
        self.0.hand_back();
    }
}

fn consume(mut consumer: Consumer, count: bool) {
    pin(1);
    let mut collector = Collector::default();
    for id in 1..=UNITS {
        collector
            .message(Message::Unit(Box::new(unit(id))))
            .expect("a good unit");
    }
    let mut counted = 0;
    while counted < TOTAL {
        let Some(chunk) = consumer.take().expect("a good ring") else {
            std::thread::yield_now();
            continue;
        };
        counted += chunk.used();
        let used = chunk.used();
        let source = Box::new(Published(chunk));
        match count {
            true => collector
                .chunk(0, source, used, 0, false)
                .expect("good rows"),
            false => source.done(),
        }
    }
}

fn run(chunk_bytes: u32, count: bool) {
    let producer = Producer::create(Layout {
        slots: 1,
        chunk_bytes,
    })
    .expect("a ring");
    let memory = producer.as_fd().try_clone_to_owned().expect("a descriptor");
    let consumer = Consumer::open(memory).expect("the same ring");
    std::thread::scope(|scope| {
        scope.spawn(|| produce(producer));
        scope.spawn(|| consume(consumer, count));
    });
}

const SIZES: [u32; 5] = [64 << 10, 128 << 10, 256 << 10, 1 << 20, 2 << 20];

#[divan::bench(args = SIZES, sample_count = 5)]
fn counted(bencher: Bencher, chunk_bytes: u32) {
    bencher
        .counter(BytesCount::new(TOTAL))
        .counter(ItemsCount::new(TOTAL / ROW))
        .bench_local(|| run(chunk_bytes, true));
}

#[divan::bench(args = SIZES, sample_count = 5)]
fn dropped(bencher: Bencher, chunk_bytes: u32) {
    bencher
        .counter(BytesCount::new(TOTAL))
        .counter(ItemsCount::new(TOTAL / ROW))
        .bench_local(|| run(chunk_bytes, false));
}
