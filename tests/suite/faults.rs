//! Faults of every kind, carried out on a program that shows all its registers and memory: `tests/faults/table.txt`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fits_injectors::drive::{self, Activated, DriveOptions, Driven};
use fits_injectors::fault::{Fault, ParseError, When};
use fits_injectors::resolve::{PlanOptions, plan};
use fits_stats::symbols::Names;
use fits_tracer::backend::Ended;
use fits_tracer::engine::{Engine, EngineOptions, HowEnded, Limits};
use fits_tracer::live::PtraceEngine;
use fits_tracer::process::{Command, CpuPlan, Environment, Stdio};
use libtest_mimic::{Failed, Trial};

use crate::guests::Guest;
use crate::{table, witness};

/// One engine at a time: a traced program is a matter of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// What is said of a fault whose moment never comes.
const NOT_REACHED: &str = "the moment of a fault never comes";

/// A row of the table.
#[derive(Clone, Debug)]
struct Row {
    /// One or more.
    faults: Vec<Fault>,
    /// Symbols of the instructions where they are expected.
    at: Vec<String>,
    /// The fields of the output that differ.
    difference: String,
    activated: String,
    end: String,
}

/// An engine by its name.
type Make = fn() -> Box<dyn Engine>;

fn engines() -> Vec<(&'static str, Make)> {
    vec![
        ("ptrace", || Box::new(PtraceEngine::default())),
        ("dbt", || Box::new(fits_dbt::runtime::TranslatorEngine)),
    ]
}

/// All rows under all engines.
pub(crate) fn trials() -> Result<Vec<Trial>, String> {
    let rows = table::rows::<5>(&table::tests_folder().join("faults/table.txt"))?;
    let all = engines()
        .into_iter()
        .flat_map(|(name, make)| product(name, make));
    let mut trials: Vec<Trial> = all.collect();
    trials.extend(
        engines()
            .into_iter()
            .flat_map(|(name, make)| natively(name, make)),
    );
    for (name, make) in engines() {
        trials.extend(handled(name, make));
    }
    for [faults, at, difference, activated, end] in rows {
        let parse = |text: &str| text.parse::<Fault>().map_err(|error| error.to_string());
        let row = Row {
            faults: faults
                .split_whitespace()
                .map(parse)
                .collect::<Result<_, _>>()?,
            at: table::words(&at),
            difference,
            activated,
            end,
        };
        for (name, make) in engines() {
            let row = row.clone();
            let missing = needs_avx512(&row) && !std::arch::is_x86_feature_detected!("avx512f");
            let trial = Trial::test(format!("faults/{name}/{faults}"), move || {
                if missing {
                    println!("SKIPPED: this processor has no AVX-512");
                }
                check(&row, make).map_err(Failed::from)
            });
            trials.push(trial.with_ignored_flag(missing));
        }
    }
    Ok(trials)
}

/// Faults of memory without a window of steps: debug registers see the accesses. The rest as in the table.
const NATIVE: [(&str, &str, &str); 9] = [
    (
        "mem:table+0x60:0/permanent@t_again",
        "table12:0x1",
        "unknown",
    ),
    (
        "mem:table+0x60:stuck1:0/permanent@t_again",
        "table12:0x1",
        "unknown",
    ),
    (
        "mem:table+0x60:stuck0:0-15/permanent@t_again",
        "table12:0xa",
        "unknown",
    ),
    ("mem:table+0x18:3@t_rmw", "table3:0x8", "yes"),
    ("mem:table+0x8:3@t_load", "table1:0x8", "yes"),
    ("mem:table+0x20:0@t_load", "table4:0x1 table8:0x1", "yes"),
    ("mem:table+0x10:3@t_store", "", "no"),
    ("mem:table+0x40:byte3@t_movs", "", "no"),
    ("mem:table+0xa0:0@t_state", "table20:0x1", "unknown"),
];

fn natively(name: &'static str, make: Make) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (text, difference, activated) in NATIVE {
        trials.push(Trial::test(
            format!("faults/{name}/natively/{text}"),
            move || check_natively(text, make, difference, activated).map_err(Failed::from),
        ));
    }
    trials
}

fn check_natively(text: &str, make: Make, difference: &str, activated: &str) -> Result<(), String> {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let parsed = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    let row = Row {
        faults: vec![parsed],
        at: Vec::new(),
        difference: difference.to_owned(),
        activated: activated.to_owned(),
        end: "exit 0".to_owned(),
    };
    let program = build()?;
    let drive = DriveOptions {
        window: 0,
        ..DriveOptions::default()
    };
    let golden = golden(&program, make)?;
    let (driven, faulty) = run_so(&program, make, &row.faults, &drive)?;
    let found = describe(&program, &row, &driven, &golden, &faulty)?;
    let expected = format!("{difference} | {activated} | exit 0");
    if found
        .split_once(" | ")
        .is_some_and(|(_, rest)| rest == expected)
    {
        return Ok(());
    }
    Err(format!("expected {expected}\nfound    {found}"))
}

