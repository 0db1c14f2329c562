//! Takes typed values out of a table and gathers what is wrong with them.

use std::cell::RefCell;
use std::str::FromStr;

use super::choice::Words;
use super::document::{Entry, Node, Origin, Value};
use super::error::Problem;
use crate::fault::{did_you_mean, nearest};

/// What is wrong, in the order in which it was found.
#[derive(Debug, Default)]
pub(crate) struct Gathered(RefCell<Vec<Problem>>);

impl Gathered {
    pub(crate) fn add(&self, origin: &Origin, sentence: String) {
        self.0.borrow_mut().push(Problem {
            origin: origin.clone(),
            sentence,
        });
    }

    /// All of it, by line; flags last.
    pub(crate) fn sorted(self) -> Vec<Problem> {
        let mut problems = self.0.into_inner();
        problems.sort_by(|a, b| a.origin.cmp(&b.origin));
        problems
    }
}

/// A table that is being read.
pub(crate) struct Table<'d> {
    /// Its name with dots, empty for the outermost one.
    name: &'static str,
    /// Where it begins.
    pub(crate) origin: Origin,
    entries: &'d [Entry],
    asked: RefCell<Vec<&'static str>>,
    gathered: &'d Gathered,
}

impl<'d> Table<'d> {
    pub(crate) fn root(entries: &'d [Entry], gathered: &'d Gathered) -> Self {
        Self {
            name: "",
            origin: Origin::File,
            entries,
            asked: RefCell::default(),
            gathered,
        }
    }

    /// A table in this one; an empty one if it is not there.
    pub(crate) fn table(&self, key: &'static str, name: &'static str) -> Table<'d> {
        let (origin, entries) = match self.entry(key) {
            Some(entry) => match &entry.node.value {
                Value::Table(entries) => (entry.origin.clone(), entries.as_slice()),
                other => {
                    self.problem(
                        key,
                        &entry.origin,
                        format!("it must be a table, not {}", other.kind()),
                    );
                    (entry.origin.clone(), &[][..])
                }
            },
            None => (self.origin.clone(), &[][..]),
        };
        Table {
            name,
            origin,
            entries,
            asked: RefCell::default(),
            gathered: self.gathered,
        }
    }

    /// A value that is a table itself.
    pub(crate) fn inner(&self, name: &'static str, node: &'d Node) -> Option<Table<'d>> {
        match &node.value {
            Value::Table(entries) => Some(Table {
                name,
                origin: node.origin.clone(),
                entries,
                asked: RefCell::default(),
                gathered: self.gathered,
            }),
            _ => None,
        }
    }

    fn entry(&self, key: &'static str) -> Option<&'d Entry> {
        self.asked.borrow_mut().push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether a key was written, and where.
    pub(crate) fn origin_of(&self, key: &str) -> Option<&'d Origin> {
        let found = self.entries.iter().find(|entry| entry.key == key);
        found.map(|entry| &entry.origin)
    }

    /// How a key is named in sentences.
    pub(crate) fn label(&self, key: &str) -> String {
        match (self.name, key) {
            ("", key) => key.to_owned(),
            (name, "") => format!("[{name}]"),
            (name, key) => format!("[{name}] {key}"),
        }
    }

    pub(crate) fn problem(&self, key: &str, origin: &Origin, sentence: String) {
        // A flag names itself.
        let sentence = match origin {
            Origin::Flag(_) => sentence,
            _ => format!("{}: {sentence}", self.label(key)),
        };
        self.gathered.add(origin, sentence);
    }

    /// A required key that is not there.
    pub(crate) fn missing(&self, key: &str, sentence: &str) {
        let label = self.label(key);
        let label = if matches!(self.origin, Origin::Flag(_)) {
            key.to_owned()
        } else {
            label
        };
        let origin = match &self.origin {
            Origin::Flag(_) => &Origin::File,
            other => other,
        };
        self.gathered
            .add(origin, format!("{label} is missing: {sentence}"));
    }

    /// The value as `read` understands it; `None` if it is not there, or wrong, which is gathered.
    pub(crate) fn get<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&Node) -> Result<T, String>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        match read(&entry.node) {
            Ok(value) => Some(value),
            Err(sentence) => {
                self.problem(key, &entry.node.origin, sentence);
                None
            }
        }
    }

    /// The value itself.
    pub(crate) fn node(&self, key: &'static str) -> Option<&'d Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// A list, each element as `read` understands it; what is wrong with one has its own line.
    pub(crate) fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Node) -> Result<T, String>,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Value::List(nodes) = &entry.node.value else {
            let kind = entry.node.value.kind();
            self.problem(
                key,
                &entry.node.origin,
                format!("it must be a list in brackets, not {kind}"),
            );
            return Vec::new();
        };
        let mut values = Vec::new();
        for node in nodes {
            match read(node) {
                Ok(value) => values.push(value),
                Err(sentence) => self.problem(key, &node.origin, sentence),
            }
        }
        values
    }

    /// A list of words that are read from text, each once.
    pub(crate) fn words<T: PartialEq>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let values = self.list(key, |node| read(text(node)?));
        let twice = (1..values.len()).find(|&at| values[..at].contains(&values[at]));
        if let Some(at) = twice
            && let Some(origin) = self.origin_of(key)
        {
            self.problem(
                key,
                origin,
                format!("entry {} is the same as an earlier one", at + 1),
            );
        }
        values
    }

    pub(crate) fn texts(&self, key: &'static str) -> Vec<String> {
        self.list(key, |node| text(node).map(str::to_owned))
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<String> {
        self.get(key, |node| text(node).map(str::to_owned))
    }

    pub(crate) fn flag(&self, key: &'static str) -> bool {
        self.get(key, |node| match node.value {
            Value::Boolean(value) => Ok(value),
            ref other => Err(format!("it must be true or false, not {}", other.kind())),
        })
        .unwrap_or_default()
    }

    pub(crate) fn word<T: Words>(&self, key: &'static str) -> Option<T> {
        self.get(key, |node| T::of_word(text(node)?))
    }

    pub(crate) fn parsed<T: FromStr<Err = String>>(&self, key: &'static str) -> Option<T> {
        self.get(key, |node| text(node)?.parse())
    }

    pub(crate) fn integer(&self, key: &'static str, from: u64, to: u64) -> Option<u64> {
        self.get(key, |node| integer(node, from, to))
    }

    /// A number; ends of the range included where `closed`.
    pub(crate) fn number(
        &self,
        key: &'static str,
        from: f64,
        to: f64,
        closed: bool,
    ) -> Option<f64> {
        self.get(key, |node| number(node, from, to, closed))
    }

    /// Says which keys nobody asked for.
    pub(crate) fn finish(self) {
        let asked = self.asked.borrow();
        for entry in self.entries {
            if asked.contains(&entry.key.as_str()) {
                continue;
            }
            let near = nearest(&entry.key, asked.iter().copied());
            let mut choices = asked.clone();
            choices.sort_unstable();
            choices.dedup();
            let place = match self.name {
                "" => "outside of the tables".to_owned(),
                name => format!("in [{name}]"),
            };
            self.problem(
                &entry.key,
                &entry.origin,
                format!(
                    "there is no such field{}; fields {place} are {}",
                    did_you_mean(&near),
                    choices.join(", ")
                ),
            );
        }
    }
}

