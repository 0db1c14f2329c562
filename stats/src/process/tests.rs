//! A whole run served on a thread, with one worker and with several.

use std::os::fd::AsFd;

use super::*;
use crate::model::RunInfo;
use crate::protocol::Level;
use crate::ring::producer::Producer;
use crate::ring::{CHUNKS, Layout};
use crate::template::{Bits, Run, UnitInstruction, UnitTemplate, row_header};

/// `mov rax,rbx`, whose row has the value behind the header.
fn unit() -> UnitTemplate {
    let value = vec![Run {
        source: Bits::Row(64),
        length: 64,
    }];
    UnitTemplate {
        id: 1,
        pc: 0x1000,
        prefix: None,
        ends_block: true,
        row_bytes: 16,
        instructions: vec![UnitInstruction {
            pc: 0x1000,
            bytes: vec![0x48, 0x89, 0xd8],
            values: vec![value.clone(), value],
        }],
        starts: Vec::new(),
        memory: Vec::new(),
    }
}

fn send(socket: &mut UnixStream, message: &Message) {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, message).unwrap();
    socket.write_all(&bytes).unwrap();
}

fn receive(socket: &mut UnixStream) -> Answer {
    let mut frames = FrameReader::default();
    let mut bytes = [0; 4096];
    loop {
        let count = socket.read(&mut bytes).unwrap();
        assert_ne!(count, 0, "closed without an answer");
        frames.push(&bytes[..count]);
        if let Some(answer) = frames.take().unwrap() {
            return answer;
        }
    }
}

fn run(crew: Crew, chunks: u64) {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("out");
    let layout = Layout {
        slots: 1,
        chunk_bytes: 8192,
    };
    let mut producer = Producer::create(layout).unwrap();
    let memory = producer.as_fd().try_clone_to_owned().unwrap();
    let (mut socket, theirs) = UnixStream::pair().unwrap();
    let server = std::thread::spawn(move || serve(theirs, memory, crew, None));
    send(&mut socket, &Message::Start { level: Level::Full });
    send(&mut socket, &Message::Unit(Box::new(unit())));
    producer.open(0, 0);
    let mut row = [0; 16];
    row[..4].copy_from_slice(&row_header(1, 16).to_le_bytes());
    row[8] = 1;
    let mut last = CHUNKS - 1;
    for _ in 0..chunks {
        let mut cursor = loop {
            match producer.free_chunk(0, last) {
                Some(cursor) => break cursor,
                None => std::thread::yield_now(),
            }
        };
        while producer.fits(cursor, row.len()) {
            cursor = producer.write(cursor, &row);
        }
        last = cursor.chunk;
        if producer.publish(cursor) {
            socket.write_all(&frame::NUDGE).unwrap();
        }
    }
    let finish = Finish {
        out: out.clone(),
        replace: false,
        info: RunInfo::default(),
    };
    send(&mut socket, &Message::Finish(Box::new(finish)));
    let answer = receive(&mut socket);
    assert!(matches!(answer, Answer::Written { .. }), "{answer:?}");
    server.join().unwrap().unwrap();
    let blocks = std::fs::read_to_string(out.join("blocks.csv")).unwrap();
    let executions = chunks * 8192 / 16;
    assert!(
        blocks.ends_with(&format!("0x1000,1,{executions}\n")),
        "{blocks}"
    );
}

#[test]
fn whoever_counts_serves_a_run() {
    for crew in [Crew::Alone, Crew::WithDeputy(0), Crew::Workers(3)] {
        run(crew, 50);
    }
}

#[test]
fn without_a_supervisor_it_ends_quietly() {
    let producer = Producer::create(Layout::default()).unwrap();
    let memory = producer.as_fd().try_clone_to_owned().unwrap();
    let (socket, theirs) = UnixStream::pair().unwrap();
    drop(socket);
    serve(theirs, memory, Crew::Alone, None).unwrap();
}

#[test]
fn what_is_said_of_cpus_is_understood() {
    for of_program in [None, Some(3)] {
        for others in [vec![], vec![0], vec![1, 2]] {
            let cpus = Cpus { of_program, others };
            let arguments: Vec<OsString> = cpus.arguments().map(OsString::from).collect();
            assert_eq!(Cpus::from_arguments(&arguments), Some(cpus));
        }
    }
    for wrong in [&[][..], &["serve"], &["other", "any"], &["serve", "-1"]] {
        let arguments: Vec<OsString> = wrong.iter().map(OsString::from).collect();
        assert_eq!(Cpus::from_arguments(&arguments), None);
    }
}
