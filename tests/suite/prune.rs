//! What a campaign knows without running, against experiments: every fate of a window by brute force.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use fits_injectors::campaign::point::Point;
use fits_injectors::campaign::prune::{AHEAD, Fate, Interval, Locations, Window};
use fits_injectors::drive::EARLY_STOP;
use fits_injectors::experiment::job::EngineName;
use fits_injectors::experiment::limits::HostLimits;
use fits_injectors::experiment::outcome::{Checks, Outcome};
use fits_injectors::experiment::record::Record;
use fits_injectors::experiment::session::{Isolate, Manner, Patience, Session};
use fits_injectors::experiment::worker::Setup;
use fits_injectors::fault::Operation;

const FITS: &str = env!("CARGO_BIN_EXE_fits");

/// A session with a program, after its reference run.
fn session(program: &Path, arguments: &[&str], store: &Path) -> Session {
    let setup = Setup {
        isolate: true,
        working: store.join("work").into(),
        writable: Vec::new(),
        store: store.join("store").into(),
        input: "/dev/null".into(),
        program: program.into(),
        arguments: arguments.iter().map(Into::into).collect(),
        limits: HostLimits::default(),
        environment: None,
        place: 0,
    };
    for folder in ["work", "store"] {
        std::fs::create_dir_all(store.join(folder)).unwrap();
    }
    let manner = Manner {
        engine: EngineName::Ptrace,
        finder: EngineName::Dbt,
        raw: false,
        dry_run: false,
        window: 0,
        trace: None,
        patience: Patience::default(),
        checks: Checks::default(),
        patterns: Vec::new(),
        detector: None,
        compare: None,
        keep: false,
    };
    let mut session = Session::start(Path::new(FITS), setup, Isolate::Auto, manner).unwrap();
    session.reference().unwrap();
    session
}

/// `tests/guests/pruned.S`.
fn pruned(folder: &Path) -> PathBuf {
    let program = folder.join("pruned");
    let compiled = Command::new("cc")
        .args(["-nostdlib", "-static", "-o"])
        .arg(&program)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/guests/pruned.S"
        ))
        .status();
    assert!(compiled.unwrap().success());
    program
}

/// The window of `tests/guests/pruned.S`.
const WINDOW: Window = Window {
    thread: 0,
    from: 16,
    to: 53,
};

fn general_registers() -> Vec<String> {
    let names = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12",
        "r13", "r14", "r15", "rflags",
    ];
    names.map(str::to_owned).to_vec()
}

/// Each point once: how often each moment of each bit is covered.
fn covered(intervals: &[Interval]) -> BTreeMap<(&str, u32, u64), u32> {
    let mut points = BTreeMap::new();
    for interval in intervals {
        for bit in interval.bits.iter() {
            for index in interval.from..interval.to {
                *points
                    .entry((interval.location.as_str(), bit, index))
                    .or_default() += 1;
            }
        }
    }
    points
}

#[test]
fn intervals_cover_each_point_once() {
    let store = tempfile::tempdir().unwrap();
    let mut session = session(&pruned(store.path()), &[], store.path());
    let locations = Locations {
        registers: general_registers(),
        memory: Vec::new(),
    };
    let intervals = session.intervals(WINDOW, &locations).unwrap();
    let points = covered(&intervals);
    assert!(points.values().all(|&times| times == 1));
    // 16 registers of 64 bits, and the 8 flags that can be changed.
    assert_eq!(points.len(), 37 * (16 * 64 + 8));
    let sum: u64 = intervals.iter().map(Interval::points).sum();
    assert_eq!(sum as usize, points.len());
    for operation in [Operation::Flip, Operation::Stuck0, Operation::Stuck1] {
        let rows = session
            .exhaustive(WINDOW, &locations, operation, 1)
            .unwrap();
        let weights: f64 = rows.iter().map(|row| row.weight).sum();
        assert_eq!(weights as usize, points.len());
        assert!(rows.iter().all(|row| row.found.is_some()));
        let numbers: Vec<u64> = rows.iter().map(|row| row.number).collect();
        assert!(numbers.iter().copied().eq(0..rows.len() as u64));
    }
}

