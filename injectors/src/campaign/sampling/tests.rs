//! Draws: the same for ever, without repetition, in the proportions that they should have.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use fits_tracer::engine::{Found, Moment};

use super::*;
use crate::campaign::file::Words;
use crate::campaign::space::tests::{Code, LOOP, space_of};
use crate::fault::{Arrival, Fault, Location, Place, RegisterOperand, When};

fn drawn(fields: &str, rest: &str, code: Code<'_>) -> Drawn {
    try_draw(fields, rest, code, &mut NoOracle).unwrap()
}

fn try_draw(
    fields: &str,
    rest: &str,
    code: Code<'_>,
    oracle: &mut dyn Oracle,
) -> Result<Drawn, PlanError> {
    let (campaign, space) = space_of(&format!("{fields}\n{rest}"), code)?;
    from_space(&campaign, &space, oracle)
}

fn place(text: &str) -> (u64, u64) {
    let fault: Fault = text.parse().unwrap();
    match fault.trigger.when {
        When::Arrival(Arrival {
            place: Place::Address(pc),
            count,
        }) => (pc, count),
        other => panic!("{other}"),
    }
}

/// The same code, each instruction executed so many times as often.
fn often(times: u64) -> Vec<(u64, &'static [u8], u64, &'static str)> {
    LOOP.iter()
        .map(|&(pc, bytes, executions, symbol)| (pc, bytes, executions * times, symbol))
        .collect()
}

#[test]
fn a_seed_gives_the_same_faults_for_ever() {
    let code = often(1_000_000);
    let fields = "registers = [\"general\", \"flags\"]";
    let list = |rest: &str| {
        drawn(fields, rest, &code)
            .faults
            .into_iter()
            .map(|fault| fault.text)
            .collect::<Vec<_>>()
    };
    let first = list("[sampling]\nsize = 5");
    assert_eq!(first, list("[sampling]\nsize = 5"));
    assert_eq!(
        first,
        list("[sampling]\nsize = 500")[..5],
        "a smaller sample is the beginning of a larger one"
    );
    let (mut campaign, space) =
        space_of(&format!("{fields}\n[sampling]\nsize = 5"), &code).unwrap();
    campaign.seed = 1;
    let other = from_space(&campaign, &space, &mut NoOracle).unwrap();
    assert!(
        other
            .faults
            .iter()
            .all(|fault| !first.contains(&fault.text))
    );
    assert_eq!(first, FIRST);
}

const FIRST: [&str; 5] = [
    "reg:rax:3@0x1006:9747909",
    "reg:rbp:27@0x1008:8992356",
    "reg:rbp:14@0x101e:4638999",
    "reg:rcx:30@0x100a:895043",
    "reg:rsi:29@0x101a:1180668",
];

/// Chi-square of a sample with replacement as good as without: many points, all of them in 13 × 3 cells.
#[test]
fn draws_are_uniform_over_instruction_and_bit() {
    let code = often(10_000_000);
    let sample = drawn(
        "registers = [\"rax\", \"eax\", \"zf\"]",
        "[sampling]\nsize = 60000",
        &code,
    );
    let mut counts: HashMap<(u64, String), u64> = HashMap::new();
    let mut bits = [0u64; 64];
    let mut halves = [0u64; 2];
    for DrawnFault { text, weight, .. } in &sample.faults {
        assert_eq!(*weight, 1.0);
        let fault: Fault = text.parse().unwrap();
        let (pc, occurrence) = place(text);
        let executions = code.iter().find(|row| row.0 == pc).unwrap().2;
        assert!((1..=executions).contains(&occurrence));
        halves[usize::from(occurrence > executions / 2)] += 1;
        let location = fault.location.to_string();
        if location == "reg:rax" {
            let bit = fault.change.unwrap().mask(64).iter().next().unwrap();
            bits[bit as usize] += 1;
        }
        *counts.entry((pc, location)).or_default() += 1;
    }
    let all: u64 = code.iter().map(|row| row.2).sum();
    let mut chi = 0.0;
    let mut square = |seen: u64, expected: f64| chi += (seen as f64 - expected).powi(2) / expected;
    for &(pc, _, executions, _) in &code {
        for (location, width) in [("reg:rax", 64.0), ("reg:eax", 32.0), ("reg:zf", 1.0)] {
            let seen = counts
                .get(&(pc, location.to_owned()))
                .copied()
                .unwrap_or_default();
            square(
                seen,
                60_000.0 * executions as f64 / all as f64 * width / 97.0,
            );
        }
    }
    // 38 degrees of freedom: 70.7 at 0.001.
    assert!(chi < 70.7, "{chi} {counts:?}");
    let of_rax: u64 = bits.iter().sum();
    let chi: f64 = bits
        .iter()
        .map(|&seen| (seen as f64 - of_rax as f64 / 64.0).powi(2) / (of_rax as f64 / 64.0))
        .sum();
    // 63 degrees of freedom: 103.4 at 0.001.
    assert!(chi < 103.4, "{chi} {bits:?}");
    assert!(halves[0].abs_diff(halves[1]) < 800, "{halves:?}");
}

