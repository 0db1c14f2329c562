//! The translator as an engine: it counts what a golden run counts, and finds the same moments by different names.

use std::path::{Path, PathBuf};
use std::process::Command as Build;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fits_dbt::runtime::TranslatorEngine;
use fits_tracer::backend::Ended;
use fits_tracer::engine::{
    Engine, EngineOptions, Found, HowEnded, Landmark, Limits, Moment, Reached,
};
use fits_tracer::live::{Live, Stepped};
use fits_tracer::process::{Command, CpuPlan, Environment, Mapping, Stdio};

fn options() -> EngineOptions {
    EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits::default(),
    }
}

/// The program with a fixed environment and nothing of its output on ours.
fn command(program: impl AsRef<Path>, arguments: &[&str]) -> Command {
    let null = |write: bool| {
        let file = std::fs::OpenOptions::new()
            .read(!write)
            .write(write)
            .open("/dev/null");
        Stdio::File(file.expect("/dev/null opens").into())
    };
    Command::new(program.as_ref())
        .args(arguments)
        .environment(vec![("PATH".into(), "/usr/bin:/bin".into())])
        .stdio(0, null(false))
        .stdio(1, null(true))
}

/// Two programs at a time can't have the same process number.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index(index: u64) -> Landmark {
    Landmark::Index(Moment { thread: 0, index })
}

fn arrival(found: &Found) -> Landmark {
    Landmark::Arrival {
        thread: found.moment.thread,
        address: found.pc,
        count: found.arrivals,
    }
}

#[test]
fn arrivals_and_indices_name_the_same_moments() {
    let _alone = alone();
    let gzip = command("/usr/bin/gzip", &["-c", "/etc/services"]);
    let end = TranslatorEngine.count(&gzip, &options()).expect("counted");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    let total = end.instructions[0];
    assert!(total > 100_000, "{total}");
    let wanted: Vec<_> = [0, 1, 77, 5_000, total / 3, total / 2, total - 1]
        .map(index)
        .into();
    let found = TranslatorEngine
        .locate(&gzip, &options(), &wanted)
        .expect("located");
    let found: Vec<Found> = found.into_iter().map(|one| one.expect("reached")).collect();
    for (landmark, found) in wanted.iter().zip(&found) {
        assert_eq!(*landmark, Landmark::Index(found.moment));
        assert!(found.arrivals > 0);
    }
    let arrivals: Vec<_> = found.iter().map(arrival).collect();
    let again = TranslatorEngine
        .locate(&gzip, &options(), &arrivals)
        .expect("located");
    let again: Vec<Found> = again.into_iter().map(|one| one.expect("reached")).collect();
    assert_eq!(found, again);
}

#[test]
fn what_is_never_reached_is_not_found() {
    let _alone = alone();
    let program = command("/bin/true", &[]);
    let total = TranslatorEngine
        .count(&program, &options())
        .expect("counted")
        .instructions[0];
    let wanted = [index(total - 1), index(total), index(total + 1)];
    let found = TranslatorEngine
        .locate(&program, &options(), &wanted)
        .expect("located");
    // After the last instruction, which is a system call that does not return, there is no moment.
    assert!(found[0].is_some());
    assert_eq!(&found[1..], &[None, None]);
}

#[test]
fn calls_are_found_where_they_are_made() {
    let _alone = alone();
    let program = command("/bin/echo", &["a"]);
    let call = |number: i64, count| Landmark::Call {
        thread: 0,
        number: number as u64,
        count,
    };
    let wanted = [
        call(libc::SYS_write, 1),
        call(libc::SYS_write, 2),
        call(libc::SYS_close, 1),
    ];
    let found = TranslatorEngine
        .locate(&program, &options(), &wanted)
        .expect("located");
    let (write, close) = (found[0].expect("one write"), found[2].expect("a close"));
    assert_eq!(found[1], None);
    assert!(close.moment < write.moment);
}

#[test]
fn each_thread_has_its_own_count() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let guest = guest(folder.path(), "threads");
    let end = TranslatorEngine
        .count(&command(&guest, &[]), &options())
        .expect("counted");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
    assert!(end.instructions.len() > 1);
    assert!(
        end.instructions.iter().all(|&count| count > 0),
        "{:?}",
        end.instructions
    );
}

/// Everything that the program could tell apart.
struct State {
    registers: String,
    vectors: Vec<u8>,
    mappings: Vec<Mapping>,
    /// The contents of all writable memory.
    memory: Vec<(u64, Vec<u8>)>,
}

