//! A restored checkpoint is the state that the program has natively at that moment: registers, vector state, mappings and all memory that can be
//! read. The witness is the ptrace engine, which comes there by itself.

use std::fs::{self, File};
use std::io::Seek;
use std::path::Path;

use fits_dbt::runtime::TranslatorEngine;
use fits_tracer::engine::{Engine, EngineOptions, Found, Landmark, Limits, Moment, Reached};
use fits_tracer::live::checkpoint::{Checkpoint, Surroundings};
use fits_tracer::live::numbers::FileNumbers;
use fits_tracer::live::{Live, PtraceEngine};
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    }
}

/// A program that writes nothing but its standard output.
fn command(words: &[&str], folder: &Path) -> Command {
    let streams = [
        File::open(folder.join("text")).unwrap(),
        File::create(folder.join("out")).unwrap(),
        File::create(folder.join("err")).unwrap(),
    ];
    let mut command = Command::new(words[0]).args(&words[1..]).directory(folder);
    for (number, file) in streams.iter().enumerate() {
        let copy = file.try_clone().unwrap();
        command = command.stdio(number, Stdio::File(copy.into()));
    }
    // Each run finds them as they were: they share their position with the program's.
    command.before_each_launch(move || {
        for mut file in &streams {
            file.rewind()?;
        }
        streams[1].set_len(0)?;
        streams[2].set_len(0)
    })
}

/// All that a program can see of itself. Memory that can't be read is an empty range.
struct State {
    registers: String,
    vectors: Vec<u8>,
    mappings: Vec<(u64, u64, String)>,
    memory: Vec<(u64, Vec<u8>)>,
}

impl State {
    fn of(live: &Live) -> Self {
        let mut mappings: Vec<(u64, u64, String)> = Vec::new();
        for one in live.mappings().unwrap() {
            let path = if one.path == "[heap]" { "" } else { &one.path };
            let offset = if path.starts_with('/') {
                one.start - one.offset
            } else {
                0
            };
            let kind = format!(
                "{} {} {} {} {path} {offset:#x}",
                one.read, one.write, one.execute, one.shared
            );
            match mappings.last_mut() {
                Some(last) if last.1 == one.start && last.2 == kind => last.1 = one.end,
                _ => mappings.push((one.start, one.end, kind)),
            }
        }
        let ordinary = |one: &&(u64, u64, String)| !one.2.contains("[v");
        let memory = mappings.iter().filter(ordinary).map(|one| {
            let mut bytes = vec![0; (one.1 - one.0) as usize];
            let read = live.memory().read(one.0, &mut bytes);
            (one.0, if read.is_ok() { bytes } else { Vec::new() })
        });
        let memory = memory.collect();
        let mut vectors = live.xstate().unwrap().bytes().to_vec();
        // Which components are in their initial state is the processor's business.
        vectors[512..520].fill(0);
        Self {
            registers: format!("{:x?}", live.registers().unwrap()),
            vectors,
            mappings,
            memory,
        }
    }

    /// `other` and `again` are two runs of the witness: words in which they differ are not compared, nor are times of files.
    fn assert_is(&self, other: &Self, again: &Self, when: &str) {
        assert_eq!(self.registers, other.registers, "{when}");
        assert!(self.vectors == other.vectors, "{when}: vector registers");
        assert_eq!(self.mappings, other.mappings, "{when}");
        let mut left_out = 0;
        for (number, (start, bytes)) in self.memory.iter().enumerate() {
            let (others, again) = (&other.memory[number].1, &again.memory[number].1);
            assert_eq!(bytes.len(), others.len(), "{when}: memory at {start:#x}");
            let words = bytes.chunks(8).zip(others.chunks(8)).zip(again.chunks(8));
            for (number, ((word, other), again)) in words.enumerate() {
                let varies = other != again || is_time(word) && is_time(other);
                left_out += usize::from(varies);
                let place = start + 8 * number as u64;
                assert!(
                    word == other || varies,
                    "{when}: memory at {place:#x} holds {word:x?}, not {other:x?}"
                );
            }
        }
        assert!(
            left_out < 20,
            "{when}: {left_out} words differ from run to run"
        );
    }
}

/// Whether a word holds seconds since 1970 of about now.
fn is_time(word: &[u8]) -> bool {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let word = word.try_into().map_or(0, u64::from_le_bytes);
    now.abs_diff(word) < 600
}

fn at(reached: Reached) -> Live {
    match reached {
        Reached::At(live) => *live,
        Reached::Ended(end) => panic!("it ended before: {end:?}"),
    }
}

/// Checkpoints at parts of the run, each restored and compared with a process that came there by itself.
fn compare(words: &[&str], folder: &Path, witness: &mut dyn Engine) {
    let command = command(words, folder);
    let mut dbt = TranslatorEngine;
    let length = dbt.count(&command, &options()).unwrap().instructions[0];
    let moments: Vec<u64> = [3, 20, 47, 71, 90, 99]
        .map(|part| length * part / 100)
        .to_vec();
    let mut taken: Vec<(Moment, Checkpoint)> = Vec::new();
    dbt.walk(&command, &options(), &moments, &mut |moment, standing| {
        let checkpoint = standing
            .capture()?
            .unwrap_or_else(|refused| panic!("{refused:?}"));
        taken.push((moment, checkpoint));
        Ok(true)
    })
    .unwrap();
    assert_eq!(taken.len(), moments.len(), "{words:?}: {moments:?}");
    let landmarks: Vec<_> = taken.iter().map(|one| Landmark::Index(one.0)).collect();
    let found = dbt.locate(&command, &options(), &landmarks).unwrap();
    for ((moment, checkpoint), found) in taken.iter().zip(found) {
        let found: Found = found.unwrap();
        assert_eq!(checkpoint.pc(), found.pc);
        let mut surroundings: Surroundings = Box::new(|| Ok(FileNumbers::default()));
        let restored = checkpoint
            .restore(&command, &options(), &mut surroundings)
            .unwrap();
        let mut restored = restored.unwrap();
        let here = State::of(&restored);
        let end = restored.finish(&Limits::default()).unwrap();
        let [native, again] = [(); 2].map(|()| {
            let live = at(witness.reach_found(&command, &options(), &found).unwrap());
            State::of(&live)
        });
        let when = format!("{words:?} at {}", moment.index);
        here.assert_is(&native, &again, &when);
        assert_eq!(
            end.how,
            fits_tracer::engine::HowEnded::Ended(fits_tracer::backend::Ended::Exited(0)),
            "{when}"
        );
    }
}

/// One test: two programs at the same time would not have the same process number.
#[test]
fn a_restored_program_is_in_its_native_state() {
    let folder = tempfile::tempdir().unwrap();
    let line = |n: u32| format!("{} line {n}\n", n.wrapping_mul(2_654_435_761) % 9973);
    let text: String = (0..400).map(line).collect();
    fs::write(folder.path().join("text"), text).unwrap();
    let mut breakpoints = PtraceEngine { single_step: false };
    compare(&["gzip", "-9"], folder.path(), &mut breakpoints);
    // (Programs that keep the time of day are in another state each second.)
    compare(
        &["sed", "s/line/row/; 3d; $!N; P; D"],
        folder.path(),
        &mut breakpoints,
    );
    compare(&["sha256sum", "text"], folder.path(), &mut breakpoints);
}