#[test]
fn refine_draws_executions_then_registers_then_bits() {
    let code = often(1_000_000);
    let sample = drawn("population = \"refine\"", "[sampling]\nsize = 28000", &code);
    let mut counts: HashMap<(u64, String), f64> = HashMap::new();
    for fault in &sample.faults {
        let read: Fault = fault.text.parse().unwrap();
        let Location::Destination(RegisterOperand::Named(register)) = read.location else {
            panic!("{}", fault.text);
        };
        let group = if register.width() == 1 {
            "rflags"
        } else {
            register.name()
        };
        *counts
            .entry((place(&fault.text).0, group.to_owned()))
            .or_default() += 1.0;
    }
    // 28 executions in all: 1000 draws for each.
    let expected = [
        (0x1000, "eax", 1000.0),
        (0x1005, "rsp", 1000.0),
        (0x1006, "eax", 5000.0),
        (0x1006, "rflags", 5000.0),
        (0x100a, "bl", 1000.0),
        (0x100c, "xmm0", 3000.0),
        (0x1012, "rsp", 2000.0),
        (0x1017, "rax", 2000.0),
        (0x1017, "rflags", 2000.0),
        (0x101b, "rax", 6000.0),
    ];
    assert_eq!(counts.len(), expected.len(), "{counts:?}");
    let chi: f64 = expected
        .iter()
        .map(|(pc, register, expected)| {
            (counts[&(*pc, (*register).to_owned())] - expected).powi(2) / expected
        })
        .sum();
    // 9 degrees of freedom: 27.9 at 0.001.
    assert!(chi < 27.9, "{chi} {counts:?}");
}

#[test]
fn nothing_is_drawn_twice_and_a_small_space_is_drawn_whole() {
    let sample = drawn("registers = [\"eax\"]", "[sampling]\nsize = 1500", LOOP);
    let texts: HashSet<&str> = sample
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!(texts.len(), 1500);
    let sample = drawn("registers = [\"eax\"]", "[sampling]\nsize = 100000", LOOP);
    assert_eq!(
        sample.faults.len() as u128,
        sample.population.points.unwrap()
    );
    assert!(
        sample.population.warnings[0].contains("only 1856 points"),
        "{:?}",
        sample.population.warnings
    );
    let code = often(10_000);
    let sample = drawn(
        "population = \"refine\"",
        "[sampling]\nsize = 100000",
        &code,
    );
    let texts: HashSet<&str> = sample
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!(texts.len(), 100_000);
}

#[test]
fn sizes_follow_from_margins() {
    let size =
        |code: Code<'_>, rest: &str| drawn("registers = [\"general\"]", rest, code).faults.len();
    let large = often(1_000_000_000);
    assert_eq!(size(&large, "[sampling]\nsize = { margin = 0.03 }"), 1068);
    assert_eq!(size(&large, "[sampling]\nsize = { margin = 0.05 }"), 385);
    assert_eq!(size(&large, ""), 1068);
    assert_eq!(
        size(
            &large,
            "[sampling]\nsize = { until-width = 0.1, maximum = 700 }"
        ),
        700
    );
    // 59,392 points: 1068 / (1 + 1067/59392).
    assert_eq!(size(LOOP, "[sampling]\nsize = { margin = 0.03 }"), 1049);
}

