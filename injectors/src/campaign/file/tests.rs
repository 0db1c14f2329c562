//! Reading, refusing, and what is written is read again.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::experiment::outcome::Outcome;

const FOLDER: &str = "/home/user/study";

fn read(text: &str) -> Result<Campaign, String> {
    Campaign::parse(text, Path::new(FOLDER)).map_err(|error| error.to_string())
}

fn refused(text: &str) -> String {
    match read(text) {
        Ok(campaign) => panic!("not refused:\n{text}\n{campaign:?}"),
        Err(sentence) => sentence,
    }
}

/// A program and a space, so that only what is added can be wrong.
fn with(rest: &str) -> String {
    let space = if rest.contains("[space") || rest.contains("\"list\"") {
        ""
    } else {
        "[space]\nregisters = [\"rax\"]\n"
    };
    format!("program = \"sort\"\n{rest}\n{space}")
}

#[test]
fn the_template_is_read_and_says_the_defaults() {
    let campaign = read(template()).unwrap();
    assert_eq!(campaign.program, "/home/user/study/program");
    assert_eq!(campaign.working_directory, Path::new(FOLDER));
    let Sampling::Uniform { size } = campaign.sampling else {
        panic!("{:?}", campaign.sampling);
    };
    assert_eq!(size, Size::Number(1068));
}

/// With all its examples in force but those that contradict others.
#[test]
fn every_example_of_the_template_is_valid() {
    let mut seen = Vec::new();
    for line in template().lines() {
        let Some(example) = line.strip_prefix("# ").filter(|rest| {
            let key = rest.split(" = ").next().unwrap_or_default();
            rest.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        }) else {
            continue;
        };
        let (before, _) = template().split_once(line).unwrap();
        let table = before.lines().rev().find(|line| line.starts_with('['));
        let table = table.unwrap_or_default();
        // Some need another field beside them, some stand in the place of another one.
        let (above, space) = match example.split(" = ").next().unwrap_or_default() {
            "single-step" => ("backend = \"ptrace\"", true),
            "validate-pruning" => ("pruning = \"def-use\"", true),
            "population" | "memory" | "instruction" | "faults" | "file" => ("", false),
            _ => ("", true),
        };
        let kind = match example.split(" = ").next().unwrap_or_default() {
            "by" => "kind = \"stratified\"\n",
            "limit" => "kind = \"exhaustive\"\n",
            "faults" | "file" => "kind = \"list\"\n",
            _ => "",
        };
        let mut tables = std::collections::BTreeMap::new();
        if space {
            tables.insert("[space]", "registers = [\"rax\"]\n".to_owned());
        }
        *tables.entry(table).or_default() += &format!("{kind}{example}\n");
        let tables: Vec<_> = tables
            .iter()
            .map(|(name, lines)| format!("{name}\n{lines}"))
            .collect();
        let text = format!("program = \"p\"\n{above}\n{}", tables.concat());
        if let Err(sentence) = read(&text) {
            panic!("{example}: {sentence}\n{text}");
        }
        seen.push(example);
    }
    assert!(seen.len() > 40, "{}: {seen:?}", seen.len());
}

#[test]
fn paths_begin_at_the_folder_of_the_file() {
    let text =
        with("stdin = \"in/a.txt\"\nwritable = [\"./w\", \"/srv\"]\nworking-directory = \"run\"");
    let campaign = read(&text).unwrap();
    assert_eq!(campaign.program, "sort");
    assert_eq!(
        campaign.stdin.unwrap(),
        Path::new("/home/user/study/in/a.txt")
    );
    let writable: Vec<_> = campaign
        .writable
        .iter()
        .map(|path| path.to_str().unwrap())
        .collect();
    assert_eq!(writable, ["/home/user/study/w", "/srv"]);
    assert_eq!(
        campaign.working_directory,
        Path::new("/home/user/study/run")
    );
}

