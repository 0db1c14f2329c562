//! Faults with parts that are drawn: `mem:phys={address}:{bit}`.

use super::random::Random;
use crate::fault::{did_you_mean, nearest, parse::parse_number};
use crate::machine::MachineFault;

/// The text of a fault without its moment, and what its placeholders stand for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    text: String,
    choices: Vec<(String, Choice)>,
}

/// What a placeholder is drawn from, all alike.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Choice {
    /// Numbers, written as the first one was.
    Range {
        first: u64,
        last: u64,
        step: u64,
        hexadecimal: bool,
    },
    /// Words.
    Words(Vec<String>),
}

impl Choice {
    /// `0x1000-0x1fff`, `0-63`, `2048-4095/8` (every eighth).
    pub(super) fn range(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("'{text}' is no range: 0-63, 0x100000-0xfffffff, or with a step 0x0-0xfff/8")
        };
        let (range, step) = text.split_once('/').unwrap_or((text, "1"));
        let (first, last) = range.split_once('-').ok_or_else(wrong)?;
        let number = |text: &str| parse_number(text.trim()).ok_or_else(wrong);
        let (first_number, last_number, step) = (number(first)?, number(last)?, number(step)?);
        if first_number > last_number || step == 0 {
            return Err(wrong());
        }
        Ok(Choice::Range {
            first: first_number,
            last: last_number,
            step,
            hexadecimal: first.trim().starts_with("0x"),
        })
    }

    fn draw(&self, random: &mut Random) -> String {
        match self {
            Choice::Words(words) => words[random.below(words.len() as u64) as usize].clone(),
            Choice::Range {
                first,
                last,
                step,
                hexadecimal,
            } => {
                let count = (last - first) / step;
                let value = first + step * random.below(count.saturating_add(1));
                if *hexadecimal {
                    format!("{value:#x}")
                } else {
                    value.to_string()
                }
            }
        }
    }
}

impl Template {
    /// Checks that every placeholder has a choice and every choice a placeholder, and that what is drawn is a fault.
    pub(super) fn new(text: &str, choices: Vec<(String, Choice)>) -> Result<Self, String> {
        if text.contains('@') {
            return Err(
                "the moment is what 'when' says: leave out '@' and what follows".to_owned(),
            );
        }
        let names = || choices.iter().map(|(name, _)| name.as_str());
        for piece in text.split('{').skip(1) {
            let Some((name, _)) = piece.split_once('}') else {
                return Err("a '{' without '}'".to_owned());
            };
            if !names().any(|known| known == name) {
                return Err(format!(
                    "what is '{{{name}}}' drawn from? [error.draw] does not say{}",
                    did_you_mean(&nearest(name, names()))
                ));
            }
        }
        if let Some(unused) = names().find(|name| !text.contains(&format!("{{{name}}}"))) {
            return Err(format!("the fault has no '{{{unused}}}'"));
        }
        let template = Template {
            text: text.to_owned(),
            choices,
        };
        template.draw(0.0, &mut Random::new(0, 0))?;
        Ok(template)
    }

    /// A fault at a time in seconds.
    pub(super) fn draw(&self, time: f64, random: &mut Random) -> Result<MachineFault, String> {
        let mut text = self.text.clone();
        for (name, choice) in &self.choices {
            text = text.replace(&format!("{{{name}}}"), &choice.draw(random));
        }
        let seed = random.below(u64::MAX);
        let fault = at(&text, time)?;
        if fault.draws() {
            return at_seed(&text, time, seed);
        }
        Ok(fault)
    }
}

fn moment(time: f64) -> String {
    let nanoseconds = (time * 1e9) as u64;
    format!(
        "time={}.{:09}",
        nanoseconds / 1_000_000_000,
        nanoseconds % 1_000_000_000
    )
}

/// The fault at a time.
pub(super) fn at(text: &str, time: f64) -> Result<MachineFault, String> {
    format!("{text}@{}", moment(time))
        .parse()
        .map_err(|error: crate::fault::ParseError| error.to_string())
}

/// The fault at a time, with a seed.
pub(super) fn at_seed(text: &str, time: f64, seed: u64) -> Result<MachineFault, String> {
    format!("{text}@{},seed={seed}", moment(time))
        .parse()
        .map_err(|error: crate::fault::ParseError| error.to_string())
}