#[test]
fn strata_have_equal_shares_and_weights_that_add_up() {
    let code = often(1_000);
    for (by, strata) in [("function", 3), ("opcode", 10), ("register-class", 2)] {
        let sample = drawn(
            "registers = [\"general\", \"flags\"]",
            &format!("[sampling]\nkind = \"stratified\"\nby = \"{by}\"\nsize = 1000"),
            &code,
        );
        assert_eq!(sample.faults.len(), 1000);
        assert_eq!(sample.population.strata.len(), strata, "{by}");
        let all: f64 = sample.faults.iter().map(|fault| fault.weight).sum();
        let points = sample.population.points.unwrap() as f64;
        assert!((all / points - 1.0).abs() < 1e-9, "{by}: {all} {points}");
        for stratum in &sample.population.strata {
            let mine: Vec<_> = sample
                .faults
                .iter()
                .filter(|fault| fault.stratum.as_deref() == Some(&stratum.name))
                .collect();
            assert_eq!(mine.len() as u64, stratum.drawn);
            assert!(
                stratum.drawn.abs_diff(1000 / strata as u64) <= 1,
                "{by}: {stratum:?}"
            );
            let weight = stratum.points / stratum.drawn as f64;
            assert!(
                mine.iter()
                    .all(|fault| (fault.weight - weight).abs() < 1e-6)
            );
        }
        // Each in its own stratum.
        for fault in &sample.faults {
            let (pc, _) = place(&fault.text);
            let name = fault.stratum.as_deref().unwrap();
            let symbol = code.iter().find(|row| row.0 == pc).unwrap().3;
            match by {
                "function" => assert_eq!(name, symbol),
                "register-class" => {
                    let read: Fault = fault.text.parse().unwrap();
                    assert_eq!(name == "flags", read.location.width() == 1, "{fault:?}");
                }
                _ => {}
            }
        }
        // Every beginning has something of each.
        let begin: HashSet<_> = sample.faults[..150]
            .iter()
            .map(|fault| fault.stratum.clone())
            .collect();
        assert_eq!(begin.len(), strata, "{by}");
    }
    // A stratum with few points gives them all, and the others more.
    let sample = drawn(
        "instruction = [\"cf\", \"skip\"]",
        "[sampling]\nkind = \"stratified\"\nby = \"function\"\nsize = 60",
        LOOP,
    );
    let drawn_of: HashMap<_, _> = sample
        .population
        .strata
        .iter()
        .map(|stratum| (stratum.name.as_str(), stratum.drawn))
        .collect();
    assert_eq!(
        drawn_of,
        HashMap::from([("vectors", 7), ("last", 26), ("main", 27)])
    );
    let refine = drawn(
        "population = \"refine\"",
        "[sampling]\nkind = \"stratified\"\nby = \"function\"\nsize = 300",
        &code,
    );
    let all: f64 = refine.faults.iter().map(|fault| fault.weight).sum();
    assert!(
        (all - 28_000.0).abs() < 1e-6,
        "weights of executions: {all}"
    );
    let few = try_draw(
        "registers = [\"rax\"]",
        "[sampling]\nkind = \"stratified\"\nby = \"opcode\"\nsize = 5",
        LOOP,
        &mut NoOracle,
    );
    assert!(
        few.unwrap_err()
            .to_string()
            .contains("5 faults are too few for 10 strata (by opcode)")
    );
    assert_eq!(crate::campaign::file::Stratum::Function.word(), "function");
}