#[test]
fn flags_take_the_place_of_fields_and_are_named() {
    let one = |table, key, flag, value| Override {
        table,
        key,
        flag,
        value,
    };
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(
        &path,
        "program = \"sort\"\nseed = 3\n[space]\nregisters = [\"raxx\"]\n",
    )
    .unwrap();
    let names = || Setting::Texts(vec!["rbx".to_owned()]);
    let read = |flags| Campaign::read(&path, flags);
    let campaign = read(vec![
        one("space", "registers", "--registers", names()),
        one("", "seed", "--seed", Setting::Integer(u64::MAX)),
        one(
            "space.region",
            "functions",
            "--function",
            Setting::Texts(vec!["main".to_owned()]),
        ),
    ])
    .unwrap();
    assert_eq!(campaign.seed, u64::MAX);
    assert_eq!(campaign.space.registers[0].to_string(), "rbx");
    assert_eq!(campaign.space.region.functions, ["main"]);
    let sentence = read(vec![
        one(
            "space",
            "registers",
            "--registers",
            Setting::Texts(vec!["rxb".to_owned()]),
        ),
        one("", "jobs", "--jobs", Setting::Integer(0)),
    ])
    .unwrap_err()
    .to_string();
    assert!(
        sentence.contains("--registers: 'rxb' is no register; did you mean"),
        "{sentence}"
    );
    assert!(sentence.contains("--jobs: 0 is out of range"), "{sentence}");
    let sentence = read(vec![one(
        "space",
        "population",
        "--population",
        Setting::Text("refine".to_owned()),
    )])
    .unwrap_err()
    .to_string();
    assert!(
        sentence.contains("c.toml:4: [space] registers: 'raxx'"),
        "{sentence}"
    );
    assert!(
        sentence.contains("--population: it contradicts [space] registers in line 4"),
        "{sentence}"
    );
    let campaign = Campaign::of_flags(vec![
        one("", "program", "PROG", Setting::Text("sort".to_owned())),
        one("space", "registers", "--registers", names()),
        one(
            "sampling",
            "size",
            "--margin",
            Setting::Table(vec![("margin", "--margin", Setting::Float(0.01))]),
        ),
    ]);
    assert_eq!(
        campaign.unwrap().sampling.size(),
        Some(Size::Margin {
            margin: 0.01,
            confidence: 0.95
        })
    );
    let sentence = Campaign::of_flags(Vec::new()).unwrap_err().to_string();
    assert!(
        sentence.contains("program is missing: a path"),
        "{sentence}"
    );
}