/// Wrong addresses that fault in a program with a handler (`tests/guests/fault_handler.c`), which checks what it sees: 7 when all was right.
const HANDLED: [&str; 6] = [
    "raddr:45@t_load",
    "raddr:62@t_load",
    "waddr:45@t_push",
    "raddr:45@t_movs",
    "waddr:45@t_movs",
    "rreg:rsi:45@t_load",
];

fn handled(name: &'static str, make: Make) -> Vec<Trial> {
    let trial = |text: &'static str| {
        Trial::test(format!("faults/{name}/handled/{text}"), move || {
            check_handled(text, make).map_err(Failed::from)
        })
    };
    HANDLED.into_iter().map(trial).collect()
}

fn check_handled(text: &str, make: Make) -> Result<(), String> {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let fault: Fault = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    // A source register stays wrong, which the handler sees.
    let stays = text.starts_with("rreg");
    let guest = Guest {
        name: "fault_handler".to_owned(),
        flags: vec!["-O1".to_owned()],
        variant: "static".to_owned(),
    };
    let (driven, output) = run(&guest.build()?, make, &[fault], false)?;
    let expected = HowEnded::Ended(Ended::Exited(if stays { 1 } else { 7 }));
    if driven.end.how == expected && driven.invalid().is_none() {
        return Ok(());
    }
    let output = String::from_utf8_lossy(&output).into_owned();
    Err(format!(
        "{:?}, {:?}: {output}",
        driven.end.how, driven.injections
    ))
}

/// Locations whose every operation and duration is tried at `t_state`, where nothing but the writing down of the state follows: name of the
/// location, field of the output, bit 0 of the location in the field, bits.
const PRODUCT: [(&str, &str, usize, usize); 20] = [
    ("reg:r12", "r12", 0, 64),
    ("reg:r13d", "r13", 0, 32),
    ("reg:r14w", "r14", 0, 16),
    ("reg:r15b", "r15", 0, 8),
    ("reg:bh", "rbx", 8, 8),
    ("reg:rbp", "rbp", 0, 64),
    ("reg:zf", "rflags", 6, 1),
    ("reg:of", "rflags", 11, 1),
    ("reg:gs_base", "gs_base", 0, 40),
    ("reg:mxcsr", "mxcsr", 0, 16),
    ("reg:st0", "st0", 0, 80),
    ("reg:st7", "st7", 0, 80),
    ("reg:xmm3", "zmm3", 0, 128),
    ("reg:ymm15", "zmm15", 0, 256),
    ("reg:zmm5", "zmm5", 0, 512),
    ("reg:zmm31", "zmm31", 0, 512),
    ("reg:k5", "k5", 0, 64),
    ("mem:table+0x8", "table1", 0, 64),
    ("mem:table+0xb", "table1", 24, 40),
    ("mem:sp+0x8", "stack17", 0, 64),
];

/// Operations with masks as far as the location goes, each with what it makes of a bit: its old value, its place in the location.
type Operation = (String, fn(bool, usize, usize) -> Option<bool>);

fn operations(width: usize) -> Vec<Operation> {
    let last = width - 1;
    let half = width / 2;
    if width == 1 {
        return vec![
            (String::new(), |old, _, _| Some(!old)),
            (":stuck0".to_owned(), |_, _, _| Some(false)),
            (":stuck1".to_owned(), |_, _, _| Some(true)),
            (":set=0x1".to_owned(), |_, _, _| Some(true)),
            (":xor=0x1".to_owned(), |old, _, _| Some(!old)),
            (":random".to_owned(), |_, _, _| None),
        ];
    }
    vec![
        (format!(":{last}"), |old, bit, width| {
            Some(old ^ (bit == width - 1))
        }),
        (format!(":0,{half},{last}"), |old, bit, width| {
            Some(old ^ (bit == 0 || bit == width / 2 || bit == width - 1))
        }),
        (":2-5".to_owned(), |old, bit, _| {
            Some(old ^ (2..6).contains(&bit))
        }),
        (format!(":{}-{last}", width - 8), |old, bit, width| {
            Some(old ^ (bit >= width - 8))
        }),
        (format!(":stuck0:0-{last}"), |_, _, _| Some(false)),
        (":stuck1:byte0".to_owned(), |old, bit, _| {
            Some(old || bit < 8)
        }),
        (":set=0x5:1-4".to_owned(), |old, bit, _| match bit {
            1 | 3 => Some(true),
            2 | 4 => Some(false),
            _ => Some(old),
        }),
        (":xor=0x81".to_owned(), |old, bit, _| {
            Some(old ^ (bit == 0 || bit == 7))
        }),
        (":random:0-7".to_owned(), |old, bit, _| {
            (bit > 7).then_some(old)
        }),
    ]
}

