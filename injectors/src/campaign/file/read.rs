//! From tables to a [`Campaign`]: one function for each table, every field checked by itself. What contradicts is found by [`check`](super::check).

use std::path::{Path, PathBuf};

use fits_stats::model::{Backend, Level};

use super::campaign::{
    Campaign, GoldenRun, Judging, Limits, Preset, Region, Sampling, Shard, Size, Space,
};
use super::choice::{
    Pruning, Restriction, Start, Words, parse_addresses, parse_bits, parse_duration,
    parse_operation,
};
use super::document::{Node, Origin, Value};
use super::reader::{Table, integer, text};
use crate::drive::WINDOW;
use crate::experiment::outcome::Outcome;
use crate::experiment::session::{Isolate, Patience};
use crate::fault::{Duration, Fault, Operation};

/// The most points that an exhaustive campaign without pruning takes, unless it says so itself.
pub(super) const EXHAUSTIVE_LIMIT: u64 = 1_000_000;
/// Margin and confidence without any other size: 1,068 faults of a large space.
pub(super) const USUAL_SIZE: Size = Size::Margin {
    margin: 0.03,
    confidence: 0.95,
};
/// The most experiments of a campaign that ends when it knows enough.
pub(super) const USUAL_MAXIMUM: u64 = 100_000;

/// The most faults that one campaign can have.
pub(super) const MOST_FAULTS: u64 = 1_000_000_000;

/// Where relative paths begin.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    /// Those of the file, and the working directory of the program without another one.
    pub(super) file: PathBuf,
    /// Those of flags.
    pub(super) current: PathBuf,
}

impl Folders {
    fn absolute(&self, path: &Path, origin: &Origin) -> PathBuf {
        let base = match origin {
            Origin::Flag(_) => &self.current,
            _ => &self.file,
        };
        // Without `.` and doubled slashes; `..` stays, since what is before it may be a link.
        base.join(path).components().collect()
    }

    fn path(&self, node: &Node) -> Result<PathBuf, String> {
        match text(node)? {
            "" => Err("a path is missing between the quotes".to_owned()),
            path => Ok(self.absolute(Path::new(path), &node.origin)),
        }
    }
}

impl Words for Isolate {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Auto, "auto"), (Self::On, "on"), (Self::Off, "off")];
}

impl Words for Backend {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Dbt, "dbt"), (Self::Ptrace, "ptrace")];
}

impl Words for Level {
    const WORDS: &'static [(Self, &'static str)] =
        &[(Self::Counts, "counts"), (Self::Full, "full")];
}

impl Words for Preset {
    const WORDS: &'static [(Self, &'static str)] = &[(Self::Refine, "refine")];
}

/// Outcomes whose share can be waited for.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Awaited(pub(super) Outcome);

impl Words for Awaited {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self(Outcome::Masked), "masked"),
        (Self(Outcome::Sdc), "sdc"),
        (Self(Outcome::Detected), "detected"),
        (Self(Outcome::Crash), "crash"),
        (Self(Outcome::Hang), "hang"),
    ];
}

/// What a run may use when nothing else is said.
pub(super) fn usual_limits() -> Limits {
    let patience = Patience::default();
    Limits {
        hang_factor: patience.factor,
        hang_floor: patience.cpu_seconds,
        hang_instructions: None,
        max_processes: None,
        max_memory: None,
        max_file: None,
        max_disk: None,
    }
}

/// Reads all of it. Where something is wrong, which is gathered, something harmless stands in its place.
pub(super) fn campaign(root: &Table<'_>, folders: &Folders) -> Campaign {
    let path = |node: &Node| folders.path(node);
    let program = root.get("program", |node| program(node, folders));
    if program.is_none() && root.origin_of("program").is_none() {
        root.missing(
            "program",
            "a path (\"./sort\"), or a name that is looked up in PATH",
        );
    }
    Campaign {
        program: program.unwrap_or_default(),
        arguments: root.texts("arguments"),
        stdin: root.get("stdin", path),
        working_directory: root
            .get("working-directory", path)
            .unwrap_or_else(|| folders.file.clone()),
        raw_environment: root.flag("raw-environment"),
        writable: root.list("writable", path),
        backend: root.word("backend").unwrap_or(Backend::Dbt),
        single_step: root.flag("single-step"),
        isolate: root.word("isolate").unwrap_or(Isolate::Auto),
        window: root.integer("window", 0, u64::MAX).unwrap_or(WINDOW),
        trace: root.integer("trace", 1, u64::MAX),
        seed: root.integer("seed", 0, u64::MAX).unwrap_or_default(),
        jobs: root.integer("jobs", 1, 4096),
        start: root.word("start").unwrap_or(Start::Auto),
        pruning: root.word("pruning").unwrap_or(Pruning::Off),
        validate_pruning: root
            .integer("validate-pruning", 0, MOST_FAULTS)
            .unwrap_or_default(),
        shard: root.get("shard", shard),
        golden: golden(root.table("golden", "golden"), folders),
        space: space(root.table("space", "space")),
        sampling: sampling(root.table("sampling", "sampling"), folders),
        limits: limits(root.table("limits", "limits")),
        judging: judging(root.table("outcome", "outcome")),
    }
}