#[test]
fn exhaustive_campaigns_have_every_point_or_say_how_many_there_are() {
    let sample = drawn(
        "registers = [\"eax\"]",
        "[sampling]\nkind = \"exhaustive\"",
        LOOP,
    );
    let texts: HashSet<&str> = sample
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!((texts.len(), sample.faults.len()), (1856, 1856));
    let refused = try_draw(
        "registers = [\"general\"]",
        "[sampling]\nkind = \"exhaustive\"\nlimit = 1000",
        LOOP,
        &mut NoOracle,
    )
    .unwrap_err()
    .to_string();
    assert!(
        refused.contains("has 59392 experiments, more than [sampling] limit = 1000"),
        "{refused}"
    );
    assert!(refused.contains("pruning = \"def-use\""), "{refused}");
}

/// A program of two threads that runs through the addresses of the code again and again; what is at an even bit of a register is live.
struct Pretended {
    threads: Vec<u64>,
    asked: usize,
}

impl Pretended {
    fn at(&self, thread: u32, index: u64) -> Option<(u64, u64)> {
        let length = LOOP.len() as u64;
        (index < self.threads[thread as usize])
            .then(|| (LOOP[(index % length) as usize].0, index / length + 1))
    }
}

impl Oracle for Pretended {
    fn locate(&mut self, faults: &[String]) -> Result<Vec<Option<(String, Found)>>, String> {
        self.asked += faults.len();
        let one = |text: &String| {
            let fault: Fault = text.parse().unwrap();
            let thread = fault.trigger.thread;
            let found = match fault.trigger.when {
                When::Index { index, from: None } => {
                    let (pc, arrivals) = self.at(thread, index)?;
                    Found {
                        moment: Moment { thread, index },
                        pc,
                        arrivals,
                    }
                }
                When::Arrival(Arrival {
                    place: Place::Address(pc),
                    count,
                }) => {
                    let length = LOOP.len() as u64;
                    let at = LOOP.iter().position(|row| row.0 == pc)? as u64;
                    Found {
                        moment: Moment {
                            thread,
                            index: (count - 1) * length + at,
                        },
                        pc,
                        arrivals: count,
                    }
                }
                other => panic!("{other}"),
            };
            Some((text.clone(), found))
        };
        Ok(faults.iter().map(one).collect())
    }

    fn live(&mut self, points: &[(String, Found)]) -> Result<Vec<bool>, String> {
        let even = |text: &String| {
            let fault: Fault = text.parse().unwrap();
            fault
                .change
                .unwrap()
                .mask(64)
                .iter()
                .all(|bit| bit % 2 == 0)
        };
        Ok(points.iter().map(|(text, _)| even(text)).collect())
    }
}

#[test]
fn several_threads_and_windows_are_drawn_by_index() {
    let mut oracle = Pretended {
        threads: vec![130_000, 26_000],
        asked: 0,
    };
    // The same executions as the threads make together.
    let code: Vec<_> = LOOP
        .iter()
        .map(|&(pc, bytes, _, symbol)| (pc, bytes, 12_000, symbol))
        .collect();
    let (campaign, mut space) = space_of(
        "instruction = [\"wreg:general\"]\n[sampling]\nsize = 13000",
        &code,
    )
    .unwrap();
    space.by_index = true;
    space.spans = [(0, 130_000), (1, 26_000)]
        .map(|(thread, instructions)| crate::campaign::space::Span {
            thread,
            first: 0,
            instructions,
        })
        .to_vec();
    let sample = from_space(&campaign, &space, &mut oracle).unwrap();
    assert_eq!(sample.faults.len(), 13_000);
    let texts: HashSet<&str> = sample
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!(texts.len(), 13_000);
    // Bits of destination registers: mov 32, push 64, dec 32, mov bl 8, call 64, add 64, mov 64, mul 64 + 64.
    let widths = [
        (0x1000, 32.0),
        (0x1005, 64.0),
        (0x1006, 32.0),
        (0x100a, 8.0),
        (0x1012, 64.0),
        (0x1017, 64.0),
        (0x101b, 64.0),
        (0x1020, 128.0),
    ];
    let all: f64 = widths.iter().map(|(_, width)| width).sum();
    let mut chi = 0.0;
    for thread in 0..2 {
        for (pc, width) in widths {
            let here = |fault: &&DrawnFault| {
                let found = fault.found.unwrap();
                let read: Fault = fault.text.parse().unwrap();
                assert_eq!(read.trigger.thread, found.moment.thread);
                assert_eq!(place(&fault.text), (found.pc, found.arrivals));
                found.pc == pc && found.moment.thread == thread
            };
            let seen = sample.faults.iter().filter(here).count() as f64;
            let share = if thread == 0 { 5.0 / 6.0 } else { 1.0 / 6.0 };
            let expected = 13_000.0 * share * width / all;
            chi += (seen - expected).powi(2) / expected;
        }
    }
    // 15 degrees of freedom: 37.7 at 0.001.
    assert!(chi < 37.7, "{chi}");
    let (campaign, space) = space_of(
        "registers = [\"rax\"]\nindices = \"10-22\"\n[sampling]\nsize = 500",
        LOOP,
    )
    .unwrap();
    let sample = from_space(&campaign, &space, &mut oracle).unwrap();
    assert_eq!(sample.faults.len(), 500);
    assert!(
        sample
            .faults
            .iter()
            .all(|fault| (10..=22).contains(&fault.found.unwrap().moment.index))
    );
    assert_eq!(sample.population.points, None);
    let (campaign, space) = space_of(
        "registers = [\"rax\"]\nindices = \"10-22\"\n[sampling]\nkind = \"exhaustive\"",
        LOOP,
    )
    .unwrap();
    let all = from_space(&campaign, &space, &mut oracle).unwrap();
    assert_eq!(all.faults.len(), 13 * 64);
}