fn state(live: &Live) -> State {
    let mappings = live.mappings().expect("mapped");
    let contents = |one: &Mapping| {
        let mut bytes = vec![0; (one.end - one.start) as usize];
        live.memory().read(one.start, &mut bytes).expect("readable");
        (one.start, bytes)
    };
    let mut vectors = live.xstate().expect("xstate").bytes().to_vec();
    // Which components are in their initial state is no state of its own.
    vectors[512..520].fill(0);
    State {
        registers: format!("{:x?}", live.registers().expect("registers")),
        vectors,
        memory: mappings
            .iter()
            .filter(|one| one.write)
            .map(contents)
            .collect(),
        mappings,
    }
}

#[test]
fn what_is_reached_is_what_stepping_reaches() {
    const INDICES: [u64; 7] = [0, 1, 2, 50, 1000, 1001, 20_000];
    let _alone = alone();
    // When others run programs at the same time, process numbers may differ, and with them the program's memory.
    let same_number = (0..50).any(|_| reaches_what_stepping_reaches(&INDICES));
    assert!(same_number, "never twice the same process number");
}

fn reaches_what_stepping_reaches(indices: &[u64]) -> bool {
    let program = command("/bin/echo", &["a", "b"]);
    let mut stepped = Live::launch(&program, &options()).expect("launched");
    let mut at = 0;
    let leader = stepped.leader();
    let states: Vec<State> = (indices.iter())
        .map(|&index| {
            while at < index {
                assert_eq!(stepped.step().expect("a step"), Stepped::Retired);
                at += 1;
            }
            state(&stepped)
        })
        .collect();
    drop(stepped);
    for (&index, expected) in indices.iter().zip(states) {
        let moment = Moment { thread: 0, index };
        let reached = TranslatorEngine.reach(&program, &options(), moment);
        let Reached::At(live) = reached.expect("a run") else {
            panic!("it ended before {index}");
        };
        if live.leader() != leader {
            return false;
        }
        let found = state(&live);
        assert_eq!(found.registers, expected.registers, "{index}");
        assert_eq!(found.vectors, expected.vectors, "{index}");
        assert_eq!(found.mappings, expected.mappings, "{index}");
        for ((start, one), other) in found.memory.iter().zip(&expected.memory) {
            let differing = one
                .iter()
                .zip(&other.1)
                .position(|(one, other)| one != other);
            assert_eq!(differing, None, "{index}: in the memory at {start:#x}");
        }
    }
    true
}

#[test]
fn a_program_that_was_reached_goes_on_to_its_end() {
    let _alone = alone();
    let gzip = command("/usr/bin/gzip", &["-c", "/etc/services"]);
    let moment = Moment {
        thread: 0,
        index: 100_000,
    };
    let Reached::At(mut live) = TranslatorEngine
        .reach(&gzip, &options(), moment)
        .expect("a run")
    else {
        panic!("it ended before");
    };
    let end = live.finish(&Limits::default()).expect("an end");
    assert_eq!(end.how, HowEnded::Ended(Ended::Exited(0)));
}

#[test]
fn who_uses_too_much_is_ended() {
    let _alone = alone();
    let sleep = command("/bin/sleep", &["60"]);
    let limits = Limits {
        wall_seconds: Some(0.3),
        ..Limits::default()
    };
    let options = EngineOptions {
        limits,
        ..options()
    };
    let end = TranslatorEngine.count(&sleep, &options).expect("counted");
    assert_eq!(end.how, HowEnded::WallLimit);
}

fn guest(folder: &Path, name: &str) -> PathBuf {
    let guest = folder.join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/guests/{name}.c"));
    let built = Build::new("cc")
        .args(["-O1", "-g", "-pthread", "-o"])
        .arg(&guest)
        .arg(source)
        .status();
    assert!(built.expect("cc runs").success());
    guest
}

