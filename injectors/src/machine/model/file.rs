//! Reads a model's file: every field, with the line of whatever is wrong.

use std::path::Path;

use super::distribution::{Bathtub, Times};
use super::dram::{Dram, Mode, Rates};
use super::ecc::Code;
use super::placeholder::{Choice, Template};
use super::{ErrorModel, Model};
use crate::campaign::file::Problem;
use crate::campaign::file::document::{self, Node, Value};
use crate::campaign::file::reader::{Gathered, Table, text};
use crate::machine::geometry::Geometry;

/// Largest number of seconds or hours that is believed.
const LONGEST: f64 = 1e18;

pub(super) fn parse(source: &str, folder: &Path) -> Result<Model, Vec<Problem>> {
    let entries = document::parse(source).map_err(|problem| vec![problem])?;
    let gathered = Gathered::default();
    let root = Table::root(&entries, &gathered);
    let seed = root.integer("seed", 0, u64::MAX).unwrap_or(0);
    let geometry = geometry(root.table("memory", "memory"));
    let dram = root.origin_of("dram").is_some().then(|| {
        let table = root.table("dram", "dram");
        dram(table)
    });
    let nodes = entries
        .iter()
        .find(|entry| entry.key == "error")
        .map(|entry| &entry.node);
    // Asked for, so that it is known.
    root.list("error", |_| Ok(()));
    let mut errors = Vec::new();
    if let Some(Value::List(nodes)) = nodes.map(|node| &node.value) {
        for node in nodes {
            match root.inner("error", node) {
                Some(table) => errors.extend(error(table, folder)),
                None => gathered.add(&node.origin, "error: it must be a table".to_owned()),
            }
        }
    }
    if errors.is_empty() && dram.is_none() {
        root.missing("[[error]] or [dram]", "a model says what goes wrong");
    }
    root.finish();
    let problems = gathered.sorted();
    if problems.is_empty() {
        Ok(Model {
            seed,
            geometry,
            errors,
            dram: dram.flatten(),
        })
    } else {
        Err(problems)
    }
}

fn power(node: &Node, most: u64) -> Result<u32, String> {
    let number = crate::campaign::file::reader::integer(node, 1, most)?;
    if number.is_power_of_two() {
        Ok(number.trailing_zeros())
    } else {
        Err(format!("{number} is no power of two"))
    }
}

fn geometry(table: Table<'_>) -> Geometry {
    let usual = Geometry::default();
    let geometry = Geometry {
        column_bits: table
            .get("columns", |node| power(node, 1 << 16))
            .unwrap_or(usual.column_bits),
        bank_bits: table
            .get("banks", |node| power(node, 32))
            .unwrap_or(usual.bank_bits),
        row_bits: table
            .get("rows", |node| power(node, 1 << 20))
            .unwrap_or(usual.row_bits),
        rank_bits: table
            .get("ranks", |node| power(node, 16))
            .unwrap_or(usual.rank_bits),
    };
    table.finish();
    geometry
}

fn dram(table: Table<'_>) -> Option<Dram> {
    let mut rates = table
        .get("rates", |node| match text(node)? {
            "field-2012" => Ok(Rates::FIELD_2012),
            "none" => Ok(Rates([[0.0; 2]; 7])),
            other => Err(format!(
                "'{other}' is no table of rates: field-2012, or none with [dram.fit]"
            )),
        })
        .unwrap_or(Rates::FIELD_2012);
    let fit = table.table("fit", "dram.fit");
    for (place, mode) in rates.0.iter_mut().zip(Mode::ALL) {
        if let Some(pair) = fit.get(mode.name(), pair) {
            *place = pair;
        }
    }
    fit.finish();
    if rates.total() <= 0.0 {
        table.missing("fit", "all rates are 0, so that nothing would ever happen");
    }
    let code = table
        .get("ecc", |node| match text(node)? {
            "none" => Ok(Code::None),
            "secded" => Ok(Code::Secded),
            "chipkill" => Ok(Code::ChipKill),
            other => Err(format!("'{other}' is no code: none, secded or chipkill")),
        })
        .unwrap_or(Code::None);
    let hours = table.number("hours_per_second", 0.0, LONGEST, false);
    if hours.is_none() && table.origin_of("hours_per_second").is_none() {
        table.missing(
            "hours_per_second",
            "how many hours in the field does a second of virtual time stand for?",
        );
    }
    let scrub = table.number("scrub_every", 0.0, LONGEST, false);
    table.finish();
    Some(Dram {
        rates,
        hours: hours?,
        code,
        scrub,
    })
}

fn pair(node: &Node) -> Result<[f64; 2], String> {
    let wrong = || "it must be two rates in FIT, transient and permanent: [14.2, 18.6]".to_owned();
    let Value::List(nodes) = &node.value else {
        return Err(wrong());
    };
    let numbers: Vec<f64> = nodes.iter().filter_map(float).collect();
    match numbers[..] {
        [transient, permanent] if transient >= 0.0 && permanent >= 0.0 && nodes.len() == 2 => {
            Ok([transient, permanent])
        }
        _ => Err(wrong()),
    }
}

fn float(node: &Node) -> Option<f64> {
    match node.value {
        Value::Integer(number) => Some(number as f64),
        Value::Float(number) if number.is_finite() => Some(number),
        _ => None,
    }
}