const DURATIONS: [&str; 4] = ["", "/5", "/2of3", "/permanent"];

/// Every location of the state × every operation × every duration.
fn product(name: &'static str, make: Make) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (location, field, offset, width) in PRODUCT {
        for (operation, bit) in operations(width) {
            for duration in DURATIONS {
                let text = format!("{location}{operation}{duration}@t_state");
                let missing = location.contains("zmm") || location.contains("reg:k");
                let missing = missing && !std::arch::is_x86_feature_detected!("avx512bw");
                let title = format!("faults/{name}/all/{text}");
                let trial = Trial::test(title, move || {
                    let expected = |old: bool, place: usize| match place.checked_sub(offset) {
                        Some(inside) if inside < width => bit(old, inside, width),
                        _ => Some(old),
                    };
                    check_state(&text, make, field, &expected).map_err(Failed::from)
                });
                trials.push(trial.with_ignored_flag(missing));
            }
        }
    }
    trials
}

/// The output differs in that field only, and there in the way that `expected` says of each bit (`None`: either).
fn check_state(
    text: &str,
    make: Make,
    field: &str,
    expected: &dyn Fn(bool, usize) -> Option<bool>,
) -> Result<(), String> {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let fault: Fault = text
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    let program = build()?;
    let golden = golden(&program, make)?;
    let (driven, faulty) = run(&program, make, &[fault], false)?;
    if let Some(sentence) = driven.invalid() {
        return Err(sentence.to_owned());
    }
    if driven.end.how != HowEnded::Ended(Ended::Exited(0)) {
        return Err(format!("it ended with {:?}", driven.end.how));
    }
    let difference = witness::difference(&golden, &faulty);
    let others = difference.split(' ').filter(|part| !part.is_empty());
    if let Some(other) = others
        .into_iter()
        .find(|part| !part.starts_with(&format!("{field}:")))
    {
        return Err(format!("{other} differs too"));
    }
    let old = witness::field(&golden, field)?;
    let new = witness::field(&faulty, field)?;
    for place in 0..8 * old.len() {
        let bit = |bytes: &[u8]| bytes[place / 8] >> (place % 8) & 1 == 1;
        let wanted = expected(bit(&old), place).unwrap_or(bit(&new));
        if bit(&new) != wanted {
            return Err(format!("bit {place} of {field} is {}", bit(&new)));
        }
    }
    let changed = driven
        .injections
        .iter()
        .any(|injection| injection.times > 0);
    // What lasts may change more after the output was filled.
    if old != new && !changed {
        return Err("it does not say that it changed anything".to_owned());
    }
    Ok(())
}

/// Rows about its registers, and those whose moment is drawn from as many instructions as the program has with it.
fn needs_avx512(row: &Row) -> bool {
    let wide = |fault: &Fault| {
        let text = fault.to_string();
        ["zmm", "reg:k", "mm16", "mm31", "@random"]
            .iter()
            .any(|part| text.contains(part))
    };
    row.faults.iter().any(wide)
}

fn check(row: &Row, make: Make) -> Result<(), String> {
    let _alone = ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let program = build()?;
    let (driven, faulty) = match run(&program, make, &row.faults, false) {
        Err(sentence) if sentence == NOT_REACHED && row.end == "not reached" => return Ok(()),
        other => other?,
    };
    let golden = golden(&program, make)?;
    let found = describe(&program, row, &driven, &golden, &faulty)?;
    let expected = format!(
        "at {} | {} | {} | {}",
        row.at.join(" "),
        row.difference,
        row.activated,
        row.end
    );
    if found != expected {
        return Err(format!(
            "expected {expected}\nfound    {found}\n{:#?}",
            driven.injections
        ));
    }
    replay(&program, make, row, &driven, &faulty)
}

/// The output without a fault; the same for all faults, so it is found out once for each engine.
fn golden(program: &Path, make: Make) -> Result<Vec<u8>, String> {
    static KNOWN: Mutex<Vec<(&str, Vec<u8>)>> = Mutex::new(Vec::new());
    let mut known = KNOWN
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let name = make().name();
    if let Some((_, output)) = known.iter().find(|(known, _)| *known == name) {
        return Ok(output.clone());
    }
    let output = dry_run(program, make)?;
    known.push((name, output.clone()));
    Ok(output)
}

/// Everything is done but the change itself.
fn dry_run(program: &Path, make: Make) -> Result<Vec<u8>, String> {
    let fault = "reg:rsp:all@t_state"
        .parse()
        .map_err(|error: ParseError| error.to_string())?;
    let (dry, output) = run(program, make, &[fault], true)?;
    let changed = dry.injections.iter().any(|injection| injection.times > 0);
    if changed || dry.end.how != HowEnded::Ended(Ended::Exited(0)) {
        return Err(format!("without a change it ends so: {dry:#?}"));
    }
    Ok(output)
}