/// A number that looks random, from a seed that moves on.
fn draw(seed: &mut u64, below: u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

/// Wherever a program is stopped and let go, in any of its threads, it does what it does when nobody stops it.
#[test]
fn stopping_anywhere_changes_nothing() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("output");
    let to_file = |command: Command| {
        let file = std::fs::File::create(&output).expect("created");
        command.stdio(1, Stdio::File(file.into()))
    };
    let programs: Vec<(PathBuf, Vec<&str>)> = vec![
        (guest(folder.path(), "exact_signals"), vec![]),
        (guest(folder.path(), "branches"), vec!["mixed", "300000"]),
        (guest(folder.path(), "exact_threads"), vec![]),
        (guest(folder.path(), "threads"), vec![]),
        (guest(folder.path(), "signal_nested"), vec![]),
        (
            "/bin/sh".into(),
            vec!["-c", "echo a | cat; exec /bin/echo b"],
        ),
        ("/usr/bin/gzip".into(), vec!["-c", "/etc/services"]),
    ];
    let mut seed = 1;
    for (program, arguments) in &programs {
        let command = || to_file(command(program, arguments));
        let end = TranslatorEngine
            .count(&command(), &options())
            .expect("counted");
        let (expected, how) = (std::fs::read(&output).expect("output"), end.how);
        for _ in 0..8 {
            let thread = draw(&mut seed, end.instructions.len() as u64) as u32;
            let index = draw(&mut seed, end.instructions[thread as usize]);
            let moment = Moment { thread, index };
            let reached = TranslatorEngine.reach(&command(), &options(), moment);
            let Reached::At(mut live) = reached.expect("a run") else {
                // How far a thread comes may depend on when it is run.
                assert!(
                    end.instructions.len() > 1,
                    "{program:?} never came to {moment:?}"
                );
                continue;
            };
            assert_eq!(live.focus(), thread);
            let end = live.finish(&Limits::default()).expect("an end");
            assert_eq!(end.how, how, "{program:?} {moment:?}");
            let output = std::fs::read(&output).expect("output");
            assert!(
                output == expected,
                "{program:?} {moment:?}: {}",
                String::from_utf8_lossy(&output)
            );
        }
    }
}

/// A program that reads its own mappings finds those that it has natively.
#[test]
fn our_mappings_are_not_seen() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let output = folder.path().join("output");
    for file in [
        "/proc/self/maps",
        "/proc/self/smaps",
        "/proc/thread-self/maps",
    ] {
        let cat = || {
            let to = std::fs::File::create(&output).expect("created");
            command("/bin/cat", &[file]).stdio(1, Stdio::File(to.into()))
        };
        // What smaps tells of each mapping's memory depends on who has touched it.
        let mappings = || {
            let text = std::fs::read_to_string(&output).expect("output");
            let lines = text.lines().filter(|line| {
                line.contains('-') && !line.contains(':')
                    || line.contains(" 00:00 ")
                    || line.contains('/')
            });
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let mut live = Live::launch(&cat(), &options()).expect("launched");
        live.finish(&Limits::default()).expect("an end");
        let native = mappings();
        assert!(native.len() > 10, "{native:?}");
        TranslatorEngine.count(&cat(), &options()).expect("counted");
        assert_eq!(mappings(), native, "{file}");
    }
}

/// Code whose branches go either way is counted exactly when it has become regions: the instructions of this recursion are those of the two calls that
/// it makes and a constant.
#[test]
fn hot_recursion_is_counted_exactly() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let guest = guest(folder.path(), "branches");
    let count = |n: u32| {
        let command = command(&guest, &["calls", &n.to_string()]);
        let end = TranslatorEngine.count(&command, &options());
        end.expect("counted").instructions[0] as i64
    };
    let more = |n| count(n) - count(n - 1) - count(n - 2);
    let expected = more(14);
    // With other last digits it takes a few instructions more or less to read the number.
    for n in [24, 34] {
        assert_eq!(more(n), expected, "{n}");
    }
}

/// A moment in hot code is reached in the same state as by stepping from a moment before it.
#[test]
fn a_moment_in_hot_code_is_what_steps_lead_to() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let guest = guest(folder.path(), "branches");
    let reach = |program: &Command, index| {
        let moment = Moment { thread: 0, index };
        match TranslatorEngine.reach(program, &options(), moment) {
            Ok(Reached::At(live)) => live,
            _ => panic!("it never came to {index}"),
        }
    };
    let mut seed = 3;
    for arguments in [["calls", "36"], ["mixed", "300000"]] {
        let program = command(&guest, &arguments);
        let end = TranslatorEngine.count(&program, &options());
        let total = end.expect("counted").instructions[0];
        for _ in 0..6 {
            let index = total / 4 + draw(&mut seed, total / 2);
            let steps = 1 + draw(&mut seed, 40);
            let mut stepped = reach(&program, index);
            for _ in 0..steps {
                assert_eq!(stepped.step().expect("a step"), Stepped::Retired);
            }
            let expected = state(&stepped);
            drop(stepped);
            let found = state(&reach(&program, index + steps));
            let when = format!("{arguments:?} {index} and {steps}");
            assert_eq!(found.registers, expected.registers, "{when}");
            assert_eq!(found.vectors, expected.vectors, "{when}");
        }
    }
}