fn program(node: &Node, folders: &Folders) -> Result<String, String> {
    let name = text(node)?;
    if name.is_empty() {
        return Err("the name of the program is empty".to_owned());
    }
    if !name.contains('/') {
        return Ok(name.to_owned());
    }
    let path = folders.absolute(Path::new(name), &node.origin);
    let path = path.into_os_string().into_string();
    path.map_err(|_| "its path is not valid UTF-8".to_owned())
}

fn shard(node: &Node) -> Result<Shard, String> {
    let text = text(node)?;
    let numbers = text
        .split_once('/')
        .and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((number, of)) if 1 <= number && number <= of => Ok(Shard { number, of }),
        _ => Err(format!(
            "'{text}' is no part: it must be NUMBER/OF, with NUMBER from 1 to OF (\"2/8\")"
        )),
    }
}

fn golden(table: Table<'_>, folders: &Folders) -> GoldenRun {
    let golden = GoldenRun {
        level: table.word("level").unwrap_or(Level::Counts),
        folder: table.get("folder", |node| folders.path(node)),
    };
    table.finish();
    golden
}

fn space(table: Table<'_>) -> Space {
    let or = |list: Vec<_>, usual| if list.is_empty() { vec![usual] } else { list };
    let operations: Vec<Operation> = table.words("operations", parse_operation);
    let durations: Vec<Duration> = table.words("durations", parse_duration);
    let masks = table.words("masks", str::parse);
    let space = Space {
        population: table.word("population"),
        registers: table.words("registers", str::parse),
        memory: table.words("memory", str::parse),
        instruction: table.words("instruction", str::parse),
        operations: if operations.is_empty() {
            vec![Operation::Flip]
        } else {
            operations
        },
        masks: or(masks, super::choice::MaskChoice::Bit),
        bits: table.get("bits", |node| match node.value {
            Value::Integer(_) => integer(node, 0, 511).map(|bit| (bit as u32, bit as u32)),
            _ => parse_bits(text(node)?),
        }),
        durations: if durations.is_empty() {
            vec![Duration::Transient]
        } else {
            durations
        },
        restrict: table.word("restrict").unwrap_or(Restriction::Any),
        threads: table.list("threads", |node| {
            integer(node, 0, u32::MAX.into()).map(|thread| thread as u32)
        }),
        indices: table.parsed("indices"),
        region: region(table.table("region", "space.region")),
        exclude: region(table.table("exclude", "space.exclude")),
    };
    table.finish();
    space
}

fn region(table: Table<'_>) -> Region {
    let named = |text: &str| match text {
        "" => Err("a name is missing between the quotes".to_owned()),
        name => Ok(name.to_owned()),
    };
    let region = Region {
        functions: table.words("functions", named),
        addresses: table.words("addresses", parse_addresses),
        modules: table.words("modules", named),
        sections: table.words("sections", named),
        lines: table.words("lines", str::parse),
    };
    table.finish();
    region
}

/// The ways of sampling, by their words.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Way {
    Uniform,
    Stratified,
    Exhaustive,
    List,
}

impl Words for Way {
    const WORDS: &'static [(Self, &'static str)] = &[
        (Self::Uniform, "uniform"),
        (Self::Stratified, "stratified"),
        (Self::Exhaustive, "exhaustive"),
        (Self::List, "list"),
    ];
}

fn sampling(table: Table<'_>, folders: &Folders) -> Sampling {
    let way = table.word("kind").unwrap_or(Way::Uniform);
    let size = size(&table).unwrap_or(USUAL_SIZE);
    let by = table.word("by");
    let limit = table.integer("limit", 1, MOST_FAULTS);
    let faults = table.list("faults", |node| {
        let fault: Fault = text(node)?
            .parse()
            .map_err(|error: crate::fault::ParseError| error.to_string())?;
        Ok(fault.to_string())
    });
    let file = table.get("file", |node| folders.path(node));
    for (key, fits) in [
        ("size", matches!(way, Way::Uniform | Way::Stratified)),
        ("by", way == Way::Stratified),
        ("limit", way == Way::Exhaustive),
        ("faults", way == Way::List),
        ("file", way == Way::List),
    ] {
        if let Some(origin) = table.origin_of(key)
            && !fits
        {
            let kind = match table.origin_of("kind") {
                Some(Origin::Line(line)) => format!("kind = \"{}\" (line {line})", way.word()),
                Some(Origin::Flag(flag)) => format!("{flag} {}", way.word()),
                _ => format!("kind = \"{}\", which is the default,", way.word()),
            };
            table.problem(key, origin, format!("it does not go with {kind}"));
        }
    }
    let sampling = match way {
        Way::Uniform => Sampling::Uniform { size },
        Way::Stratified => {
            if by.is_none() && table.origin_of("by").is_none() {
                table.missing("by", "function, opcode or register-class");
            }
            Sampling::Stratified {
                by: by.unwrap_or(super::choice::Stratum::Function),
                size,
            }
        }
        Way::Exhaustive => Sampling::Exhaustive {
            limit: limit.unwrap_or(EXHAUSTIVE_LIMIT),
        },
        Way::List => {
            if table.origin_of("faults").is_none() && table.origin_of("file").is_none() {
                table.missing(
                    "faults",
                    "a list of faults (\"reg:rax:3@1000\"), or file with the path of one",
                );
            }
            Sampling::List { faults, file }
        }
    };
    table.finish();
    sampling
}

