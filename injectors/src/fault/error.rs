//! What is wrong with the text of a fault: where, what, and what would be right.

use std::fmt;

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The whole text.
    pub text: String,
    /// Where it went wrong: the first character has number 1.
    pub column: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            text,
            column,
            message,
        } = self;
        write!(f, "fault '{text}', column {column}: {message}")
    }
}

impl std::error::Error for ParseError {}

/// Up to five of `choices` that look like `word`, nearest first.
pub(crate) fn nearest<'a>(word: &str, choices: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let wanted = word.to_ascii_lowercase();
    let far = (wanted.len() / 3).max(1);
    let mut near: Vec<(usize, &str)> = choices
        .map(|choice| {
            let distance = strsim::osa_distance(&wanted, &choice.to_ascii_lowercase());
            (distance, choice)
        })
        .filter(|(distance, choice)| *distance <= far && *distance < choice.len())
        .collect();
    near.sort_unstable();
    near.into_iter().take(5).map(|(_, choice)| choice).collect()
}

/// `; did you mean a, b or c?`, or nothing.
pub(crate) fn did_you_mean(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        [one] => format!("; did you mean {one}?"),
        [others @ .., last] => format!("; did you mean {} or {last}?", others.join(", ")),
    }
}