/// A text that is not empty.
pub(crate) fn text(node: &Node) -> Result<&str, String> {
    match &node.value {
        Value::Text(text) if text.contains('\0') => {
            Err("it contains a zero byte, which no program can be given".to_owned())
        }
        Value::Text(text) => Ok(text),
        other => Err(format!("it must be a text in quotes, not {}", other.kind())),
    }
}

pub(crate) fn integer(node: &Node, from: u64, to: u64) -> Result<u64, String> {
    let range = || match to {
        u64::MAX => format!("of at least {from}"),
        _ => format!("from {from} to {to}"),
    };
    match node.value {
        Value::Integer(number) => u64::try_from(number)
            .ok()
            .filter(|number| (from..=to).contains(number))
            .ok_or_else(|| {
                format!(
                    "{number} is out of range: it must be a whole number {}",
                    range()
                )
            }),
        ref other => Err(format!(
            "it must be a whole number {}, not {}",
            range(),
            other.kind()
        )),
    }
}

fn number(node: &Node, from: f64, to: f64, closed: bool) -> Result<f64, String> {
    let range = if closed {
        format!("a number from {from} to {to}")
    } else {
        format!("a number above {from} and below {to}")
    };
    let number = match node.value {
        Value::Integer(number) => number as f64,
        Value::Float(number) => number,
        ref other => return Err(format!("it must be {range}, not {}", other.kind())),
    };
    let fits = if closed {
        (from..=to).contains(&number)
    } else {
        from < number && number < to
    };
    if fits {
        Ok(number)
    } else {
        Err(format!("{number} is out of range: it must be {range}"))
    }
}