#[test]
fn windows_are_the_stays_in_a_region() {
    let mut oracle = Pretended {
        threads: vec![39],
        asked: 0,
    };
    // Three rounds through the code.
    let code: Vec<_> = LOOP
        .iter()
        .map(|&(pc, bytes, _, symbol)| (pc, bytes, 3, symbol))
        .collect();
    let mut of = |fields: &str| {
        let (campaign, space) = space_of(
            &format!("{fields}\n[sampling]\nkind = \"exhaustive\""),
            &code,
        )
        .unwrap();
        windows(&campaign, &space, &mut oracle).map_err(|error| error.to_string())
    };
    let ranges = |found: &Windows| {
        found
            .windows
            .iter()
            .map(|window| (window.thread, window.from, window.to))
            .collect::<Vec<_>>()
    };
    let all = of("registers = [\"rax\", \"flags\"]\nmemory = [\"0x4000,bytes=4\"]\noperations = [\"flip\", \"stuck0\"]").unwrap();
    assert_eq!(ranges(&all), [(0, 0, 39)]);
    assert_eq!(all.points, 39 * (64 + 7 + 32) * 2);
    assert_eq!(
        all.locations.registers,
        ["rax", "cf", "pf", "af", "zf", "sf", "df", "of"]
    );
    assert_eq!(all.locations.memory, [(0x4000, 4)]);
    let vectors = of("registers = [\"rax\"]\n[space.region]\nfunctions = [\"vectors\"]").unwrap();
    assert_eq!(ranges(&vectors), [(0, 5, 8), (0, 18, 21), (0, 31, 34)]);
    assert_eq!(vectors.points, 9 * 64);
    let part =
        of("registers = [\"rax\"]\nindices = \"7-20\"\n[space.region]\nfunctions = [\"vectors\"]")
            .unwrap();
    assert_eq!(ranges(&part), [(0, 7, 8), (0, 18, 21)]);
    for (fields, what) in [
        (
            "registers = [\"rax\"]\nmasks = [\"byte\"]",
            "masks and bits do not go with it",
        ),
        (
            "registers = [\"rax\"]\ndurations = [\"10\"]",
            "durations do not go with it",
        ),
        (
            "registers = [\"rax\"]\noperations = [\"random\"]",
            "operations are flip, stuck0 and stuck1",
        ),
        ("memory = [\"sp+8\"]", "mem:sp+0x8 is not at an address"),
        (
            "instruction = [\"wreg\"]",
            "population and instruction do not go with it",
        ),
    ] {
        let error = of(fields).unwrap_err();
        assert!(error.contains(what), "{fields}: {error}");
    }
}