/// How a run ended, in words.
fn told(record: &Record) -> String {
    let end = match record.outcome {
        Outcome::Masked => String::new(),
        _ => format!("{:?}", record.end),
    };
    format!("{} {end} {:?}", record.outcome, record.differences)
}

/// Runs every `step`-th point of the intervals, and what stands for it. How many experiments, and what does not agree.
fn brute_force(session: &mut Session, intervals: &[Interval], step: usize) -> (usize, Vec<String>) {
    let indices: std::collections::BTreeSet<u64> = (WINDOW.from..WINDOW.to).collect();
    let faults: Vec<String> = indices
        .iter()
        .map(|index| format!("reg:rax:0@{index}"))
        .collect();
    let planned = session.plan(&faults, 0, EngineName::Dbt).unwrap();
    let found: BTreeMap<u64, _> = planned
        .into_iter()
        .flatten()
        .map(|(_, found)| (found.moment.index, found))
        .collect();
    let mut runs = 0;
    let mut wrong = Vec::new();
    let mut run = |location: &str, bit: u32, index: u64| {
        runs += 1;
        let fault = format!("{location}:{bit}@{index}");
        let faults = vec![(fault, found[&index])];
        told(&session.experiment(0, faults).unwrap())
    };
    let mut number = 0;
    for interval in intervals {
        for bit in interval.bits.iter() {
            let mut of_class = None;
            for index in interval.from..interval.to {
                number += 1;
                if number % step != 0 {
                    continue;
                }
                let real = run(&interval.location, bit, index);
                let known = match interval.fate {
                    Fate::Overwritten { .. } | Fate::Constant => "masked  []".to_owned(),
                    _ => of_class
                        .get_or_insert_with(|| match interval.to - 1 == index {
                            true => real.clone(),
                            false => run(&interval.location, bit, interval.to - 1),
                        })
                        .clone(),
                };
                if real != known {
                    wrong.push(format!(
                        "{}:{bit}@{index} {:?}: {real}, known: {known}",
                        interval.location, interval.fate
                    ));
                }
            }
        }
    }
    (runs, wrong)
}

#[test]
fn fates_are_those_of_experiments() {
    let store = tempfile::tempdir().unwrap();
    let mut session = session(&pruned(store.path()), &[], store.path());
    let locations = Locations {
        registers: general_registers(),
        memory: Vec::new(),
    };
    let intervals = session.intervals(WINDOW, &locations).unwrap();
    // Every point, for those who have the time: PRUNE_STEP=1.
    let step = std::env::var("PRUNE_STEP").map_or(61, |step| step.parse().unwrap());
    let (runs, wrong) = brute_force(&mut session, &intervals, step);
    println!("{runs} experiments");
    assert!(runs > 500, "{runs}");
    assert_eq!(wrong, [] as [String; 0]);
}

/// Address of a symbol of a program that lies where its file says.
fn address(program: &Path, symbol: &str) -> u64 {
    let output = Command::new("nm").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.ends_with(&format!(" {symbol}")));
    let (address, _) = line.unwrap().split_once(' ').unwrap();
    u64::from_str_radix(address, 16).unwrap()
}