/// What is wrong, and what the sentence must have in it.
const WRONG: &[(&str, &str)] = &[
    (
        "proggram = \"a\"",
        "line 2: proggram: there is no such field; did you mean program?; fields outside of the tables are arguments, backend,",
    ),
    (
        "arguments = \"a\"",
        "line 2: arguments: it must be a list in brackets, not a text",
    ),
    (
        "arguments = [1]",
        "line 2: arguments: it must be a text in quotes, not a whole number",
    ),
    (
        "arguments = [\n\"a\",\n2]",
        "line 4: arguments: it must be a text in quotes",
    ),
    (
        "stdin = 3",
        "line 2: stdin: it must be a text in quotes, not a whole number",
    ),
    ("stdin = \"\"", "line 2: stdin: a path is missing"),
    (
        "working-directory = []",
        "line 2: working-directory: it must be a text in quotes, not a list",
    ),
    (
        "raw-environment = \"yes\"",
        "line 2: raw-environment: it must be true or false, not a text",
    ),
    (
        "raw-environment = true",
        "line 2: raw-environment: addresses are others in every run",
    ),
    (
        "writable = [true]",
        "line 2: writable: it must be a text in quotes, not true or false",
    ),
    (
        "backend = \"dtb\"",
        "line 2: backend: 'dtb' is none of dbt, ptrace; did you mean dbt?",
    ),
    (
        "single-step = true",
        "line 2: single-step: it goes with backend = \"ptrace\" only",
    ),
    (
        "isolate = \"maybe\"",
        "line 2: isolate: 'maybe' is none of auto, on, off",
    ),
    (
        "window = -1",
        "line 2: window: -1 is out of range: it must be a whole number of at least 0",
    ),
    ("trace = 0", "line 2: trace: 0 is out of range"),
    (
        "seed = 1.5",
        "line 2: seed: it must be a whole number of at least 0, not a number with a fraction",
    ),
    (
        "seed = 99999999999999999999",
        "line 2: seed: 99999999999999999999 is out of range",
    ),
    (
        "jobs = 0",
        "line 2: jobs: 0 is out of range: it must be a whole number from 1 to 4096",
    ),
    (
        "start = \"warm\"",
        "line 2: start: 'warm' is none of auto, fresh, checkpoint",
    ),
    (
        "pruning = \"defuse\"",
        "line 2: pruning: 'defuse' is none of off, def-use; did you mean def-use?",
    ),
    (
        "validate-pruning = 3",
        "line 2: validate-pruning: it goes with pruning = \"def-use\" only",
    ),
    ("shard = \"3/2\"", "line 2: shard: '3/2' is no part"),
    ("shard = 3", "line 2: shard: it must be a text in quotes"),
    ("seed = 1\nseed = 2", "line 3: duplicate key"),
    ("seed = ", "line 2: "),
    (
        "golden = 3",
        "line 2: golden: it must be a table, not a whole number",
    ),
    (
        "[golden]\nlevel = \"all\"",
        "line 3: [golden] level: 'all' is none of counts, full",
    ),
    (
        "[golden]\nfolder = \"g\"\nlevel = \"full\"",
        "line 4: [golden] level: it contradicts [golden] folder in line 3",
    ),
    (
        "[golden]\nfolders = \"g\"",
        "line 3: [golden] folders: there is no such field; did you mean folder?; fields in [golden] are folder, level",
    ),
    (
        "[space]\nregisters = [\"raxx\"]",
        "line 3: [space] registers: 'raxx' is no register; did you mean ",
    ),
    (
        "[space]\nregisters = [\"generel\"]",
        "did you mean general?",
    ),
    (
        "[space]\nregisters = [\"rax\", \"rax\"]",
        "line 3: [space] registers: entry 2 is the same as an earlier one",
    ),
    (
        "[space]\nregisters = [\"all\", \"rax\"]",
        "line 3: [space] registers: all is all of them already",
    ),
    (
        "[space]\n",
        "line 2: [space]: it must say what is changed: registers",
    ),
    (
        "[space]\nmemory = [\"heap,bytes=3\"]",
        "line 3: [space] memory: 'heap,bytes=3': of a region",
    ),
    (
        "[space]\nmemory = [\"counter,bytes=0\"]",
        "bytes must be a number from 1 to",
    ),
    (
        "[space]\nmemory = [\"4096\"]",
        "line 3: [space] memory: '4096' is no address",
    ),
    (
        "[space]\nmemory = [\"a:b\"]",
        "line 3: [space] memory: 'a:b' is no memory: heap, stack, data",
    ),
    (
        "[space]\nmemory = [\"heap\"]\nregisters = [\"rax\"]",
        "line 4: [space] registers: it contradicts [space] memory in line 3: how large",
    ),
    (
        "[space]\nmemory = [\"heap\", \"sp+8\"]",
        "line 3: [space] memory: regions (heap, stack, data) and places",
    ),
    (
        "[space]\ninstruction = [\"wregs\"]",
        "line 3: [space] instruction: 'wregs' is none of rreg, wreg, rval, wval, raddr, waddr, text, cf, cf:target, skip; did you mean",
    ),
    (
        "[space]\ninstruction = [\"rval:rax\"]",
        "only rreg and wreg take a register",
    ),
    (
        "[space]\ninstruction = [\"wreg:foo\"]",
        "'foo' is no register",
    ),
    (
        "[space]\ninstruction = [\"skip\"]\nmasks = [\"byte\"]",
        "line 4: [space] masks: it contradicts [space] instruction in line 3",
    ),
    (
        "[space]\ninstruction = [\"skip\"]\ndurations = [\"permanent\"]",
        "line 4: [space] durations: it contradicts [space] instruction in line 3: skip cannot be permanent",
    ),
    (
        "[space]\npopulation = \"refined\"",
        "line 3: [space] population: 'refined' is none of refine; did you mean refine?",
    ),
    (
        "[space]\npopulation = \"refine\"\nmasks = [\"bit\"]",
        "line 4: [space] masks: it contradicts [space] population in line 3: a population with a name",
    ),
    (
        "[space]\nregisters = [\"rax\"]\noperations = [\"flop\"]",
        "line 4: [space] operations: 'flop' is no operation; did you mean flip?; choices are flip, stuck0",
    ),
    (
        "[space]\nregisters = [\"rax\"]\noperations = [\"set=0x7\"]",
        "line 4: [space] operations: set=0x7 needs masks of at least 3 bits",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nmasks = [\"bites=2\"]",
        "line 4: [space] masks: 'bites=2' is no mask; choices are bit, byte, all, burst=N",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nmasks = [\"burst=65\"]",
        "the number of bits must be from 2 to 64",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nmasks = [\"burst=4\"]\nbits = \"0-2\"",
        "line 5: [space] bits: it contradicts [space] masks in line 4: burst=4 does not fit into bits 0 to 2",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nbits = \"7-3\"",
        "line 4: [space] bits: '7-3' are no bits",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nbits = 512",
        "line 4: [space] bits: 512 is out of range",
    ),
    (
        "[space]\nregisters = [\"rax\"]\ndurations = [\"soon\"]",
        "line 4: [space] durations: 'soon' is no duration; choices are transient",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nrestrict = \"used\"",
        "line 4: [space] restrict: 'used' is none of any, written, live",
    ),
    (
        "[space]\nmemory = [\"sp+8\"]\nrestrict = \"live\"",
        "line 4: [space] restrict: it says which of the registers count",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nthreads = [-1]",
        "line 4: [space] threads: -1 is out of range",
    ),
    (
        "[space]\nregisters = [\"rax\"]\nindices = \"9-3\"",
        "line 4: [space] indices: '9-3' are no indices: FIRST-LAST",
    ),
    (
        "[space]\nregisters = [\"rax\"]\n[space.region]\naddresses = [\"0x10-0x10\"]",
        "line 5: [space.region] addresses: '0x10-0x10' is no address range",
    ),
    (
        "[space]\nregisters = [\"rax\"]\n[space.region]\nlines = [\"a.c:x\"]",
        "line 5: [space.region] lines: 'a.c:x' are no source lines",
    ),
    (
        "[space]\nregisters = [\"rax\"]\n[space.exclude]\nfunction = [\"x\"]",
        "line 5: [space.exclude] function: there is no such field; did you mean functions?; fields in [space.exclude] are addresses, functions, lines, modules, sections",
    ),
    (
        "[space]\nregisters = [\"rax\"]\n[space.exclude]\nfunctions = [\"\"]",
        "a name is missing",
    ),
    (
        "[sampling]\nkind = \"random\"",
        "line 3: [sampling] kind: 'random' is none of uniform, stratified, exhaustive, list",
    ),
    (
        "[sampling]\nkind = \"stratified\"",
        "line 2: [sampling] by is missing: function, opcode or register-class",
    ),
    (
        "[sampling]\nkind = \"stratified\"\nby = \"line\"",
        "line 4: [sampling] by: 'line' is none of function, opcode, register-class",
    ),
    (
        "[sampling]\nby = \"opcode\"",
        "line 3: [sampling] by: it does not go with kind = \"uniform\", which is the default,",
    ),
    (
        "[sampling]\nkind = \"exhaustive\"\nsize = 3",
        "line 4: [sampling] size: it does not go with kind = \"exhaustive\" (line 3)",
    ),
    (
        "[sampling]\nlimit = 3",
        "line 3: [sampling] limit: it does not go with",
    ),
    (
        "[sampling]\nsize = 0",
        "line 3: [sampling] size: 0 is out of range: it must be a whole number from 1 to 1000000000",
    ),
    (
        "[sampling]\nsize = \"many\"",
        "line 3: [sampling] size: it must be a whole number, { margin = 0.03",
    ),
    (
        "[sampling]\nsize = { margin = 1.0 }",
        "line 3: [sampling.size] margin: 1 is out of range: it must be a number above 0 and below 0.5",
    ),
    (
        "[sampling]\nsize = { margin = 0.1, confidence = 95 }",
        "[sampling.size] confidence: 95 is out of range: it must be a number above 0.5 and below 1",
    ),
    (
        "[sampling]\nsize = { margin = 0.1, until-width = 0.1 }",
        "[sampling.size] until-width: it does not go with margin",
    ),
    (
        "[sampling]\nsize = { margin = 0.1, maximum = 3 }",
        "[sampling.size] maximum: it goes with until-width only",
    ),
    (
        "[sampling]\nsize = { until-width = 0.1, outcome = \"sdcs\" }",
        "'sdcs' is none of masked, sdc, detected, crash, hang; did you mean sdc?",
    ),
    (
        "[sampling]\nsize = { width = 0.1 }",
        "margin (0.03) or until-width (0.02) is missing in it",
    ),
    (
        "[sampling]\nkind = \"list\"",
        "line 2: [sampling] faults is missing",
    ),
    (
        "[sampling]\nkind = \"list\"\nfaults = [\"reg:rox:3@5\"]",
        "line 4: [sampling] faults: fault 'reg:rox:3@5', column 5: unknown register 'rox'",
    ),
    (
        "[space]\nregisters = [\"rax\"]\n[sampling]\nkind = \"list\"\nfaults = [\"reg:rax:3@5\"]",
        "line 5: [sampling] kind: it contradicts [space] in line 2: a list of faults says everything",
    ),
    (
        "shard = \"1/2\"\n[sampling]\nsize = { until-width = 0.1 }",
        "line 4: [sampling] size: it contradicts shard in line 2",
    ),
    (
        "[limits]\nhang-factor = -1",
        "line 3: [limits] hang-factor: -1 is out of range: it must be a number from 0 to 1000000",
    ),
    (
        "[limits]\nhang-floor = \"1\"",
        "line 3: [limits] hang-floor: it must be a number from 0 to 1000000, not a text",
    ),
    ("[limits]\nhang-factor = nan", "out of range"),
    (
        "[limits]\nhang-instructions = 0",
        "line 3: [limits] hang-instructions: 0 is out of range",
    ),
    (
        "[limits]\nmax-processes = 0",
        "line 3: [limits] max-processes: 0 is out of range",
    ),
    (
        "[limits]\nmax-memory = true",
        "line 3: [limits] max-memory: it must be a whole number",
    ),
    (
        "[limits]\nmax-file = 1979-05-27",
        "line 3: [limits] max-file: it must be a whole number from 1 to 1099511627776, not a date",
    ),
    (
        "[limits]\nmax-disk = {}",
        "line 3: [limits] max-disk: it must be a whole number from 1 to 1099511627776, not a table",
    ),
    (
        "[outcome]\ndetect-exit = [256]",
        "line 3: [outcome] detect-exit: 256 is out of range: it must be a whole number from 0 to 255",
    ),
    (
        "[outcome]\ndetect-output = [\"(\"]",
        "line 3: [outcome] detect-output: '(' is no regular expression",
    ),
    (
        "[outcome]\ndetect-symbol = 3",
        "line 3: [outcome] detect-symbol: it must be a text",
    ),
    (
        "[outcome]\ncompare = [\"cmp\"]",
        "line 3: [outcome] compare: it must be a text in quotes, not a list",
    ),
    (
        "[outcomes]\n",
        "line 2: outcomes: there is no such field; did you mean outcome?",
    ),
];

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, expected) in WRONG {
        let sentence = refused(&with(text));
        assert!(
            sentence.contains(expected),
            "{text}\n  {sentence}\n  lacks {expected}"
        );
    }
}

#[test]
fn all_that_is_wrong_is_said_at_once_in_the_order_of_the_lines() {
    let sentence = refused(
        "seed = -1\n[space]\nregisters = [\"raxx\", \"rax\", \"rbxx\"]\n[limits]\nmaxfile = 3\n",
    );
    let lines: Vec<_> = sentence
        .lines()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    assert_eq!(
        lines,
        ["program is missing", "line 1", "line 3", "line 3", "line 5"]
    );
}

/// Every key of every table, as the reader asks for it.
#[test]
fn every_field_is_in_the_template() {
    for key in [
        "program",
        "arguments",
        "stdin",
        "working-directory",
        "raw-environment",
        "writable",
        "isolate",
        "backend",
        "single-step",
        "window",
        "trace",
        "seed",
        "jobs",
        "start",
        "pruning",
        "validate-pruning",
        "shard",
        "level",
        "folder",
        "registers",
        "memory",
        "instruction",
        "population",
        "operations",
        "masks",
        "bits",
        "durations",
        "restrict",
        "threads",
        "indices",
        "functions",
        "addresses",
        "modules",
        "sections",
        "lines",
        "kind",
        "by",
        "size",
        "limit",
        "faults",
        "file",
        "hang-factor",
        "hang-floor",
        "hang-instructions",
        "max-processes",
        "max-memory",
        "max-file",
        "max-disk",
        "compare",
        "detect-exit",
        "detect-output",
        "detect-symbol",
    ] {
        let written = template().lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{key} = "))
        });
        assert!(written, "{key}");
    }
}

