//! What is wrong in a campaign file is said, with its line.

use super::{refused, with};

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
