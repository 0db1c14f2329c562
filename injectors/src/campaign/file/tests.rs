//! Reading, refusing, and what is written is read again.
//!
//! - `wrong`: what is refused, and the sentences for it. `random`: files as someone may have written them.

mod random;
mod wrong;

use std::path::Path;

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