/// The document has every field, and its example is valid.
#[test]
fn the_document_has_every_field() {
    let document = include_str!("../../../../docs/campaign-file.md");
    let (_, rest) = document.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let campaign = read(example).unwrap();
    assert_eq!(campaign.space.exclude.functions, ["print_result"]);
    for line in template().lines() {
        let line = line.trim_start_matches("# ");
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        if !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
            assert!(document.contains(&format!("`{key}`")), "{key}");
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "[ -~äπ\"\\\\\n\t]{1,12}"
}

fn path() -> impl Strategy<Value = String> {
    "(/[a-zA-Z \"']{1,6}[a-z]){1,3}"
}

fn toml(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn pick(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::subsequence(words, 1..=words.len()).prop_map(|words| {
        let words: Vec<String> = words.into_iter().map(toml).collect();
        format!("[{}]", words.join(", "))
    })
}

/// A valid [space], as someone may have written it.
fn space() -> impl Strategy<Value = String> {
    let locations = prop_oneof![
        Just("population = \"refine\"".to_owned()),
        (pick(&["rax", "XMM3", "flags", "vector", "eax", "zf"]), pick(&["rreg", "wreg:general", "wreg:rax", "text", "cf", "raddr"])).prop_map(|(registers, parts)| format!("registers = {registers}\ninstruction = {parts}\nrestrict = \"written\"")),
        pick(&["heap", "stack", "data"]).prop_map(|regions| format!("memory = {regions}")),
        (pick(&["0x1000,bytes=16", "counter+8", "sp-0x10,bytes=4"]), pick(&["flip", "stuck1", "random"]), pick(&["bit", "byte", "burst=3", "bits=2", "all"]), 0u32..8)
            .prop_map(|(memory, operations, masks, first)| format!("memory = {memory}\noperations = {operations}\nmasks = {masks}\nbits = \"{first}-{}\"", first + 7)),
        pick(&["cf", "skip"]).prop_map(|parts| format!("instruction = {parts}\ndurations = [\"100\", \"10of1000\"]")),
    ];
    let region = (
        pick(&["main", "qsort_r", "_ZN4core"]),
        pick(&["a.c", "b.c:3", "src/b.c:3-7"]),
        1u64..,
        any::<bool>(),
    )
        .prop_map(|(functions, lines, start, both)| {
            let end = start.saturating_add(64).max(start);
            let range = if start < end {
                format!("addresses = [\"{start:#x}-{end:#x}\"]\n")
            } else {
                String::new()
            };
            let exclude = if both {
                format!("[space.exclude]\nlines = {lines}\nsections = [\".plt\"]\n")
            } else {
                String::new()
            };
            format!("[space.region]\nfunctions = {functions}\n{range}{exclude}")
        });
    (
        locations,
        prop::option::of(region),
        prop::option::of((0u64..1 << 40, 0u64..1 << 40)),
    )
        .prop_map(|(locations, region, indices)| {
            let indices = indices.map(|(a, b)| {
                format!(
                    "threads = [0, 3]\nindices = \"{}-{}\"\n",
                    a.min(b),
                    a.max(b)
                )
            });
            format!(
                "[space]\n{locations}\n{}{}",
                indices.unwrap_or_default(),
                region.unwrap_or_default()
            )
        })
}

fn sampling() -> impl Strategy<Value = String> {
    let size = prop_oneof![
        (1u64..1_000_000).prop_map(|number| number.to_string()),
        (0.001f64..0.4, 0.6f64..0.999).prop_map(|(margin, confidence)| format!(
            "{{ margin = {margin:?}, confidence = {confidence:?} }}"
        )),
        (0.001f64..0.4, 1u64..1000).prop_map(|(width, maximum)| format!(
            "{{ until-width = {width:?}, outcome = \"hang\", maximum = {maximum} }}"
        )),
    ];
    (size, 0..3).prop_map(|(size, by)| match by {
        0 => format!("[sampling]\nsize = {size}\n"),
        1 => format!("[sampling]\nkind = \"stratified\"\nby = \"opcode\"\nsize = {size}\n"),
        _ => "[sampling]\nkind = \"uniform\"\n".to_owned(),
    })
}

fn files() -> impl Strategy<Value = String> {
    let top = (
        text(),
        prop::collection::vec(text(), 0..3),
        prop::option::of(path()),
        any::<u64>(),
        1u64..100,
        any::<bool>(),
    );
    let rest = (
        prop::option::of((0.0f64..1e6, 1u64..1 << 40)),
        prop::option::of((any::<u8>(), text(), text())),
    );
    (top, space(), sampling(), rest).prop_map(|((program, arguments, stdin, seed, jobs, ptrace), space, sampling, (limits, outcome))| {
        let arguments: Vec<_> = arguments.iter().map(|text| toml(text)).collect();
        let mut file = format!("program = {}\narguments = [{}]\nseed = {seed}\njobs = {jobs}\n", toml(&program), arguments.join(","));
        if let Some(stdin) = stdin {
            file += &format!("stdin = {}\n", toml(&stdin));
        }
        if ptrace {
            file += "backend = \"ptrace\"\nsingle-step = true\nisolate = \"off\"\ntrace = 5\n";
        }
        file += &space;
        file += &sampling;
        if let Some((factor, disk)) = limits {
            file += &format!("[limits]\nhang-factor = {factor:?}\nmax-disk = {disk}\n");
        }
        if let Some((status, compare, symbol)) = outcome {
            file += &format!("[outcome]\ndetect-exit = [{status}]\ncompare = {}\ndetect-symbol = {}\ndetect-output = [\"a.b\"]\n", toml(&compare), toml(&symbol));
        }
        file
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_campaign(file in files()) {
        let campaign = match read(&file) {
            Ok(campaign) => campaign,
            Err(sentence) => panic!("{sentence}\n{file}"),
        };
        let written = campaign.to_toml();
        let again = match Campaign::parse(&written, Path::new("/elsewhere")) {
            Ok(again) => again,
            Err(error) => panic!("{error}\n{written}"),
        };
        prop_assert_eq!(&again, &campaign);
        prop_assert_eq!(again.to_toml(), written);
    }

    #[test]
    fn no_text_makes_it_fail_otherwise_than_with_a_sentence(junk in "[a-z\\[\\]={}\",.0-9 \n]{0,60}") {
        let _ = read(&junk);
        let _ = read(&format!("program = \"a\"\n[space]\nregisters = [\"rax\"]\n{junk}"));
    }
}

#[test]
fn lists_are_kept() {
    let text =
        with("[sampling]\nkind = \"list\"\nfaults = [\"reg:RAX:3@1000\"]\nfile = \"f.txt\"\n");
    let campaign = read(&text).unwrap();
    let again = read(&campaign.to_toml()).unwrap();
    assert_eq!(again, campaign);
    let Sampling::List { faults, file } = campaign.sampling else {
        panic!()
    };
    assert_eq!(faults, ["reg:rax:3@1000"]);
    assert_eq!(file.unwrap(), Path::new("/home/user/study/f.txt"));
    assert_eq!(Outcome::Sdc.name(), "sdc");
}