fn size(table: &Table<'_>) -> Option<Size> {
    let node = table.node("size")?;
    let inner = match &node.value {
        Value::Integer(_) => {
            let number = table.get("size", |node| integer(node, 1, MOST_FAULTS));
            return number.map(Size::Number);
        }
        _ => table.inner("sampling.size", node),
    };
    let Some(inner) = inner else {
        let sentence = format!(
            "it must be a whole number, {{ margin = 0.03, confidence = 0.95 }} or {{ until-width = 0.02, outcome = \"sdc\" }}, not {}",
            node.value.kind()
        );
        table.problem("size", &node.origin, sentence);
        return None;
    };
    let margin = inner.number("margin", 0.0, 0.5, false);
    let width = inner.number("until-width", 0.0, 1.0, false);
    let confidence = inner.number("confidence", 0.5, 1.0, false).unwrap_or(0.95);
    let outcome = inner
        .word("outcome")
        .map_or(Outcome::Sdc, |Awaited(outcome)| outcome);
    let maximum = inner.integer("maximum", 1, MOST_FAULTS);
    let (has_margin, has_width) = (
        inner.origin_of("margin").is_some(),
        inner.origin_of("until-width").is_some(),
    );
    if has_margin && has_width {
        let origin = inner.origin_of("until-width").unwrap_or(&node.origin);
        inner.problem(
            "until-width",
            origin,
            "it does not go with margin: one says how many beforehand, the other when to stop"
                .to_owned(),
        );
    }
    for key in ["outcome", "maximum"] {
        if let Some(origin) = inner.origin_of(key)
            && !has_width
        {
            inner.problem(key, origin, "it goes with until-width only".to_owned());
        }
    }
    if !has_margin && !has_width {
        let sentence = "margin (0.03) or until-width (0.02) is missing in it".to_owned();
        table.problem("size", &node.origin, sentence);
    }
    inner.finish();
    Some(match (margin, width) {
        (_, Some(width)) => Size::UntilWidth {
            width,
            outcome,
            confidence,
            maximum: maximum.unwrap_or(USUAL_MAXIMUM),
        },
        (Some(margin), None) => Size::Margin { margin, confidence },
        (None, None) => USUAL_SIZE,
    })
}

fn limits(table: Table<'_>) -> Limits {
    const MOST: f64 = 1e6;
    const MOST_MEBIBYTES: u64 = 1 << 40;
    let usual = usual_limits();
    let limits = Limits {
        hang_factor: table
            .number("hang-factor", 0.0, MOST, true)
            .unwrap_or(usual.hang_factor),
        hang_floor: table
            .number("hang-floor", 0.0, MOST, true)
            .unwrap_or(usual.hang_floor),
        hang_instructions: table.integer("hang-instructions", 1, u64::MAX),
        max_processes: table.integer("max-processes", 1, u32::MAX.into()),
        max_memory: table.integer("max-memory", 1, MOST_MEBIBYTES),
        max_file: table.integer("max-file", 1, MOST_MEBIBYTES),
        max_disk: table.integer("max-disk", 1, MOST_MEBIBYTES),
    };
    table.finish();
    limits
}

fn judging(table: Table<'_>) -> Judging {
    let judging = Judging {
        compare: table.text("compare"),
        detect_exit: table.list("detect-exit", |node| {
            integer(node, 0, 255).map(|status| status as u8)
        }),
        detect_output: table.list("detect-output", |node| {
            let pattern = text(node)?;
            let compiled = regex::bytes::Regex::new(pattern);
            compiled.map_err(|error| {
                let lines: Vec<_> = error
                    .to_string()
                    .lines()
                    .map(|line| line.trim().to_owned())
                    .collect();
                format!("'{pattern}' is no regular expression: {}", lines.join(" "))
            })?;
            Ok(pattern.to_owned())
        }),
        detect_symbol: table.text("detect-symbol"),
    };
    table.finish();
    judging
}
