//! What was written, before it means anything: tables of keys and values, each with the line or the flag that it comes from.

use std::fmt;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::error::Problem;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file as a whole.
    File,
    /// In this line of the file, from 1.
    Line(usize),
    /// On the command line, as this flag (`--registers`).
    Flag(String),
}

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// Where it was written.
    pub origin: Origin,
    /// What.
    pub value: Value,
}

/// What can be written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction.
    Float(f64),
    /// Yes or no.
    Boolean(bool),
    /// A date, which nothing here is.
    Date,
    /// A list.
    List(Vec<Node>),
    /// Keys and values.
    Table(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub origin: Origin,
    /// Its value.
    pub node: Node,
}

/// A value given by a flag, in place of the one in the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Override {
    /// The table, with dots between its names; empty: none.
    pub table: &'static str,
    /// The key in it.
    pub key: &'static str,
    /// The flag with its dashes.
    pub flag: &'static str,
    /// What it says.
    pub value: Setting,
}

/// What a flag says.
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// A text.
    Text(String),
    /// A whole number.
    Integer(u64),
    /// A number with a fraction.
    Float(f64),
    /// It was typed.
    Set,
    /// Texts.
    Texts(Vec<String>),
    /// Whole numbers.
    Integers(Vec<u64>),
    /// A table of further flags.
    Table(Vec<(&'static str, &'static str, Setting)>),
}

impl Setting {
    fn value(self, flag: &'static str) -> Value {
        let origin = || Origin::Flag(flag.to_owned());
        let list = |values: Vec<Value>| {
            let nodes = values.into_iter().map(|value| Node {
                origin: origin(),
                value,
            });
            Value::List(nodes.collect())
        };
        match self {
            Self::Text(text) => Value::Text(text),
            Self::Integer(number) => Value::Integer(number.into()),
            Self::Float(number) => Value::Float(number),
            Self::Set => Value::Boolean(true),
            Self::Texts(texts) => list(texts.into_iter().map(Value::Text).collect()),
            Self::Integers(numbers) => list(
                numbers
                    .into_iter()
                    .map(|number| Value::Integer(number.into()))
                    .collect(),
            ),
            Self::Table(entries) => Value::Table(
                entries
                    .into_iter()
                    .map(|(key, flag, setting)| Entry {
                        key: key.to_owned(),
                        origin: Origin::Flag(flag.to_owned()),
                        node: Node {
                            origin: Origin::Flag(flag.to_owned()),
                            value: setting.value(flag),
                        },
                    })
                    .collect(),
            ),
        }
    }
}

impl Value {
    /// What it is, for sentences.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Date => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

/// Reads the text of a file.
///
/// # Errors
/// What is no TOML, with its line.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, Problem> {
    let root = DeTable::parse(text).map_err(|error| Problem {
        origin: error
            .span()
            .map_or(Origin::File, |span| Origin::Line(line(text, span.start))),
        sentence: error.message().replace('\n', "; "),
    })?;
    table(text, root.get_ref())
}

/// The number of the line that byte `at` is in, from 1.
fn line(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    1 + before.iter().filter(|&&byte| byte == b'\n').count()
}

fn table(text: &str, table: &DeTable<'_>) -> Result<Vec<Entry>, Problem> {
    let mut entries = Vec::new();
    for (key, value) in table.iter() {
        let origin = Origin::Line(line(text, key.span().start));
        entries.push(Entry {
            key: key.get_ref().to_string(),
            node: node(text, value)?,
            origin,
        });
    }
    entries.sort_by(|a, b| a.origin.cmp(&b.origin));
    Ok(entries)
}

fn node(text: &str, spanned: &Spanned<DeValue<'_>>) -> Result<Node, Problem> {
    let origin = Origin::Line(line(text, spanned.span().start));
    let refused = |sentence: &str| Problem {
        origin: origin.clone(),
        sentence: sentence.to_owned(),
    };
    let value = match spanned.get_ref() {
        DeValue::String(string) => Value::Text(string.to_string()),
        DeValue::Integer(integer) => {
            let number = i128::from_str_radix(integer.as_str(), integer.radix());
            Value::Integer(number.map_err(|_| refused("the number is too large"))?)
        }
        DeValue::Float(float) => {
            let number = float.as_str().parse();
            Value::Float(number.map_err(|_| refused("this is no number"))?)
        }
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(array) => Value::List(list(text, array)?),
        DeValue::Table(entries) => Value::Table(table(text, entries)?),
    };
    Ok(Node { origin, value })
}

fn list(text: &str, array: &DeArray<'_>) -> Result<Vec<Node>, Problem> {
    array.iter().map(|value| node(text, value)).collect()
}

/// Puts the values of flags over those of a file.
pub(crate) fn override_with(root: &mut Vec<Entry>, overrides: Vec<Override>) {
    for Override {
        table,
        key,
        flag,
        value,
    } in overrides
    {
        let origin = Origin::Flag(flag.to_owned());
        let mut entries = &mut *root;
        for name in table.split('.').filter(|name| !name.is_empty()) {
            entries = table_of(entries, name, &origin);
        }
        entries.retain(|entry| entry.key != key);
        entries.push(Entry {
            key: key.to_owned(),
            origin: origin.clone(),
            node: Node {
                origin,
                value: value.value(flag),
            },
        });
    }
}

/// The table of that name, made if it is not there; what is no table gives way.
fn table_of<'e>(entries: &'e mut Vec<Entry>, name: &str, origin: &Origin) -> &'e mut Vec<Entry> {
    let is_table = |entry: &Entry| entry.key == name && matches!(entry.node.value, Value::Table(_));
    let at = entries.iter().position(is_table).unwrap_or_else(|| {
        entries.push(Entry {
            key: name.to_owned(),
            origin: origin.clone(),
            node: Node {
                origin: origin.clone(),
                value: Value::Table(Vec::new()),
            },
        });
        entries.len() - 1
    });
    match &mut entries[at].node.value {
        Value::Table(inner) => inner,
        _ => unreachable!("it was looked for as a table"),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("the file"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}