/// What happened, in the form of the table.
fn describe(
    program: &Path,
    row: &Row,
    driven: &Driven,
    golden: &[u8],
    faulty: &[u8],
) -> Result<String, String> {
    let names = Names::load(program).ok_or("the guest is no ELF file")?;
    let symbol = |pc: u64| {
        let expected = row
            .at
            .iter()
            .find(|name| names.find(name).is_some_and(|found| found.address == pc));
        expected.cloned().unwrap_or_else(|| format!("{pc:#x}"))
    };
    let at: Vec<String> = driven
        .injections
        .iter()
        .map(|injection| symbol(injection.pc))
        .collect();
    let end = match (driven.invalid(), driven.end.how) {
        (Some(sentence), _) => format!("invalid: {sentence}"),
        (None, HowEnded::Ended(Ended::Exited(status))) => format!("exit {status}"),
        (None, HowEnded::Ended(Ended::Signaled { signal, .. })) => format!("signal {signal}"),
        (None, other) => format!("{other:?}"),
    };
    let difference = match driven.end.how {
        HowEnded::Ended(Ended::Exited(0)) => witness::difference(golden, faulty),
        _ => String::new(),
    };
    let activated = match driven.activated {
        Activated::Yes => "yes",
        Activated::No => "no",
        Activated::Unknown => "unknown",
    };
    Ok(format!(
        "at {} | {difference} | {activated} | {end}",
        at.join(" ")
    ))
}

/// The concrete faults do the same.
fn replay(
    program: &Path,
    make: Make,
    row: &Row,
    driven: &Driven,
    faulty: &[u8],
) -> Result<(), String> {
    if driven.invalid().is_some() {
        return Ok(());
    }
    let concrete: Vec<Fault> = driven
        .injections
        .iter()
        .map(|injection| injection.concrete.clone())
        .collect();
    if concrete == row.faults {
        return Ok(());
    }
    let (again, output) = run(program, make, &concrete, false)?;
    let same = again.end.how == driven.end.how && output == faulty;
    let masks = |driven: &Driven| -> Vec<Vec<u8>> {
        driven
            .injections
            .iter()
            .map(|injection| injection.mask.clone())
            .collect()
    };
    if same && masks(&again) == masks(driven) {
        return Ok(());
    }
    Err(format!(
        "the replay {concrete:?} did something else: {again:#?}"
    ))
}

fn build() -> Result<PathBuf, String> {
    let mut flags = vec!["-nostdlib".to_owned(), "-no-pie".to_owned()];
    if std::arch::is_x86_feature_detected!("avx512bw") {
        flags.push("-DAVX512".to_owned());
    }
    let guest = Guest {
        name: "fault_witness".to_owned(),
        flags,
        variant: "static".to_owned(),
    };
    guest.build()
}

fn run(
    program: &Path,
    make: Make,
    faults: &[Fault],
    dry_run: bool,
) -> Result<(Driven, Vec<u8>), String> {
    let drive = DriveOptions {
        dry_run,
        instructions: Some(1_000_000),
        ..DriveOptions::default()
    };
    run_so(program, make, faults, &drive)
}

fn run_so(
    program: &Path,
    make: Make,
    faults: &[Fault],
    drive: &DriveOptions,
) -> Result<(Driven, Vec<u8>), String> {
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    let options = EngineOptions {
        environment: Environment::Controlled,
        cpus: CpuPlan::new(),
        limits: Limits {
            cpu_seconds: Some(10.0),
            wall_seconds: Some(60.0),
        },
    };
    let command = || -> Result<Command, String> {
        let output = fs::File::create(file.path()).map_err(|error| error.to_string())?;
        Ok(Command::new(program).stdio(1, Stdio::File(output.into())))
    };
    let mut engine = make();
    // The translator does not search for accesses.
    let searched = faults
        .iter()
        .any(|fault| matches!(fault.trigger.when, When::Access { .. }));
    let mut planner = if searched {
        Box::new(PtraceEngine::default()) as Box<dyn Engine>
    } else {
        make()
    };
    let planned = plan(
        planner.as_mut(),
        &command()?,
        &options,
        faults,
        &PlanOptions::default(),
    );
    let planned = planned.map_err(|error| error.to_string())?;
    let planned: Option<Vec<_>> = planned.into_iter().collect();
    let planned = planned.ok_or(NOT_REACHED)?;
    let driven = drive::run(engine.as_mut(), &command()?, &options, &planned, drive);
    let driven = driven.map_err(|error| error.to_string())?;
    let output = fs::read(file.path()).map_err(|error| error.to_string())?;
    Ok((driven, output))
}