fn error(table: Table<'_>, folder: &Path) -> Option<ErrorModel> {
    let choices = table.get("draw", choices).unwrap_or_default();
    let fault = table.get("fault", |node| Template::new(text(node)?, choices.clone()));
    if table.origin_of("fault").is_none() {
        table.missing(
            "fault",
            "what happens? fault = \"mem:phys={address}:{bit}\"",
        );
    }
    let when = table.table("when", "error.when");
    let times = if table.origin_of("when").is_some() {
        times(&when, folder)
    } else {
        table.missing(
            "when",
            "when = { distribution = \"exponential\", mean = 0.5 }",
        );
        None
    };
    when.finish();
    let start = table.number("start", 0.0, LONGEST, true).unwrap_or(0.0);
    let end = table
        .number("end", 0.0, LONGEST, true)
        .unwrap_or(f64::INFINITY);
    let count = table.integer("count", 1, u64::MAX).unwrap_or(u64::MAX);
    table.finish();
    Some(ErrorModel {
        fault: fault?,
        times: times?,
        start,
        end,
        count,
    })
}

fn choices(node: &Node) -> Result<Vec<(String, Choice)>, String> {
    let Value::Table(entries) = &node.value else {
        return Err(format!(
            "it must be a table of what is drawn, not {}",
            node.value.kind()
        ));
    };
    entries
        .iter()
        .map(|entry| {
            let choice = match &entry.node.value {
                Value::Text(range) => Choice::range(range)?,
                Value::List(nodes) if !nodes.is_empty() => {
                    let words: Result<Vec<String>, String> = nodes
                        .iter()
                        .map(|node| text(node).map(str::to_owned))
                        .collect();
                    Choice::Words(words?)
                }
                other => {
                    return Err(format!(
                        "{} must be a range in quotes or a list of words, not {}",
                        entry.key,
                        other.kind()
                    ));
                }
            };
            Ok((entry.key.clone(), choice))
        })
        .collect()
}

const KINDS: &str = "exponential, weibull, log-normal, bathtub, bursts";

/// `at`, `every`, `trace`, or a distribution with its parameters.
fn times(when: &Table<'_>, folder: &Path) -> Option<Times> {
    let positive = |key: &'static str| {
        let value = when.number(key, 0.0, LONGEST, false);
        if when.origin_of(key).is_none() {
            when.missing(key, "a number above 0");
        }
        value
    };
    let at = when.get("at", |node| sorted(seconds(node)?));
    let every = when.number("every", 0.0, LONGEST, false);
    let trace = when.get("trace", |node| read_trace(&folder.join(text(node)?)));
    let kind = when.get("distribution", |node| text(node).map(str::to_owned));
    let written = ["at", "every", "trace", "distribution"]
        .into_iter()
        .filter(|key| when.origin_of(key).is_some());
    if written.count() != 1 {
        when.missing(
            "one of at, every, trace, distribution",
            "exactly one says when errors happen",
        );
        return None;
    }
    if let Some(times) = at.or(trace).map(Times::At) {
        return Some(times);
    }
    if let Some(interval) = every {
        return Some(Times::Every(interval));
    }
    Some(match kind?.as_str() {
        "exponential" => Times::Exponential {
            mean: positive("mean")?,
        },
        "weibull" => Times::Weibull {
            shape: positive("shape")?,
            scale: positive("scale")?,
        },
        "log-normal" => Times::LogNormal {
            mu: when.number("mu", -1000.0, 1000.0, true)?,
            sigma: positive("sigma")?,
        },
        "bathtub" => {
            let pair = |scale, shape| positive(scale).zip(positive(shape));
            Times::Bathtub(Bathtub {
                early: pair("early_scale", "early_shape")?,
                useful: positive("useful_mean")?,
                late: pair("late_scale", "late_shape")?,
            })
        }
        "bursts" => Times::Bursts {
            between: positive("between")?,
            size: when.number("size", 1.0, 1e9, true)?,
            within: positive("within")?,
        },
        other => {
            if let Some(origin) = when.origin_of("distribution") {
                let sentence = format!("'{other}' is no distribution: {KINDS}");
                when.problem("distribution", origin, sentence);
            }
            return None;
        }
    })
}

fn seconds(node: &Node) -> Result<Vec<f64>, String> {
    let wrong = || "it must be a list of seconds: [0.5, 1.25]".to_owned();
    let Value::List(nodes) = &node.value else {
        return Err(wrong());
    };
    let times: Vec<f64> = nodes.iter().filter_map(float).collect();
    if times.is_empty() || times.len() != nodes.len() {
        return Err(wrong());
    }
    Ok(times)
}

fn sorted(times: Vec<f64>) -> Result<Vec<f64>, String> {
    let fine = times.iter().all(|&time| (0.0..LONGEST).contains(&time)) && times.is_sorted();
    if fine {
        Ok(times)
    } else {
        Err("times are seconds from 0 on, in ascending order".to_owned())
    }
}

/// A file with a number of seconds on each line.
fn read_trace(path: &Path) -> Result<Vec<f64>, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let mut times = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let time = line.parse::<f64>().map_err(|_| {
            format!(
                "{}:{number}: '{line}' is no time in seconds",
                path.display()
            )
        })?;
        times.push(time);
    }
    sorted(times).map_err(|sentence| format!("{}: {sentence}", path.display()))
}