#[test]
fn fates_of_memory_are_those_of_experiments() {
    let store = tempfile::tempdir().unwrap();
    let program = pruned(store.path());
    let mut session = session(&program, &[], store.path());
    let words = address(&program, "words");
    let locations = Locations {
        registers: Vec::new(),
        memory: vec![(words, 20)],
    };
    let intervals = session.intervals(WINDOW, &locations).unwrap();
    let points = covered(&intervals);
    assert!(points.values().all(|&times| times == 1));
    assert_eq!(points.len(), 37 * 20 * 8);
    // The first eight bytes are overwritten; the next four are, and then added to; the last four are only written out.
    let fates = |byte: u32| -> Vec<Fate> {
        let of = |one: &&Interval| one.bits.has(8 * byte);
        intervals.iter().filter(of).map(|one| one.fate).collect()
    };
    assert!(matches!(
        fates(0)[..],
        [Fate::Overwritten { index: 41 }, Fate::Read { .. }]
    ));
    assert!(matches!(
        fates(8)[..],
        [
            Fate::Overwritten { index: 42 },
            Fate::Read { index: 50, .. },
            Fate::Read { .. }
        ]
    ));
    assert!(matches!(fates(16)[..], [Fate::Read { .. }]));
    let (runs, wrong) = brute_force(&mut session, &intervals, 61);
    assert!(runs > 90, "{runs}");
    assert_eq!(wrong, [] as [String; 0]);
    let shared = Locations {
        registers: Vec::new(),
        memory: vec![(0x1000, 8)],
    };
    let refused = session.intervals(WINDOW, &shared).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "memory at 0x1000 is not mapped where the window begins"
    );
}

#[test]
fn what_cannot_be_looked_at_is_refused_with_a_sentence() {
    let store = tempfile::tempdir().unwrap();
    let mut session = session(&pruned(store.path()), &[], store.path());
    let mut refused = |from, to, registers: &[&str]| {
        let window = Window {
            thread: 0,
            from,
            to,
        };
        let locations = Locations {
            registers: registers.iter().map(|&name| name.to_owned()).collect(),
            memory: Vec::new(),
        };
        session
            .intervals(window, &locations)
            .unwrap_err()
            .to_string()
    };
    for (sentence, part) in [
        (refused(5, 5, &["rax"]), "is empty"),
        (refused(0, 3_000_000, &["rax"]), "at most 2000000"),
        (refused(500, 510, &["rax"]), "ends before the window begins"),
        (refused(5, 500, &["rax"]), "ends at instruction"),
        (refused(5, 9, &["rux"]), "'rux' is no register"),
        (refused(5, 9, &["st0"]), "x87 registers move"),
        (
            refused(5, 9, &["rax", "al"]),
            "al and rax have bits in common",
        ),
    ] {
        assert!(sentence.contains(part), "{sentence}");
    }
}

/// Real programs, and arguments for them; they read a file in the folder that they run in.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("/usr/bin/gzip", &["-c", "input"]),
    ("/usr/bin/sha256sum", &["input"]),
    ("/usr/bin/sort", &["input"]),
    (
        "/usr/bin/sqlite3",
        &[
            ":memory:",
            "select sum(value*value) from generate_series(1,200)",
        ],
    ),
];

/// A session with one of the programs.
fn with(program: &str, arguments: &[&str], folder: &Path) -> Session {
    std::fs::create_dir(folder.join("work")).unwrap();
    let lines: Vec<String> = (0..400_u32)
        .map(|line| line.wrapping_mul(2_654_435_761).to_string())
        .collect();
    std::fs::write(folder.join("work/input"), lines.join("\n")).unwrap();
    session(Path::new(program), arguments, folder)
}

/// Faults drawn from a seed: locations of all kinds at moments all over the run.
fn drawn(seed: u64, count: usize, instructions: u64) -> Vec<String> {
    const LOCATIONS: [&str; 12] = [
        "reg:rax:{64}",
        "reg:rcx:{64}",
        "reg:rdx:{64}",
        "reg:rsi:{64}",
        "reg:r8:{64}",
        "reg:r10:{64}",
        "reg:zf",
        "reg:cf",
        "reg:ymm1:{256}",
        "reg:ymm15:{256}",
        "wreg:{8}",
        "mem:sp-{2048}:{8}",
    ];
    let mut state = seed;
    let mut next = |bound: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    };
    let mut faults = Vec::new();
    for _ in 0..count {
        let mut location = LOCATIONS[next(12) as usize].to_owned();
        while let Some((before, rest)) = location.split_once('{') {
            let (bound, after) = rest.split_once('}').unwrap();
            location = format!("{before}{}{after}", next(bound.parse().unwrap()));
        }
        faults.push(format!("{location}@{}", next(instructions)));
    }
    faults
}