#[test]
fn live_registers_are_those_that_the_oracle_says() {
    let mut oracle = Pretended {
        threads: vec![130_000],
        asked: 0,
    };
    let sample = try_draw(
        "registers = [\"rax\"]\nrestrict = \"live\"",
        "[sampling]\nsize = 700",
        LOOP,
        &mut oracle,
    )
    .unwrap();
    assert_eq!(sample.faults.len(), 700);
    for fault in &sample.faults {
        let read: Fault = fault.text.parse().unwrap();
        assert_eq!(read.change.unwrap().mask(64).iter().next().unwrap() % 2, 0);
        assert!(fault.found.is_some());
    }
    // All that are live, when there are no more.
    let sample = try_draw(
        "registers = [\"rax\"]\nrestrict = \"live\"",
        "[sampling]\nsize = 10000",
        LOOP,
        &mut oracle,
    )
    .unwrap();
    assert_eq!(sample.faults.len(), 58 * 32);
    assert_eq!(sample.population.points, None);
    let refused = try_draw(
        "registers = [\"rax\"]\nrestrict = \"live\"",
        "",
        LOOP,
        &mut NoOracle,
    );
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("cannot be looked up here")
    );
}

#[test]
fn random_memory_has_its_own_seeds() {
    let sample = drawn(
        "memory = [\"heap\", \"data\"]",
        "[sampling]\nsize = 300",
        LOOP,
    );
    let texts: HashSet<&str> = sample
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!(texts.len(), 300, "each has a seed of its own");
    assert!(
        sample
            .faults
            .iter()
            .all(|fault| fault.text.contains(",seed="))
    );
    assert_eq!(sample.population.points, None);
}

#[test]
fn lists_are_read_with_their_lines() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("faults.txt");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        list::read(&["reg:rax:3@1000".to_owned()], Some(Path::new(&path)), 7)
    };
    let list = read("# two\nreg:RBX:flip:4@main:2  # a flip\n\nmem:heap:0@random\nmem:heap:0@random,seed=3\nmem:heap:1@random\n").unwrap();
    let texts: Vec<_> = list
        .faults
        .iter()
        .map(|fault| fault.text.as_str())
        .collect();
    assert_eq!(
        texts,
        [
            "reg:rax:3@1000",
            "reg:rbx:4@main:2",
            "mem:heap:0@random,seed=7",
            "mem:heap:0@random,seed=3",
            "mem:heap:1@random,seed=9"
        ]
    );
    let error = read("reg:rax:3@1\nreg:rax:64@1\n").unwrap_err().to_string();
    assert!(
        error.contains("faults.txt:2: fault 'reg:rax:64@1', column"),
        "{error}"
    );
    let error = read("reg:rax:3@1 reg:rbx:3@1\n").unwrap_err().to_string();
    assert!(
        error.contains("faults.txt:1: a campaign has one fault in each experiment"),
        "{error}"
    );
    let error = list::read(&[], None, 0).unwrap_err().to_string();
    assert!(
        error.contains("[sampling] faults has no faults in it"),
        "{error}"
    );
}

/// 100,000 draws from a space of the size of a real program's.
#[test]
fn a_hundred_thousand_draws_take_moments() {
    let code: Vec<(u64, &[u8], u64, &str)> = (0..50_000)
        .map(|number| {
            let (_, bytes, executions, symbol) = LOOP[number % LOOP.len()];
            (
                0x1000 + 16 * number as u64,
                bytes,
                executions * (1 + number as u64 * 7919 % 100_000),
                symbol,
            )
        })
        .collect();
    let begin = std::time::Instant::now();
    let sample = drawn(
        "registers = [\"all\"]\ninstruction = [\"wreg\", \"rval\", \"text\"]",
        "[sampling]\nsize = 100000",
        &code,
    );
    assert_eq!(sample.faults.len(), 100_000);
    let took = begin.elapsed().as_secs_f64();
    assert!(took < 20.0, "{took} s");
}
