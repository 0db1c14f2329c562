//! Tests of the streams: layout, rows of events, and the two ends together.

use std::sync::atomic::{AtomicBool, Ordering};

use super::consumer::Consumer;
use super::event::{Inline, decode, encode, encode_long};
use super::producer::Producer;
use super::{CHUNKS, Cursor, HOLE, Layout};
use crate::protocol::{Event, Step};
use crate::template::ROW_LIMIT;
use std::os::fd::AsFd;

const SMALL: Layout = Layout {
    slots: 3,
    chunk_bytes: 8192,
};

fn step(values: usize) -> Event {
    Event::Step(Box::new(Step {
        pc: 0x1234,
        bytes: vec![0x90],
        values: vec![7; values],
        memory: Vec::new(),
    }))
}

#[test]
fn offsets_and_cursors_are_each_others_inverse() {
    for slot in 0..SMALL.slots {
        for chunk in 0..CHUNKS {
            for at in [0, 8, SMALL.chunk_bytes] {
                let cursor = Cursor { slot, chunk, at };
                assert_eq!(SMALL.cursor(SMALL.offset(cursor)), Some(cursor));
            }
            let hole = SMALL.chunk_offset(slot, chunk) + u64::from(SMALL.chunk_bytes) + 8;
            assert_eq!(SMALL.cursor(hole), None);
            assert!(SMALL.chunk_offset(slot, chunk).is_multiple_of(4096));
        }
    }
    assert_eq!(SMALL.cursor(0), None);
    assert_eq!(SMALL.cursor(SMALL.total_bytes()), None);
    assert!(HOLE as usize > ROW_LIMIT);
}

#[test]
fn events_survive_being_rows() {
    for values in [0, 1, 64, 1000] {
        let event = step(values);
        let row = encode(&event).unwrap();
        assert!(row.len().is_multiple_of(8));
        assert_eq!(decode(&row), Some(Inline::Event(event)));
    }
    assert_eq!(encode(&step(ROW_LIMIT)), None, "too long for a row");
    assert_eq!(decode(&encode_long(77)), Some(Inline::Long(77)));
    assert_eq!(decode(&[0; 4]), None);
    assert_eq!(decode(&[0, 0, 0, 0, 255, 0, 0, 0]), None);
}

#[test]
fn a_full_slot_has_no_chunk_until_one_is_handed_back() {
    let mut producer = Producer::create(SMALL).unwrap();
    let mut consumer = Consumer::open(producer.as_fd().try_clone_to_owned().unwrap()).unwrap();
    producer.open(1, 42);
    let mut cursor = producer.free_chunk(1, CHUNKS - 1).unwrap();
    for round in 0..CHUNKS {
        assert_eq!(cursor.chunk, round);
        let end = producer.write(cursor, &[round as u8; 16]);
        producer.publish(end);
        match producer.free_chunk(1, end.chunk) {
            Some(next) => cursor = next,
            None => assert_eq!(round, CHUNKS - 1),
        }
    }
    assert!(producer.free_chunk(1, CHUNKS - 1).is_none());
    let chunk = consumer.take().unwrap().unwrap();
    assert_eq!(chunk.thread(), 42);
    assert_eq!(chunk.rows()[..16], [0; 16]);
    assert!(!chunk.hand_back(), "the producer does not sleep");
    assert!(producer.free_chunk(1, CHUNKS - 1).is_some());
    assert_eq!(consumer.published(), u64::from(CHUNKS));
}

#[test]
fn memory_that_is_no_ring_is_refused() {
    let memory = super::shm::SharedMemory::create(1 << 16).unwrap();
    assert!(Consumer::open(memory.as_fd().try_clone_to_owned().unwrap()).is_err());
    let wrong = Layout { slots: 0, ..SMALL };
    assert!(Producer::create(wrong).is_err());
}

/// Two slots, many chunks, a consumer on another thread: everything arrives once, in order, unchanged.
#[test]
fn nothing_is_lost_or_reordered_between_two_threads() {
    const ROUNDS: u64 = 20_000;
    let mut producer = Producer::create(SMALL).unwrap();
    let mut consumer = Consumer::open(producer.as_fd().try_clone_to_owned().unwrap()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut next = [0u64; 2];
            loop {
                let finished = done.load(Ordering::SeqCst);
                while let Some(chunk) = consumer.take().unwrap() {
                    let thread = chunk.thread() as usize;
                    for number in chunk.rows()[..24].chunks_exact(8) {
                        let number = u64::from_le_bytes(number.try_into().unwrap());
                        assert_eq!(number, next[thread]);
                        next[thread] += 1;
                    }
                    chunk.hand_back();
                }
                if finished {
                    return next;
                }
            }
        });
        for slot in 0..2 {
            producer.open(slot, slot);
        }
        let mut last = [CHUNKS - 1; 2];
        let mut numbers = [0u64; 2];
        for round in 0..ROUNDS {
            let slot = (round % 3 / 2) as u32;
            let mut cursor = loop {
                match producer.free_chunk(slot, last[slot as usize]) {
                    Some(cursor) => break cursor,
                    None => std::thread::yield_now(),
                }
            };
            for _ in 0..3 {
                cursor = producer.write(cursor, &numbers[slot as usize].to_le_bytes());
                numbers[slot as usize] += 1;
            }
            producer.publish(cursor);
            last[slot as usize] = cursor.chunk;
        }
        done.store(true, Ordering::SeqCst);
        assert_eq!(reader.join().unwrap(), numbers);
    });
}