/// Every verdict and class of drawn faults, against experiments.
fn look_ahead(program: &str, arguments: &[&str], count: usize, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let mut session = with(program, arguments, folder.path());
    let instructions = session.count().unwrap()[0];
    let faults = drawn(seed, count, instructions);
    let planned = session.plan(&faults, 0, EngineName::Dbt).unwrap();
    let points: Vec<_> = planned.into_iter().flatten().collect();
    let begun = std::time::Instant::now();
    let foreseen = session.look_ahead(&points, AHEAD).unwrap();
    let looked = begun.elapsed();
    let rows: Vec<Point> = (0..)
        .zip(points.iter().zip(&foreseen))
        .map(|(number, ((fault, found), known))| Point {
            number,
            fault: fault.clone(),
            found: Some(*found),
            weight: 1.0,
            stratum: None,
            class: known.class,
            verdict: known.fate.verdict(),
        })
        .collect();
    let known = rows.iter().filter(|row| row.verdict.is_some()).count();
    let begun = std::time::Instant::now();
    let wrong = session.validate_pruning(&rows, rows.len(), 1).unwrap();
    println!(
        "{program}: {known} of {} known in {looked:?}; experiments with them {:?}",
        rows.len(),
        begun.elapsed()
    );
    assert!(known * 10 > rows.len(), "{known} of {}", rows.len());
    assert_eq!(wrong, []);
}

#[test]
fn verdicts_on_real_programs_are_those_of_experiments() {
    let count = std::env::var("PRUNE_COUNT").map_or(40, |count| count.parse().unwrap());
    for (seed, (program, arguments)) in (1..).zip(PROGRAMS) {
        look_ahead(program, arguments, count, seed);
    }
}

/// Drawn faults, run to their ends and ended early: the same outcome. How many were ended early, and how long both took.
fn stopped_early(program: &str, arguments: &[&str], count: usize, seed: u64) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let mut session = with(program, arguments, folder.path());
    let instructions = session.count().unwrap()[0];
    let planned = session.plan(&drawn(seed, count, instructions), 0, EngineName::Dbt);
    let points: Vec<_> = planned.unwrap().into_iter().flatten().collect();
    let window = std::env::var("PRUNE_WINDOW").ok();
    let window = window.map_or(EARLY_STOP, |window| window.parse().unwrap());
    let mut times = [std::time::Duration::ZERO; 2];
    let mut early = Vec::new();
    let mut masked = 0;
    for (number, point) in points.iter().enumerate() {
        let mut run = |stop: Option<u64>| {
            session.stop_early(stop);
            let begun = std::time::Instant::now();
            let record = session.experiment(number, vec![point.clone()]).unwrap();
            times[usize::from(stop.is_some())] += begun.elapsed();
            record
        };
        let full = run(None);
        let stopped = run(Some(window));
        masked += usize::from(full.outcome == Outcome::Masked);
        match stopped.rejoined {
            Some(_) => {
                assert_eq!(full.outcome, Outcome::Masked, "{point:?}: {}", full.reason);
                assert_eq!((stopped.outcome, &stopped.end), (Outcome::Masked, &None));
                early.push(number);
            }
            None => assert_eq!(told(&full), told(&stopped), "{point:?}"),
        }
    }
    println!(
        "{program}: of {}, {masked} masked, {} ended early; {:?} to their ends, {:?} with an early stop",
        points.len(),
        early.len(),
        times[0],
        times[1]
    );
    early.len()
}

#[test]
fn runs_that_are_ended_early_are_masked() {
    let count = std::env::var("PRUNE_COUNT").map_or(30, |count| count.parse().unwrap());
    for (seed, (program, arguments)) in (11..).zip(PROGRAMS) {
        let early = stopped_early(program, arguments, count, seed);
        assert!(early * 10 > count, "{program}: {early} of {count}");
    }
}
